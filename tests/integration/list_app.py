"""A worker with one small agent on the real loop and lists, with faults of Faust on order and mends that can be taken
away: a test shows that a fault does harm without its mend, and none with it.

`faust -A tests.integration.list_app worker`, with LIST_APP set to the JSON of `Plan`.
"""

from __future__ import annotations

import base64
import os
import time
from typing import Any

import orjson
from faust.types import TP
from msgspec import Struct
from msgspec.json import Decoder, Encoder

from panda_streams.errors import BadEvent
from panda_streams.identity import Role
from panda_streams.servers import find_servers, identify_process
from panda_streams.settings import load_settings
from panda_streams.streams import runner as runner_module
from panda_streams.streams.agent import Agent, Output, Part, Stray
from panda_streams.streams.app import BROKER_REBALANCE_S, BROKER_SESSION_S, PandaApp, make_app
from panda_streams.streams.client import client_options
from panda_streams.streams.faust_fixes import check_versions, mend_recovery
from panda_streams.streams.inputs import Input, Item
from panda_streams.streams.lease import Lease
from panda_streams.streams.lists import ListConsumer, ListTopic, RecordList, install
from panda_streams.streams.loop import AgentLoop
from panda_streams.streams.readback import ReadBack
from panda_streams.streams.rows import make_table
from panda_streams.streams.sender import Sender

__all__ = ["ADDER", "NUMBERS", "SUMS", "Plan"]

ADDER, NUMBERS, SUMS = "adder", "numbers", "sums"
_KEYS = 8


class Plan(Struct, frozen=True):
    """What goes wrong in this worker, and which mends it lacks."""

    step_s: float = 0.0
    """Time that a step takes."""
    poison: int | None = None
    """The number at which the step raises."""
    skipped: tuple[int, int] | None = None
    """Offsets (from, to) of every partition that Faust does not deliver, once."""
    unrewound: int = 0
    """Records that are skipped on a partition without a commit after a rebalance."""
    lease: bool = True
    read_back: bool = True
    """False: a gap in what is delivered is not read from the log."""
    seek: bool = True
    """False: after a rebalance reading goes on where the group has committed, not where the rows stand."""
    look_at_tail: bool = True
    """False: an idle partition is not compared with the log's end."""
    cap: bool = True
    """False: a micro-batch may take any time."""

    def env(self) -> dict[str, str]:
        return {"LIST_APP": Encoder().encode(self).decode()}


class Adder(Agent):
    """Adds up the numbers of each of some keys, and says each new sum with the offset of the number that made it."""

    name = ADDER

    def __init__(self, numbers: str, sums: str, plan: Plan) -> None:
        self._sums = sums
        self._plan = plan
        self.inputs = (Input(NUMBERS, numbers, _number, ("test",)),)

    def load(self, key: str, data: bytes) -> Any:
        return orjson.loads(data)

    def dump(self, row: Any) -> bytes:
        return orjson.dumps(row)

    def step(self, part: Part, item: Item, offset: int) -> list[Output]:
        number: int = item.event
        if number == self._plan.poison:
            raise RuntimeError("this step has a mistake")
        if self._plan.step_s:
            time.sleep(self._plan.step_s)
        key = f"{part.partition}/{offset % _KEYS}"
        total = (part.rows.get(key) or 0) + number
        part.rows.put(key, total)
        value = orjson.dumps({"offset": offset, "total": total})
        return [Output(self._sums, b"sum", value, part.partition)]


def _number(value: bytes | None) -> Item:
    try:
        return Item(int(value or b""), "test", 0)
    except ValueError as error:
        raise BadEvent(str(error)) from error


class _NoLease(Lease):
    def valid(self) -> bool:
        return True


class _NoReadBack(ReadBack):
    async def _read(self, topic: str, partition: int, start: int, end: int) -> Any:
        if topic.endswith(NUMBERS):
            return
        async for record in super()._read(topic, partition, start, end):
            yield record


def _build(plan: Plan) -> PandaApp:
    settings = load_settings()
    servers = find_servers(settings)
    identity = identify_process(settings, servers, Role.ARM)
    identity.data_dir.mkdir(parents=True, exist_ok=True)
    app, options = make_app(identity, settings, servers.kafka), client_options(settings, servers.kafka)
    loop = AgentLoop(
        app,
        Sender(options, settings.partitions),
        (ReadBack if plan.read_back else _NoReadBack)(options),
        (Lease if plan.lease else _NoLease)(BROKER_SESSION_S, BROKER_REBALANCE_S),
        f"{servers.prefix}paper.dlq",
        _dead_letter,
    )
    app.agent_loop = loop
    agent = Adder(f"{servers.prefix}{NUMBERS}", f"{servers.prefix}{SUMS}", plan)
    loop.add(agent, make_table(app, ADDER, "sums by key"))

    async def run(stream: Any) -> None:
        async for delivery in stream:
            loop.take(agent.name, delivery)

    app.agent(ListTopic.of(app, [source.topic for source in agent.inputs]), name=agent.name)(run)
    install(app, loop.topics, loop.starts, loop.assigned, loop.release)
    _disturb(app, plan)
    return app


def _dead_letter(stray: Stray) -> bytes:
    return base64.b64encode(stray.record.value or b"")


def _disturb(app: PandaApp, plan: Plan) -> None:
    undelivered: set[TP] = set()
    first, end = plan.skipped or (0, 0)

    class Consumer(app.transport.Consumer):
        async def _getmany(self, active_partitions: Any, timeout: float) -> Any:  # noqa: ASYNC109  Faust's own
            fetched = await super()._getmany(active_partitions, timeout)
            for place, lists in list(fetched.items()):
                if place.topic not in self.listed or place in undelivered:
                    continue
                before = RecordList(record for record in lists[0] if record.offset < first)
                after = RecordList(record for record in lists[0] if record.offset >= end)
                if lists[0][-1].offset >= end - 1:
                    undelivered.add(place)
                fetched[place] = [records for records in (before, after) if records]
            return fetched

        async def perform_seek(self) -> None:
            await (super() if plan.seek else super(ListConsumer, self)).perform_seek()
            for place in self.assignment():
                if place.topic in self.listed and plan.unrewound and self._committed_offset.get(place) is None:
                    await self.seek(place, plan.unrewound)

    app.transport.Consumer = Consumer
    if not plan.cap:
        _replace(runner_module, "_MAX_STEP_S", 3600.0)
    if not plan.look_at_tail:

        async def look(runner: Any) -> None:
            print(f"{runner.name}-{runner.partition} is idle", flush=True)

        _replace(runner_module.Runner, "_look_at_tails", look)


def _replace(owner: Any, name: str, value: Any) -> None:
    getattr(owner, name)  # a mend that has another name by now would stay in force, and its test would not see it
    setattr(owner, name, value)


if "LIST_APP" in os.environ:
    check_versions()
    mend_recovery()
    app = _build(Decoder(Plan).decode(os.environ["LIST_APP"]))
