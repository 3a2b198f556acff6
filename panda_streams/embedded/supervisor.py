"""Supervises processes: each is restarted alone, with backoff, killed if it hangs, and none outlives its supervisor."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from logging.handlers import RotatingFileHandler
from pathlib import Path

from mode import Service

from panda_streams.embedded.processes import ProcessRow, ProcessState, write_processes
from panda_streams.embedded.watchdog import Watchdog
from panda_streams.identity import Home, World

__all__ = ["Ended", "Program", "Supervised", "Supervisor", "die_with_parent"]

NOT_MENDED_BY_A_RESTART = frozenset({2, 4, 5, 6, 126, 127})
"""Exit codes of the `panda` command for a bad setting or file, wrong topics, another world's data and a held identity;
126 and 127 are the shell's for a command that cannot be run."""

LONGEST_DELAY_S = 30.0
HEALTHY_AFTER_S = 60.0
"""A process that ran this long starts again after the shortest delay."""
STOP_TIMEOUT_S = 15.0
"""From SIGTERM to SIGKILL: a worker needs 1 to 2 s, and for ever while Kafka is down."""

SERVER_DEATH = signal.SIGTERM
"""A server is asked to close when its supervisor dies: it may still have to write what it holds."""
SERVER_DELAY_S = 0.2
"""Everything waits for a server, so it is started again nearly at once."""

_LAST_LINES = 20
_LOG_BYTES = 10_000_000
_LOG_FILES = 3
_LONGEST_LINE = 65_536
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


async def _at_once() -> None:
    return


@dataclass(frozen=True, slots=True)
class Program:
    """What to run and how. `log` is the file that takes both of its outputs."""

    name: str
    argv: tuple[str, ...]
    log: Path
    env: Mapping[str, str] | None = field(default=None, repr=False)
    """None: this process's environment."""
    cwd: Path | None = None
    command: str = ""
    """How `argv` is shown; empty: as it is."""
    death_signal: signal.Signals = signal.SIGKILL
    """What the kernel sends it when its supervisor dies."""
    finishes: bool = False
    """True if exit code 0 says that its work is done."""
    first_delay_s: float = 1.0
    """Pause before the first restart; it doubles with each that follows soon."""
    ready: Callable[[], Awaitable[None]] = _at_once
    """Returns once the started process serves; it is `starting` until then."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A process that has ended and should not have."""

    name: str
    how: str
    """As `ended with exit code 1`; if it was killed because it hung, why."""
    ran_s: float
    again_in_s: float | None
    """None if it is not started again, for a restart cannot mend it."""
    hung: bool
    """True if it was killed because it hung."""


def die_with_parent(death_signal: signal.Signals) -> Callable[[], None]:
    """A `preexec_fn` after which the kernel sends `death_signal` to the child when this process dies (Linux only).

    The kernel watches the thread that forks, so it must be one that lives as long as the process. The request
    survives `exec`, and not a fork: a command for a shell must use `exec`.
    """
    parent = os.getpid()

    def preexec() -> None:
        if _LIBC is not None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, death_signal.value, 0, 0, 0)
            if os.getppid() != parent:  # the parent died before the request was made
                os._exit(1)

    return preexec


