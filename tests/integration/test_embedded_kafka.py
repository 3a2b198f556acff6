from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from panda_streams.embedded.kafka import kafka_program
from panda_streams.embedded.processes import ProcessState
from panda_streams.embedded.supervisor import Supervisor
from panda_streams.errors import SettingsError
from panda_streams.identity import Home, Ports, World
from tests.polling import eventually_async

pytestmark = pytest.mark.integration

_BACK_WITHIN_S = 10.0
"""It takes 3 to 4 s on an idle machine of two cores; without the tuned session timeout it would be over 10."""


async def _write(kafka: str, value: bytes) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.create_topics([NewTopic("t", 1, 1)])
    await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=kafka, acks="all")
    await producer.start()
    await producer.send_and_wait("t", value, partition=0)
    await producer.stop()


async def _read(kafka: str) -> bytes:
    consumer = AIOKafkaConsumer("t", bootstrap_servers=kafka, auto_offset_reset="earliest")
    await consumer.start()
    try:
        return (await asyncio.wait_for(consumer.getone(), 10)).value
    finally:
        await consumer.stop()


def test_a_killed_kafka_is_soon_back_with_every_acknowledged_record(
    tmp_path: Path, kafka_jars: Path, free_port_base: int
) -> None:
    ports = Ports(free_port_base)
    program = kafka_program(tmp_path, tmp_path, kafka_jars, ports, print)
    supervisor = Supervisor(Home(tmp_path), World("sim"), lambda row, text: print(text))
    address = f"127.0.0.1:{ports.kafka}"

    async def scenario() -> tuple[bytes, float]:
        await supervisor.start()
        try:
            [kafka] = await supervisor.run([program])
            await eventually_async(_running(kafka, restarts=0), timeout_s=60, what="Kafka runs")
            await _write(address, b"acknowledged")
            assert kafka.row.pid
            os.kill(kafka.row.pid, signal.SIGKILL)
            killed_at = time.monotonic()
            await eventually_async(_running(kafka, restarts=1), timeout_s=60, what="Kafka runs again")
            took = time.monotonic() - killed_at
            return await _read(address), took
        finally:
            await supervisor.stop()

    record, took = asyncio.run(scenario())

    print(f"back after {took:.1f} s")
    assert record == b"acknowledged"
    assert took < _BACK_WITHIN_S


def test_a_taken_port_is_an_error_that_names_the_setting(
    tmp_path: Path, kafka_jars: Path, servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("panda_streams.embedded.ports.PATIENCE_S", 0.2)
    taken = Ports(int(servers.kafka.partition(":")[2]) - 1)

    with pytest.raises(SettingsError, match=rf"{taken.kafka}(?s:.*)PANDA_PORT_BASE"):
        kafka_program(tmp_path, tmp_path, kafka_jars, taken, print)


def _running(process, *, restarts: int):
    async def check() -> bool:
        return process.row.state is ProcessState.RUNNING and process.row.restarts == restarts

    return check
