"""A process that dies as planned and is started again at once."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path

from panda_streams.embedded.supervisor import die_with_parent
from tests.chaos.compare import Finding, Kind
from tests.chaos.kills import CRASH_POINT, Kill, Moment, Point

__all__ = ["GaveUp", "Victim"]

_PATIENCE_S = 8.0
"""A worker that has not passed its crash point by then has no work left that leads there, and is killed as it is."""
_TAIL = 30
"""Lines of the log of a process that ended by itself."""
_MOST_OWN_ENDS = 3
"""A process that ends by itself more often is not started again."""


class GaveUp(Exception):
    """A process ends by itself again and again: the run cannot come to its end."""


class Victim:
    """One process of a world: `files` is the directory of its tables, which a kill may wipe.

    Call `look` often: it kills, buries and starts again. It raises GaveUp if starting again does not help.
    """

    def __init__(self, name: str, command: list[str], env: Mapping[str, str], log: Path, files: Path | None) -> None:
        self.name = name
        self.planned: deque[Kill] = deque()
        self.died: list[str] = []
        """Names of the kills it died of, in their order."""
        self.unreached = 0
        """Crash points that it had not passed when patience ended."""
        self.wiped = 0
        self.findings: list[Finding] = []
        self.finished = False
        """True once it has ended with exit code 0, which only a feed does."""
        self._command = command
        self._env = env
        self._log = log
        self._files = files
        self._kill: Kill | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._frozen_until: float | None = None

    @property
    def alive(self) -> bool:
        """True while its process runs, suspended or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def frozen(self) -> bool:
        return self._frozen_until is not None

    @property
    def at_peace(self) -> bool:
        """True if no kill is to come."""
        return self._kill is None and not self.planned

    def plan(self, kills: Iterable[Kill]) -> None:
        """Add kills; one at a crash point only before `start`, since a process learns its own when it starts."""
        self.planned += kills

    def start(self) -> None:
        self._kill = self.planned.popleft() if self.planned else None
        env = dict(self._env)
        if self._kill is not None and isinstance(self._kill.at, Point):
            env[CRASH_POINT] = str(self._kill.at)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=env,
                cwd=self._log.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent(signal.SIGKILL),
            )
        self._started = time.monotonic()

    def look(self) -> None:
        if self.finished or self._process is None:
            return
        code = self._process.poll()
        if code is None and self._frozen_until is not None:
            self._thaw_if_due(self._process, self._frozen_until)
        elif code is None:
            self._kill_if_due(self._process)
        elif code == 0:
            self.finished = True
            if self._kill is not None:
                self.planned.appendleft(self._kill)
                self._kill = None
        elif code == -signal.SIGKILL and self._kill is not None:
            self._bury(self._kill)
            self.start()
        else:
            self._report(code)

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def _kill_if_due(self, process: subprocess.Popen[bytes]) -> None:
        if self._kill is None and self.planned:
            self._kill = self.planned.popleft()
        if self._kill is None:
            return
        alive = time.monotonic() - self._started
        if isinstance(self._kill.at, Moment):
            if alive >= self._kill.at.seconds and self._kill.freeze_s is not None:
                process.send_signal(signal.SIGSTOP)
                self._frozen_until = time.monotonic() + self._kill.freeze_s
            elif alive >= self._kill.at.seconds:
                process.kill()
        elif self._kill.freeze_s is not None:
            if _stands_still(process.pid):
                self._frozen_until = time.monotonic() + self._kill.freeze_s
        elif alive >= _PATIENCE_S:
            self.unreached += 1
            self._kill = Kill(self.name, Moment(alive), self._kill.wipe)
            process.kill()

    def _thaw_if_due(self, process: subprocess.Popen[bytes], until: float) -> None:
        if time.monotonic() < until:
            return
        process.send_signal(signal.SIGCONT)
        assert self._kill is not None
        self.died.append(self._kill.name)
        # The next kill is counted from now on.
        self._kill, self._frozen_until, self._started = None, None, time.monotonic()

    def _bury(self, kill: Kill) -> None:
        self.died.append(kill.name)
        if kill.wipe and self._files is not None:
            shutil.rmtree(self._files, ignore_errors=True)
            self.wiped += 1

    def _report(self, code: int) -> None:
        """Take down that it ended by itself; it is started again, as its supervisor would."""
        tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-_TAIL:])
        self.findings.append(Finding(Kind.ENDED, f"{self.name} ended by itself with exit code {code}:\n{tail}"))
        if len(self.findings) >= _MOST_OWN_ENDS:
            raise GaveUp(f"{self.name} has ended by itself {len(self.findings)} times, see {self._log}")
        if self._kill is not None:
            self.planned.appendleft(self._kill)
        self.start()


def _stands_still(pid: int) -> bool:
    """Whether a process has been suspended (state T of /proc/<pid>/stat, behind the name in brackets)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
