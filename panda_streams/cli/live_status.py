"""What `panda up` shows: the steps of the way up, then its processes; a live table on a terminal, else plain lines."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import datetime
from typing import Protocol
from zoneinfo import ZoneInfo

import click
import redis.asyncio
from redis.exceptions import RedisError
from rich.console import Console
from rich.live import Live
from rich.status import Status
from rich.table import Table
from rich.text import Text

from panda_streams.codec import decode
from panda_streams.embedded.processes import ProcessRow, ProcessState
from panda_streams.errors import BadEvent
from panda_streams.events import Health
from panda_streams.keys import Keys
from panda_streams.mirrored import RiskRecord

__all__ = ["HealthReader", "PlainScreen", "RichScreen", "Screen", "screen"]

_MARKET_TIME = ZoneInfo("Asia/Kolkata")
_SUMMARY_EVERY_S = 10.0
_STYLES = {
    ProcessState.STARTING: "yellow",
    ProcessState.RUNNING: "green",
    ProcessState.BACKOFF: "yellow",
    ProcessState.FINISHED: "cyan",
    ProcessState.FAILED: "red",
    ProcessState.STOPPED: "dim",
}


class Screen(Protocol):
    def step(self, text: str) -> None:
        """Show a step of the way up; called from other threads too."""

    def line(self, text: str) -> None:
        """Show a sentence that stays."""

    def changed(self, row: ProcessRow, text: str) -> None:
        """Show that a process changed."""

    def refresh(self, rows: list[ProcessRow], health: dict[int, Health]) -> None:
        """Show the processes as they are now, with the health of each by pid; called every second."""

    def close(self) -> None:
        """Leave the terminal as it was found."""


def screen() -> Screen:
    """The screen that fits the standard output of this process."""
    console = Console()
    return RichScreen(console) if console.is_terminal else PlainScreen()


class PlainScreen:
    """Lines, each whole when it is printed: for log files, pipes and CI."""

    def __init__(self) -> None:
        self._topic = ""
        self._printed_at = 0.0

    def step(self, text: str) -> None:
        topic = _topic(text)
        if topic != self._topic or _is_last(text) or time.monotonic() - self._printed_at > 1:
            self._topic, self._printed_at = topic, time.monotonic()
            click.echo(text)

    def line(self, text: str) -> None:
        click.echo(text)

    def changed(self, row: ProcessRow, text: str) -> None:
        click.echo(text)

    def refresh(self, rows: list[ProcessRow], health: dict[int, Health]) -> None:
        if time.monotonic() - self._printed_at < _SUMMARY_EVERY_S:
            return
        self._printed_at = time.monotonic()
        now = datetime.now().astimezone()
        click.echo(f"[{now:%H:%M:%S}] " + " | ".join(_summary(row, health.get(row.pid or 0)) for row in rows))

    def close(self) -> None:
        return


class RichScreen:
    """A spinner on the way up, then a table that is drawn anew every second below the lines that stay."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._step = ""
        self._spinner: Status | None = console.status("starting")
        self._spinner.start()
        self._live: Live | None = None

    def step(self, text: str) -> None:
        if self._step and _topic(text) != _topic(self._step):
            self.line(self._step)
        self._step = text
        if self._spinner is not None:
            self._spinner.update(Text(text))

    def line(self, text: str) -> None:
        self._console.print(Text(text))

    def changed(self, row: ProcessRow, text: str) -> None:
        self._end_step()
        self._console.print(Text(text, style=_STYLES[row.state]))

    def refresh(self, rows: list[ProcessRow], health: dict[int, Health]) -> None:
        table = _table(rows, health)
        if self._live is None:
            self._end_spinner()
            self._live = Live(table, console=self._console, auto_refresh=False)
            self._live.start()
        self._live.update(table, refresh=True)

    def close(self) -> None:
        self._end_spinner()
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _end_step(self) -> None:
        if self._step:
            self.line(self._step)
            self._step = ""

    def _end_spinner(self) -> None:
        self._end_step()
        if self._spinner is not None:
            self._spinner.stop()
            self._spinner = None


