"""An embedded Kafka and Redis for as long as a block runs: for a test session, a torture or the benchmarks."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from panda_streams.embedded.kafka import kafka_program
from panda_streams.embedded.redis import redis_program
from panda_streams.embedded.supervisor import Program, die_with_parent
from panda_streams.identity import Home, Ports

__all__ = ["RunningServers", "free_port_base", "project_home", "run_servers"]

_READY_WITHIN_S = 60.0
_STOPPED_WITHIN_S = 30.0
_PORTS = 40
"""Ports that a deployment may use, from its base on."""
_APART = 300


@dataclass(frozen=True, slots=True)
class RunningServers:
    """Where the servers are; processes may have ports of the same base."""

    kafka: str
    """host:port"""
    ports: Ports

    def redis(self, database: int) -> str:
        return f"redis://127.0.0.1:{self.ports.redis}/{database}"


def project_home() -> Home:
    """PANDA_HOME, else that of the checkout: tests take the jars of Kafka from it, so that they are fetched once."""
    return Home(Path(os.environ.get("PANDA_HOME") or Path(__file__).parents[1] / ".panda").absolute())


def free_port_base() -> int:
    """A value for PANDA_PORT_BASE whose ports are free, below those that the kernel hands out to clients."""
    bases = list(range(10_000, 32_000, _APART))
    random.SystemRandom().shuffle(bases)
    return next(base for base in bases if all(_is_free(port) for port in range(base, base + _PORTS)))


@contextmanager
def run_servers(
    directory: Path, jars: Path, port_base: int, say: Callable[[str], None] = print
) -> Iterator[RunningServers]:
    """Run Kafka and Redis with their data in `directory`; they die with this process, however it ends.

    `say` hears of each step. Raises RuntimeError with the log of a server that does not get ready.
    """
    ports = Ports(port_base)
    directory.mkdir(parents=True, exist_ok=True)
    programs = [
        kafka_program(directory, directory, jars, ports, say),
        redis_program(directory, directory, ports, say),
    ]
    with ExitStack() as stack:
        processes = []
        for program in programs:
            processes.append(_start(program))
            stack.callback(_stop, processes[-1])
        for program, process in zip(programs, processes, strict=True):
            _await_ready(program, process)
        yield RunningServers(f"127.0.0.1:{ports.kafka}", ports)


def _start(program: Program) -> subprocess.Popen[bytes]:
    with program.log.open("wb") as log:
        return subprocess.Popen(
            program.argv,
            cwd=program.cwd,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent(program.death_signal),
        )


def _await_ready(program: Program, process: subprocess.Popen[bytes]) -> None:
    async def ready() -> None:
        await asyncio.wait_for(program.ready(), _READY_WITHIN_S)

    try:
        asyncio.run(ready())
    except TimeoutError:
        raise RuntimeError(
            f"{program.name} is not ready (exit code {process.poll()}):\n{program.log.read_text()}"
        ) from None


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOPPED_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As every server here does: a port whose last connections are still dying away is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
