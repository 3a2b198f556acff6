"""The embedded Kafka and Redis of a torture: started once, shared by all its worlds."""

from __future__ import annotations

import asyncio
import random
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from panda_streams.embedded.kafka import kafka_program
from panda_streams.embedded.redis import redis_program
from panda_streams.embedded.supervisor import Program, die_with_parent
from panda_streams.identity import Ports

__all__ = ["TestServers", "free_port_base", "run_servers"]

_READY_WITHIN_S = 60.0
_STOPPED_WITHIN_S = 20.0
_PORTS = 30
"""Ports of a deployment with one arm."""


@dataclass(frozen=True, slots=True)
class TestServers:
    """Where the servers are; the workers of a world have ports of the same base."""

    __test__ = False

    kafka: str
    """host:port"""
    ports: Ports

    def redis(self, database: int) -> str:
        return f"redis://127.0.0.1:{self.ports.redis}/{database}"


def free_port_base() -> int:
    """A value for PANDA_PORT_BASE whose ports are free, below those that the kernel hands out to clients."""
    bases = list(range(10_000, 32_000, 300))
    random.SystemRandom().shuffle(bases)
    return next(base for base in bases if all(_is_free(port) for port in range(base, base + _PORTS)))


@contextmanager
def run_servers(directory: Path, jars: Path, port_base: int) -> Iterator[TestServers]:
    """Run Kafka and Redis with their data in `directory`; they die with this process, however it ends."""
    ports = Ports(port_base)
    directory.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        for program in (
            kafka_program(directory, directory, jars, ports, print),
            redis_program(directory, directory, ports, print),
        ):
            process = _start(program)
            stack.callback(_stop, process)
            _await_ready(program, process)
        yield TestServers(f"127.0.0.1:{ports.kafka}", ports)


def _start(program: Program) -> subprocess.Popen[bytes]:
    with program.log.open("wb") as log:
        return subprocess.Popen(
            program.argv,
            cwd=program.cwd,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent(signal.SIGKILL),
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
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
