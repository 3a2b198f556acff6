"""`panda status`: every process of a world in one table, what is wrong with it and what to do."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from panda_streams.brokers.port import registered_brokers
from panda_streams.domain.risk.modes import Mode
from panda_streams.domain.values import Value
from panda_streams.embedded.processes import ProcessRow, ProcessState, read_processes
from panda_streams.errors import ServerUnreachable, StampMismatch
from panda_streams.gateway.reader import Reader
from panda_streams.gateway.server import STAMP_FIX
from panda_streams.gateway.state import broker_records
from panda_streams.gateway.views import ArmState, NamespaceView, ProcessView, StageView, State, StopView
from panda_streams.servers import Servers, find_servers
from panda_streams.settings import Settings, load_settings
from panda_streams.streams.client import await_kafka

__all__ = ["ArmStages", "Problem", "Report", "StatusRow", "examine", "status"]

_MARKET_ZONE = ZoneInfo("Asia/Kolkata")
_EXPECTED = ("feed", "brain", "gateway")
"""What every world needs beside its arms."""


class Problem(Value):
    """Something that is not well, and what to do about it."""

    text: str
    fix: str


class StatusRow(Value):
    """One process: what its supervisor knows of it, and what it last said of itself."""

    name: str
    role: str
    namespace: str | None
    instance: int | None
    pid: int | None
    state: str
    mode: str | None
    """Of an arm, by operators or by its own stops: ACTIVE, REDUCING, HALTED or HALTED_HARD."""
    ready: bool | None
    """None for a process that does not say: Kafka and Redis."""
    lag: int | None
    events: int | None
    last_event_time: int | None
    restarts: int | None
    """None if nothing supervises it."""
    age_ms: int | None
    """Since it last reported."""
    url: str | None
    log: str | None
    detail: str


class ArmStages(Value):
    """How far the stages of one arm have come."""

    namespace: str
    stages: tuple[StageView, ...]


class Report(Value):
    """What `panda status --json` prints."""

    world: str
    ok: bool
    processes: tuple[StatusRow, ...]
    stages: tuple[ArmStages, ...]
    """One entry an arm that has ever reported."""
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]


def examine(world: str, supervised: Sequence[ProcessRow] | None, state: State | None, now: int) -> Report:
    """Join the supervisor's rows (None: there is no supervisor) with the state in Redis (None: it is unreadable)."""
    views = list(state.processes if state else ())
    rows: list[StatusRow] = []
    problems: list[Problem] = []
    notes: list[str] = []
    for row in supervised or ():
        view = _reported_by(row, views)
        if view is not None:
            views.remove(view)
        rows.append(_join(row, view, now))
        problems += _supervised_problems(row, view, now, readable=state is not None)
    for view in views:
        rows.append(_join(None, view, now))
        if view.state == "stopped" and view.role == "arm":
            notes.append(f"{_name(view)} was stopped")
        else:
            problems += _reported_problems(_name(view), view, now, f"read its log; {_start(view)}")
    if state is not None:
        seen = {row.role for row in rows} | {row.name for row in rows}
        problems += [
            Problem(text=f"no {role} has reported", fix=_START)
            for role in _EXPECTED
            if not any(name == role or name.startswith(f"{role}-") for name in seen)
        ]
        problems += [Problem(text=text, fix=_RECORD_FIX) for text in state.problems]
        rows = [_with_mode(row, state) for row in rows]
        for arm in state.namespaces:
            problems += [Problem(text=_stop(arm, stop), fix=stop.fix) for stop in arm.stops if not stop.chosen]
            notes += _not_active(arm)
        notes += _arms_not_running(state)
        problems += [
            Problem(
                text=f"strategy {strategy.strategy_id} is paused by {strategy.paused_by}: {strategy.reason}",
                fix=f"mend what made it stop, then panda strategy resume {strategy.strategy_id}",
            )
            for strategy in state.strategies
            if strategy.state == "paused"
        ]
    ways = [ArmStages(namespace=view.namespace, stages=view.stages) for view in (state.namespaces if state else ())]
    return Report(
        world=world,
        ok=not problems,
        processes=tuple(rows),
        stages=tuple(way for way in ways if way.stages),
        problems=tuple(problems),
        notes=tuple(notes),
    )


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the same as one JSON object.")
def status(as_json: bool) -> None:
    """Show every process: its state, mode, lag, events, restarts, and what is not well; and how far each stage of an
    arm has come in event time.

    Exit codes: 0 all is well, 1 something is not, 2 nothing runs here, 3 Kafka or Redis does not answer. An arm
    that operators have halted is well, and so is a broker without an arm; an arm that has stopped itself is not, nor is
    a paused strategy.
    """
    settings = load_settings()
    servers = find_servers(settings)
    report, unreachable = asyncio.run(_look(settings, servers))
    if as_json:
        click.echo(json.dumps(report.model_dump(mode="json"), indent=2, ensure_ascii=False))
    else:
        _print(report, now=_now())
    if unreachable:
        raise SystemExit(ServerUnreachable.exit_code)
    raise SystemExit(0 if report.ok else 1)


