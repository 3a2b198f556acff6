"""The worker process: what `faust -A faust_app worker` brings by itself, and the flags that would break it."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from typing import Any, ClassVar, NoReturn

import click
import faust

from panda_streams.errors import PandaError, SettingsError

__all__ = ["PandaWorker", "exit_with", "refuse_flags"]

_REFUSED = {
    ("-p", "--web-port"): "the port is part of the worker's identity; set PANDA_PORT_BASE or PANDA_INSTANCE",
    ("-h", "--web-host"): "another canonical address would keep this worker out of its group after a restart",
    ("-b", "--web-bind"): "the pages have no password and stay on 127.0.0.1",
    ("--web-transport",): "the pages stay on 127.0.0.1",
    ("--without-web",): "readiness and tables are served there, and the supervisor relies on them",
    ("-D", "--datadir"): "the data directory is part of the worker's identity; set PANDA_HOME",
    ("-L", "--loop"): "the worker brings uvloop by itself",
}
_LEVELS = ("info", "debug")
_ALLOCATOR = {-3: 32 << 20, -1: 64 << 20, -8: 1}
"""glibc's M_MMAP_THRESHOLD, M_TRIM_THRESHOLD and M_ARENA_MAX, as mallopt(3) has them."""


def refuse_flags(argv: Sequence[str]) -> None:
    """Raise SettingsError for a command line flag of Faust that would break a worker."""
    for index, word in enumerate(argv):
        flag, _, value = word.partition("=")
        if word.startswith("-") and not word.startswith("--") and len(word) > 2:
            flag, value = word[:2], word[2:]  # -p1234 is -p 1234
        for names, reason in _REFUSED.items():
            # -h alone is Faust's flag for a host name, not for help.
            if flag in names:
                raise SettingsError(f"the flag {flag} is refused: {reason}", fix=f"leave {flag} away")
        if flag in ("-l", "--loglevel"):
            level = value or (argv[index + 1] if index + 1 < len(argv) else "")
            if level.lower() not in _LEVELS:
                raise SettingsError(
                    f"the log level {level} is refused: Faust then sets the root logger to DEBUG, at 20 % more CPU",
                    fix="leave it away (info is the default), or use debug",
                )


def exit_with(error: PandaError) -> NoReturn:
    """Print an error that the user can mend, and end with its exit code."""
    click.secho(f"error: {error}", fg="red", err=True)
    sys.exit(error.exit_code)


def _reuse_memory() -> None:
    """Have the C library keep up to 64 MiB for the next fetch, instead of giving the megabytes of each back: the kernel
    clears every page before it gives it again, a third of what it costs to receive one. Nothing on other systems."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for parameter, value in _ALLOCATOR.items():
            mallopt(parameter, value)


class _Calm(logging.Filter):
    """Lets a client's message through at most `burst` times in ten seconds: in an outage they log hundreds a second.

    What the project logs itself always passes: a dead letter has its line.
    """

    burst = 5
    known = 1000
    """Messages that it remembers."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.startswith("panda_streams"):
            return True
        key = (record.name, str(record.msg))
        now = time.monotonic()
        if len(self._seen) > self.known:
            self._seen.clear()  # some libraries put values into the message itself, and each is a new one
        since, count = self._seen.get(key, (now, 0))
        if now - since > 10:
            since, count = now, 0
        self._seen[key] = (since, count + 1)
        return count < self.burst


class PandaWorker(faust.Worker):
    """Faust's worker, which checks its world before it starts anything.

    The composition root sets `preflight`, which raises PandaError if the worker must not start, and what it enters
    into `held` is released when the process ends.
    """

    preflight: ClassVar[Callable[[], Awaitable[None]] | None] = None
    held: ClassVar[ExitStack] = ExitStack()

    def __init__(self, *args: Any, loglevel: Any = None, **kwargs: Any) -> None:
        # The command line's default is WARN, which would put the root logger at DEBUG.
        level = loglevel if str(loglevel).lower() in _LEVELS else "info"
        super().__init__(*args, loglevel=level, **kwargs)
        self.spinner = None

    def on_setup_root_logger(self, logger: logging.Logger, level: int) -> None:
        super().on_setup_root_logger(logger, level)
        for handler in logger.handlers:
            handler.addFilter(_Calm())

    async def _sentinel_task(self) -> None:
        """mode sleeps here for a second at every stop, though its services have ended."""

    def _gather_all(self) -> None:
        """mode waits up to a second more here, for tasks that nobody stops."""
        for task in asyncio.all_tasks(self.loop):
            task.cancel()

    async def on_first_start(self) -> None:
        """Let the collector look seldom, and never at what was made so far: each record is several small objects, none
        of them in a cycle, and by default every 700 of them cost a look."""
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)
        _reuse_memory()
        await super().on_first_start()

    def execute_from_commandline(self) -> NoReturn:
        preflight = type(self).preflight
        if preflight is not None:
            try:
                self.loop.run_until_complete(preflight())
            except PandaError as error:
                exit_with(error)
        super().execute_from_commandline()
        raise SystemExit(0)
