"""A real Apache Kafka of one node in KRaft mode, for a machine on which only Python is installed.

`python -m panda_streams.embedded.kafka lock` writes kafka.lock anew.
"""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from aiokafka import AIOKafkaClient
from aiokafka.errors import KafkaError

from panda_streams.embedded.jars import LOCK_FILE, fetch_jars, read_lock, resolve_jars
from panda_streams.embedded.java import find_java
from panda_streams.embedded.ports import await_free
from panda_streams.embedded.supervisor import SERVER_DEATH, SERVER_DELAY_S, Program
from panda_streams.errors import PandaError
from panda_streams.identity import Ports

__all__ = ["kafka_program"]

_COORDINATES = ["org.apache.kafka:kafka_2.13:4.1.1", "org.slf4j:slf4j-simple:1.7.36"]

_OPTIONS = [
    "-Xmx512m",
    "-XX:TieredStopAtLevel=1",  # the full compiler would cost more processor at start than it ever gives back here
    "-XX:-UsePerfData",  # nothing is written outside its directory
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss,SSS",
]

_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{kafka},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{kafka}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs={log}
auto.create.topics.enable=false
# A single node that was killed waits for its own old session to run out: 9 s by default.
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=400
group.initial.rebalance.delay.ms=0
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
# A group that was stopped for a holiday goes on where it was: records are kept a month, so offsets are kept longer.
offsets.retention.minutes=129600
log.retention.check.interval.ms=60000
# The default takes 128 MiB of the heap.
log.cleaner.dedupe.buffer.size=16777216
"""


def kafka_program(world: Path, logs: Path, jars: Path, ports: Ports, say: Callable[[str], None]) -> Program:
    """Make everything ready to start Kafka on 127.0.0.1, in a directory of its own in that of the world.

    It goes on with the data that is there. `jars` may be shared by many. Fetches what is missing, so it can take a
    minute the first time; `say` gets a line about each step. Raises PandaError if Java, a jar or a port is missing.
    """
    java = find_java()
    say(f"Java {java.version} ({java.path})")
    paths = fetch_jars(read_lock(), jars, lambda present, of: say(f"Kafka jars {present}/{of}"))
    await_free({"the embedded Kafka": ports.kafka, "its controller": ports.kafka_controller})
    directory = world / "kafka"
    directory.mkdir(parents=True, exist_ok=True)
    command = [str(java.path), *_OPTIONS, "-cp", os.pathsep.join(str(path) for path in paths)]
    properties = directory / "server.properties"
    data = directory / "log"
    if not data.exists():
        say("Kafka formats its storage")
        _format(command, directory, ports, data)
    properties.write_text(_properties(ports, data))
    return Program(
        name="kafka",
        argv=(*command, "kafka.Kafka", str(properties)),
        command=f"kafka.Kafka {properties}",
        log=logs / "kafka.log",
        cwd=directory,
        death_signal=SERVER_DEATH,
        first_delay_s=SERVER_DELAY_S,
        ready=lambda: _answers(ports.kafka),
    )


def _properties(ports: Ports, data: Path) -> str:
    # A backslash starts an escape in a properties file.
    log = str(data).replace("\\", "\\\\")
    return _PROPERTIES.format(controller=ports.kafka_controller, kafka=ports.kafka, log=log)


def _format(command: list[str], directory: Path, ports: Ports, data: Path) -> None:
    """Make an empty storage at `data`, whole or not at all."""
    unfinished = directory / "log.new"
    shutil.rmtree(unfinished, ignore_errors=True)
    properties = directory / "format.properties"
    properties.write_text(_properties(ports, unfinished))
    done = subprocess.run(
        [*command, "kafka.tools.StorageTool", "format", "-t", _new_cluster_id(), "-c", str(properties)],
        capture_output=True,
        text=True,
        cwd=directory,
    )
    if done.returncode != 0:
        raise PandaError(
            f"Kafka cannot format its storage in {directory}: {(done.stderr or done.stdout).strip()}",
            fix="check the free space and the rights of that directory",
        )
    properties.unlink()
    unfinished.rename(data)


def _new_cluster_id() -> str:
    while True:
        text = base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")
        if not text.startswith("-"):  # the tool would take it for an option
            return text


async def _answers(port: int) -> None:
    """Return once Kafka serves clients: it answers, and counts itself among the brokers that are alive."""
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            await writer.wait_closed()
            client = AIOKafkaClient(bootstrap_servers=f"127.0.0.1:{port}", request_timeout_ms=3000)
            try:
                await client.bootstrap()
                if client.cluster.brokers():
                    return
            finally:
                await client.close()
        except (OSError, KafkaError):
            pass  # not yet: whoever waits has a limit of his own
        await asyncio.sleep(0.05)


def _write_lock() -> None:
    jars = resolve_jars(_COORDINATES)
    LOCK_FILE.write_text("".join(f"{jar.coordinate} {jar.sha256}\n" for jar in jars))
    print(f"{LOCK_FILE}: {len(jars)} jars")


if __name__ == "__main__":
    if sys.argv[1:] != ["lock"]:
        sys.exit("usage: python -m panda_streams.embedded.kafka lock")
    _write_lock()