class HealthReader:
    """Reads what processes say of themselves in Redis; of an arm, with the mode that its own stops have put it in."""

    def __init__(self, url: str, scopes: Iterable[str]) -> None:
        self._redis = redis.asyncio.from_url(url, socket_connect_timeout=1, socket_timeout=1)
        self._keys = [Keys(scope) for scope in scopes]

    async def read(self) -> dict[int, Health]:
        """The latest report of each process by pid; empty while Redis does not answer."""
        found: dict[int, Health] = {}
        try:
            for keys in self._keys:
                instances = sorted(int(instance) for instance in await self._redis.smembers(keys.instances))
                if not instances:
                    continue
                account, *reports = await self._redis.mget([keys.risk, *map(keys.health, instances)])
                mode = RiskRecord.model_validate_json(account).mode if account is not None else None
                for text in reports:
                    if text is not None:
                        health = decode(Health, text if isinstance(text, bytes) else text.encode())
                        found[health.pid] = health if mode is None else health.model_copy(update={"mode": mode})
        except (RedisError, OSError, BadEvent, ValueError):
            return found  # the screen shows what it has; the processes' own states do not come from Redis
        return found

    async def close(self) -> None:
        await self._redis.aclose()


def _table(rows: list[ProcessRow], health: dict[int, Health]) -> Table:
    table = Table(title=None, expand=False)
    for name, justify in (
        ("process", "left"),
        ("state", "left"),
        ("pid", "right"),
        ("mode", "left"),
        ("lag", "right"),
        ("events", "right"),
        ("last event", "left"),
        ("restarts", "right"),
        ("", "left"),
    ):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for row in rows:
        report = health.get(row.pid or 0)
        table.add_row(
            row.name,
            Text(_state(row, report), style=_style(row, report)),
            str(row.pid or ""),
            (report.mode or "") if report else "",
            f"{report.lag:,}" if report and report.lag is not None else "",
            f"{report.events:,}" if report else "",
            _event_time(report),
            str(row.restarts),
            Text(_remark(row, report)),
        )
    return table


def _summary(row: ProcessRow, report: Health | None) -> str:
    parts = [f"{row.name} {_state(row, report)}"]
    if report is not None:
        parts += [
            report.mode or "",
            f"lag {report.lag:,}" if report.lag is not None else "",
            f"{report.events:,} events",
        ]
        parts += [_event_time(report)]
    parts += [f"{row.restarts} restarts" if row.restarts else "", _remark(row, report)]
    return ", ".join(part for part in parts if part)


def _state(row: ProcessRow, report: Health | None) -> str:
    return report.state if report is not None and row.state is ProcessState.RUNNING else row.state.value


def _style(row: ProcessRow, report: Health | None) -> str:
    runs_but_is_not_ready = row.state is ProcessState.RUNNING and report is not None and not report.ready
    return _STYLES[ProcessState.STARTING if runs_but_is_not_ready else row.state]


def _remark(row: ProcessRow, report: Health | None) -> str:
    if row.state is ProcessState.FAILED:
        return f"exit code {row.exit_code}: see {row.log}"
    return report.detail if report is not None else ""


def _event_time(report: Health | None) -> str:
    if report is None or report.last_event_time is None:
        return ""
    return f"{datetime.fromtimestamp(report.last_event_time / 1000, _MARKET_TIME):%d %b %Y %H:%M:%S}"


def _topic(text: str) -> str:
    """What a step is about: `Kafka jars 3/46` and `Kafka jars 4/46` are one step that goes on."""
    return text.rstrip("0123456789/ ")


def _is_last(text: str) -> bool:
    present, _, of = text.rpartition(" ")[2].partition("/")
    return bool(of) and present == of
