"""Runs contenders as processes, one at a time and in turns, and compares their medians."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.meter import RESULT
from panda_streams.embedded.supervisor import die_with_parent

__all__ = ["FAUST", "ROUNDS", "Running", "contend", "module", "running"]

ROUNDS = 3
_ROOT = Path(__file__).parents[1]
_DONE_WITHIN_S = 300.0
_STOPPED_WITHIN_S = 20.0

FAUST = str(Path(sys.executable).with_name("faust"))


def module(name: str, *arguments: str) -> list[str]:
    """The command of a contender that is a module of this package."""
    return [sys.executable, "-m", f"benchmarks.{name}", *arguments]


@dataclass(frozen=True, slots=True)
class Running:
    """A contender that has said that it is ready."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    result: Path

    def wait(self, key: str, within_s: float = _DONE_WITHIN_S) -> dict[str, Any]:
        """Return what it has written once that has `key`; raise RuntimeError if it never does."""
        deadline = time.monotonic() + within_s
        while True:
            if self.result.exists() and key in (found := json.loads(self.result.read_text())):
                return dict(found)
            if self.process.poll() is not None or time.monotonic() > deadline:
                tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-40:])
                raise RuntimeError(
                    f"{self.name} wrote no {key!r} within {within_s:g} s (exit code {self.process.poll()}):\n{tail}"
                )
            time.sleep(0.05)


@contextmanager
def running(name: str, command: Sequence[str], env: Mapping[str, str], directory: Path) -> Iterator[Running]:
    """Run a contender; it is ended on the way out."""
    log, result = directory / f"{name}.log", directory / f"{name}.json"
    result.unlink(missing_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env={**env, RESULT: str(result)},
            cwd=_ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent(signal.SIGKILL),
        )
    try:
        yield Running(name, process, log, result)
    finally:
        process.terminate()
        try:
            process.wait(_STOPPED_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def contend(name: str, command: Sequence[str], env: Mapping[str, str], directory: Path) -> dict[str, Any]:
    """Run a contender until it is done; return its numbers."""
    with running(name, command, env, directory) as contender:
        return contender.wait("cpu_s")