async def _look(settings: Settings, servers: Servers) -> tuple[Report, bool]:
    """The report, and whether a server did not answer; what is known without it is reported all the same."""
    supervised = read_processes(settings.home_dir, servers.world)
    state: State | None = None
    errors: list[ServerUnreachable | StampMismatch] = []
    reader = Reader(servers.redis, servers.world, broker_records(registered_brokers()))
    try:
        state = await reader.state()
        if state.foreign_stamp:
            errors.append(StampMismatch(state.foreign_stamp, fix=STAMP_FIX))
            state = None
    except ServerUnreachable as error:
        errors.append(error)
    finally:
        await reader.close()
    try:
        await await_kafka(settings, servers.kafka, timeout_s=2.0)
    except ServerUnreachable as error:
        errors.append(error)
    report = examine(servers.world.name, supervised, state, _now())
    problems = (*(Problem(text=error.args[0], fix=error.fix) for error in errors), *report.problems)
    unreachable = any(isinstance(error, ServerUnreachable) for error in errors)
    return report.model_copy(update={"problems": problems, "ok": not problems}), unreachable


_START = "start it as the Procfile does; `make run` or `panda up` starts everything"
_RECORD_FIX = "the process that owns it writes it again at its next start; if it is another world's: " + STAMP_FIX
_ABSENT = "-"


def _name(view: ProcessView) -> str:
    return "-".join(part for part in (view.role, view.namespace, str(view.instance)) if part is not None)


def _start(view: ProcessView) -> str:
    return f"start the {view.role}{f' of {view.namespace}' if view.namespace else ''} again, as the Procfile does"


def _reported_by(row: ProcessRow, views: Iterable[ProcessView]) -> ProcessView | None:
    """What this process, or else its life before the last restart, said of itself."""
    found = [view for view in views if view.pid == row.pid]
    earlier = [view for view in views if row.name in (view.scope, _name(view), f"{view.role}-{view.scope}")]
    return next(iter(found or earlier), None)


def _join(row: ProcessRow | None, view: ProcessView | None, now: int) -> StatusRow:
    own = view is not None and (row is None or row.pid == view.pid)
    current = row is None or row.state in (ProcessState.RUNNING, ProcessState.FINISHED)
    return StatusRow(
        name=row.name if row else _name(view) if view else "",
        role=view.role if view else row.name if row else "",
        namespace=view.namespace if view else None,
        instance=view.instance if view else None,
        pid=row.pid if row else view.pid if view else None,
        state=view.state if view and own and current else row.state.value if row else "",
        mode=view.mode if view else None,
        ready=(view.ready and own and view.fresh) if view else None,
        lag=view.lag if view and own else None,
        events=view.events if view and own else None,
        last_event_time=view.last_event_time if view else None,
        restarts=row.restarts if row else None,
        age_ms=max(0, now - view.at) if view else None,
        url=view.url if view else None,
        log=row.log if row else None,
        detail=view.detail if view and own else "",
    )


def _supervised_problems(row: ProcessRow, view: ProcessView | None, now: int, *, readable: bool) -> list[Problem]:
    look = f"read {row.log}"
    match row.state:
        case ProcessState.FAILED:
            return [Problem(text=f"{row.name} failed (exit code {row.exit_code})", fix=f"{look}, then start it again")]
        case ProcessState.BACKOFF:
            return [
                Problem(
                    text=f"{row.name} ended (exit code {row.exit_code}) and is started again; {row.restarts} restarts",
                    fix=look,
                )
            ]
        case ProcessState.STOPPED:
            return [Problem(text=f"{row.name} is stopped", fix="`make run` or `panda up` starts everything again")]
        case ProcessState.STARTING:
            return [Problem(text=f"{row.name} is starting", fix=f"wait some seconds; if it stays so, {look}")]
        case ProcessState.FINISHED:
            return []
        case ProcessState.RUNNING:
            if row.name in ("kafka", "redis") or not readable:
                return []
            if view is None or view.pid != row.pid:
                return [Problem(text=f"{row.name} runs and has not reported yet", fix=f"wait a second, or {look}")]
            return _reported_problems(row.name, view, now, look)


def _reported_problems(name: str, view: ProcessView, now: int, fix: str) -> list[Problem]:
    if view.state == "finished":
        return []
    if view.state == "stopped":
        return [Problem(text=f"{name} was stopped", fix=_start(view))]
    if not view.fresh:
        return [Problem(text=f"{name} has not reported for {(now - view.at) // 1000} s", fix=fix)]
    if not view.ready:
        detail = f": {view.detail}" if view.detail else ""
        return [Problem(text=f"{name} is {view.state} and not ready{detail}", fix=f"wait; if it stays so, {fix}")]
    if view.role == "feed" and view.state != "running":
        return [Problem(text=f"the feed is {view.state}: {view.detail or 'it does not say why'}", fix=fix)]
    return []