class Supervised(Service):
    """One process: started, logged, and started again when it ends unexpectedly.

    `changed` is called after each change of its state with a sentence for people, `ended` after each end that was not
    asked for.
    """

    mundane_level = "debug"

    def __init__(
        self, program: Program, changed: Callable[[Supervised, str], None], ended: Callable[[Ended], None]
    ) -> None:
        super().__init__()
        self.program = program
        self.last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._changed = changed
        self._say_ended = ended
        self._process: asyncio.subprocess.Process | None = None
        self._state = ProcessState.STARTING
        self._starts = 0
        self._started_at: int | None = None
        self._exit_code: int | None = None
        self._killed_for = ""
        self._ended = asyncio.Event()
        self._ended.set()

    @property
    def label(self) -> str:
        return self.program.name

    @property
    def row(self) -> ProcessRow:
        running = self._process is not None and self._process.returncode is None
        return ProcessRow(
            name=self.program.name,
            command=self.program.command or " ".join(self.program.argv),
            pid=self._process.pid if self._process is not None and running else None,
            state=self._state,
            restarts=max(0, self._starts - 1),
            started_at=self._started_at,
            exit_code=self._exit_code,
            log=str(self.program.log),
        )

    def kill(self, reason: str) -> None:
        """Kill the process, which cannot end itself any more; it is started again as after any other death."""
        self._killed_for = reason
        self._signal(signal.SIGKILL)

    async def on_start(self) -> None:
        self._ended.clear()
        self.add_future(self._keep_running())

    async def on_stop(self) -> None:
        self._signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._ended.wait(), STOP_TIMEOUT_S)
        except TimeoutError:
            self._signal(signal.SIGKILL)
            await self._ended.wait()
        if self._state not in (ProcessState.FINISHED, ProcessState.FAILED):
            self._become(ProcessState.STOPPED, f"{self.program.name} stopped")

    async def _keep_running(self) -> None:
        try:
            await self._run_again_and_again()
        finally:
            self._ended.set()

    async def _run_again_and_again(self) -> None:
        delay = self.program.first_delay_s
        while not self.should_stop:
            begun = time.monotonic()
            code = await self._run()
            ran = time.monotonic() - begun
            if self.should_stop:
                return
            name, how, hung = self.program.name, _how_it_ended(code), bool(self._killed_for)
            if hung:
                how, self._killed_for = f"was killed by its supervisor ({self._killed_for})", ""
            if code == 0 and self.program.finishes:
                self._become(ProcessState.FINISHED, f"{name} finished")
                return
            if code in NOT_MENDED_BY_A_RESTART:
                text = f"{name} failed: {how}; a restart cannot mend that, so it is not started again"
                self._become(ProcessState.FAILED, self._with_last_lines(text))
                self._say_ended(Ended(name, how, ran, None, hung))
                return
            if ran >= HEALTHY_AFTER_S:
                delay = self.program.first_delay_s
            text = f"{name} {how} after {ran:.1f} s; it starts again in {delay:g} s"
            self._become(ProcessState.BACKOFF, self._with_last_lines(text) if code > 0 else text)
            self._say_ended(Ended(name, how, ran, delay, hung))
            await self.sleep(delay)
            delay = min(2 * delay, LONGEST_DELAY_S)

    async def _run(self) -> int:
        """Run the process once, until it ends; return its exit code."""
        program = self.program
        program.log.parent.mkdir(parents=True, exist_ok=True)
        self.last_lines.clear()
        process = await asyncio.create_subprocess_exec(
            *program.argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=program.env,
            cwd=program.cwd,
            start_new_session=True,
            preexec_fn=die_with_parent(program.death_signal),
        )
        self._process = process
        self._starts += 1
        self._started_at = time.time_ns() // 1_000_000
        if self.should_stop:  # it was stopped while the process came up
            self._signal(signal.SIGTERM)
        self._become(ProcessState.STARTING, f"{program.name} started (pid {process.pid})")
        assert process.stdout is not None
        copying = asyncio.create_task(self._copy(process.stdout))
        waiting = asyncio.create_task(self._say_when_ready())
        try:
            self._exit_code = await process.wait()
        finally:
            self._signal(signal.SIGKILL)  # nothing of its group may go on beside its successor
            waiting.cancel()
            # Whoever left the group may hold the pipe open for ever; what the process itself wrote is read by then.
            await asyncio.wait([copying], timeout=1)
            copying.cancel()
            await asyncio.wait([copying, waiting])
        for task in (copying, waiting):
            if not task.cancelled():
                task.result()
        return self._exit_code

    async def _say_when_ready(self) -> None:
        begun = time.monotonic()
        await self.program.ready()
        took = "" if self.program.ready is _at_once else f" ({time.monotonic() - begun:.1f} s)"
        self._become(ProcessState.RUNNING, f"{self.program.name} runs{took}")

    async def _copy(self, output: asyncio.StreamReader) -> None:
        """Copy the process's output to its log file, line by line."""
        log = RotatingFileHandler(
            self.program.log, maxBytes=_LOG_BYTES, backupCount=_LOG_FILES, encoding="utf-8", errors="replace"
        )
        rest = b""
        try:
            while chunk := await output.read(_LONGEST_LINE):
                *lines, rest = (rest + chunk).split(b"\n")
                if len(rest) > _LONGEST_LINE:
                    lines, rest = [*lines, rest], b""
                for line in lines:
                    self._keep(log, line)
        finally:
            if rest:
                self._keep(log, rest)
            log.close()

    def _keep(self, log: logging.Handler, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip("\r")
        log.emit(logging.makeLogRecord({"msg": text}))
        self.last_lines.append(text)

    def _signal(self, number: signal.Signals) -> None:
        """Signal the process and all that it started, if there is any of them."""
        if self._process is not None:
            try:
                os.killpg(self._process.pid, number)
            except ProcessLookupError:
                return

    def _become(self, state: ProcessState, text: str) -> None:
        self._state = state
        self._changed(self, text)

    def _with_last_lines(self, text: str) -> str:
        lines = "".join(f"\n  | {line}" for line in self.last_lines)
        return f"{text}; the last lines of {self.program.log}:{lines}" if lines else text


class Supervisor(Service):
    """The processes of one world: servers first, then what works on them; stopped in the opposite order.

    `say` gets each change of a process as a sentence for people, `ended` each end of one that was not asked for. With
    a `watchdog` workers that hang are killed.
    """

    mundane_level = "debug"

    def __init__(
        self,
        home: Home,
        world: World,
        say: Callable[[ProcessRow, str], None],
        watchdog: Watchdog | None = None,
        ended: Callable[[Ended], None] = lambda end: None,
    ) -> None:
        super().__init__()
        self._watchdog = watchdog
        self._home = home
        self._world = world
        self._say = say
        self._ended = ended
        self._tiers: list[list[Supervised]] = []

    @property
    def rows(self) -> list[ProcessRow]:
        return [process.row for tier in self._tiers for process in tier]

    async def run(self, programs: list[Program]) -> list[Supervised]:
        """Start programs together. They are stopped together too, before those that were started earlier."""
        tier = [Supervised(program, self._changed, self._ended) for program in programs]
        self._tiers.append(tier)
        for process in tier:
            await self.add_runtime_dependency(process)
        return tier

    async def on_start(self) -> None:
        self._write()
        if self._watchdog is not None:
            self.add_future(self._watch(self._watchdog))

    async def _watch(self, watchdog: Watchdog) -> None:
        while not self.should_stop:
            await self.sleep(watchdog.limits.every_s)
            running = {process.row.pid: process for tier in self._tiers for process in tier}
            for pid, reason in (await watchdog.look({pid for pid in running if pid is not None})).items():
                # Of this very life: it may have ended while it was looked at.
                if running[pid].row.pid == pid and not self.should_stop:
                    running[pid].kill(reason)

    async def on_stop(self) -> None:
        for tier in reversed(self._tiers):
            await asyncio.gather(*(process.stop() for process in tier))

    def _changed(self, process: Supervised, text: str) -> None:
        self._write()
        self._say(process.row, text)

    def _write(self) -> None:
        write_processes(self._home, self._world, os.getpid(), self.rows)


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