def _with_mode(row: StatusRow, state: State) -> StatusRow:
    """The row of an arm with the mode in force, which all of its workers have in common."""
    view = state.namespace(row.namespace) if row.namespace is not None else None
    return row if view is None or view.mode is None else row.model_copy(update={"mode": view.mode})


def _stop(arm: NamespaceView, stop: StopView) -> str:
    kind, _, strategy_id = stop.level.partition(":")
    what = f"strategy {strategy_id} of {arm.namespace}" if kind == "strategy" else f"arm {arm.namespace}"
    return f"{what} is {stop.mode}: {stop.reason}{f', {stop.detail}' if stop.detail else ''}"


def _not_active(arm: NamespaceView) -> list[str]:
    """What operators wanted to stop."""
    notes = [f"{_stop(arm, stop)}; {stop.fix}" for stop in arm.stops if stop.chosen]
    if arm.operators_mode not in (None, Mode.ACTIVE):
        why = f": {arm.mode_reason}" if arm.mode == arm.operators_mode and arm.mode_reason else ""
        notes.append(f"arm {arm.namespace} is set to {arm.operators_mode}{why}")
    return notes


def _arms_not_running(state: State) -> list[str]:
    notes = []
    for view in state.namespaces:
        if view.arm is not ArmState.RUNNING and view.strategies:
            waiting = "no count of signals" if view.signals_waiting is None else f"{view.signals_waiting} signals"
            notes.append(f"{view.title} ({view.namespace}): {view.reason}; {waiting} waiting")
    return notes


def _print(report: Report, *, now: int) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=180)  # a file or a pipe has no width that the table should fold to
    table = Table(title=f"World {report.world}", title_justify="left", header_style="bold", box=None, pad_edge=False)
    for name, numeric in (
        ("role", False),
        ("namespace", False),
        ("inst", True),
        ("pid", True),
        ("state", False),
        ("mode", False),
        ("ready", False),
        ("lag", True),
        ("events", True),
        ("last event (IST)", False),
        ("restarts", True),
        ("detail", False),
    ):
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in report.processes:
        well = row.ready is not False and row.state not in ("failed", "backoff", "stopped")
        detail = [row.detail] if row.detail else []
        if row.age_ms is not None and row.age_ms > 10_000 and row.state not in ("finished", "stopped"):
            detail.insert(0, f"silent for {row.age_ms // 1000} s")
        table.add_row(
            Text(row.role),
            Text(row.namespace or _ABSENT),
            _number(row.instance),
            _number(row.pid, grouped=False),
            Text(row.state, style="green" if well else "red"),
            Text(row.mode or _ABSENT, style="bold red" if row.mode not in (None, Mode.ACTIVE) else ""),
            Text({True: "yes", False: "no", None: _ABSENT}[row.ready]),
            _number(row.lag),
            _number(row.events),
            Text(_market_time(row.last_event_time)),
            _number(row.restarts),
            Text("; ".join(detail)),
        )
    console.print(table)
    if report.stages:
        console.print(_stages_table(report.stages))
    for note in report.notes:
        console.print(Text(f"note: {note}"))
    for problem in report.problems:
        console.print(Text(f"problem: {problem.text}", style="red"))
        console.print(Text(f"  fix: {problem.fix}"))
    console.print(Text("all is well", style="green") if report.ok else Text(f"{len(report.problems)} not well"))


def _stages_table(ways: Sequence[ArmStages]) -> Table:
    """A line an arm: event time of the feed, how far behind it each stage is, and what it waits for."""
    table = Table(title="Event time", title_justify="left", header_style="bold", box=None, pad_edge=False)
    for name in ("arm", *(stage.stage for stage in ways[0].stages), "held up by"):
        table.add_column(name, overflow="fold")
    for way in ways:
        waits: dict[str, list[str]] = {}
        for stage in way.stages:
            if stage.waits:
                waits.setdefault(stage.waits, []).append(stage.stage)
        table.add_row(
            Text(way.namespace),
            *(Text(_stage_time(stage)) for stage in way.stages),
            Text("; ".join(f"{', '.join(names)}: {text}" for text, names in waits.items())),
        )
    return table


def _stage_time(stage: StageView) -> str:
    if stage.behind_ms is None:
        return _market_time(stage.reached)
    clock = _market_time(stage.reached).rpartition(" ")[2]
    return f"{clock} (-{stage.behind_ms / 1000:,.0f} s)"


def _number(number: int | None, *, grouped: bool = True) -> Text:
    if number is None:
        return Text(_ABSENT)
    return Text(f"{number:,}" if grouped else str(number))


def _market_time(time_ms: int | None) -> str:
    if time_ms is None:
        return _ABSENT
    return datetime.fromtimestamp(time_ms / 1000, _MARKET_ZONE).strftime("%Y-%m-%d %H:%M:%S")


def _now() -> int:
    return time.time_ns() // 1_000_000
