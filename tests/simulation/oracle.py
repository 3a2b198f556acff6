"""What an arm has to say, from its inputs alone: no agent, no loop and no schedule, only the domain's functions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from panda_streams.domain.fate import Change, Tape, accept, expire, meet

from agents.reading import FEEDBACK_MS, brain_writer, execution_writer
from agents.risk import step_signal, step_update
from panda_streams.codec import decode, decode_depth, decode_market, encode
from panda_streams.events import OrderUpdate, Rejected, Signal, TickBatch, Validated
from tables.risk import RiskRow
from tests.chaos.compare import Entry, once
from tests.simulation.market import INSTRUMENTS, PARTITIONS
from tests.simulation.world import Arm, World

__all__ = ["check_fates", "check_order"]


def check_fates(world: World, arm: Arm, log: list[Entry]) -> Iterator[str]:
    """Each order's updates are what the whole tick log gives it, matched alone."""
    said: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for entry in once(log).values():
        if entry.topic == "orders.updates":
            update = decode(OrderUpdate, entry.value)
            said[update.order_id].append((update.state, update.time, update.fill, update.reason))
    tapes = [_tapes(world, shard) for shard in range(PARTITIONS)]
    for entry in once(log).values():
        if entry.topic != "signals.validated":
            continue
        validated = decode(Validated, entry.value)
        changes = _fate(arm, validated, tapes[validated.signal.cause.shard])
        expected = [(c.state, c.time, c.fill, c.reason) for c in changes]
        if said[validated.order_id][1:] != expected:
            yield f"fate: order {validated.order_id} {said[validated.order_id]}, its ticks say {expected}"


def _fate(arm: Arm, validated: Validated, tapes: list[Tape | tuple[int, int]]) -> list[Change]:
    trader = arm.trader
    order = accept(validated.order_id, validated.signal, validated.quantity, validated.time, trader.latency_ms)
    instrument = INSTRUMENTS[order.instrument]
    for tape in tapes:
        if changes := meet(order, tape, instrument, trader.match) if isinstance(tape, Tape) else expire([order], *tape):
            return changes
    return []


def _tapes(world: World, shard: int) -> list[Tape | tuple[int, int]]:
    """The shard's ticks by record, and offset and time of the end; what was written twice stands once."""
    tapes: list[Tape | tuple[int, int]] = []
    seen = set()
    for record in world.ticks(shard):
        market = decode_market(record.value)
        if (market.run, market.sequence) in seen:
            continue
        seen.add((market.run, market.sequence))
        if isinstance(market, TickBatch):
            books = decode_depth(market)
            tapes.append(Tape(market.source, market.run, shard, record.offset, market.ticks, books))
        elif market.end:
            tapes.append((record.offset, market.time))
    return tapes


def check_order(arm: Arm, log: list[Entry]) -> Iterator[str]:
    """Each verdict is what risk's steps give when all that it heard acts in the order of event time."""
    streams: dict[str, list[tuple[tuple[int, int, int], Signal | OrderUpdate]]] = defaultdict(list)
    verdicts: list[tuple[int, bytes]] = []
    for entry in once(log).values():
        if entry.topic == "signals.raw":
            signal = decode(Signal, entry.value)
            shard = signal.cause.shard
            streams[brain_writer(shard)].append(((signal.cause.time, 2, shard), signal))
        elif entry.topic == "orders.updates":
            update = decode(OrderUpdate, entry.value)
            shard = PARTITIONS + int(update.producer.removeprefix(execution_writer(0)[:-1]))
            streams[update.producer].append(((update.time + FEEDBACK_MS, 0, shard), update))
        elif entry.topic in ("signals.validated", "signals.rejected"):
            verdicts.append((entry.event["sequence"], entry.value))
    row, expected = RiskRow(), []
    waiting = [iter(stream) for stream in streams.values()]
    heads = {n: head for n, stream in enumerate(waiting) if (head := next(stream, None)) is not None}
    while heads:
        first = min(heads, key=lambda n: heads[n][0])
        event = heads[first][1]
        if isinstance(event, OrderUpdate):
            row = step_update(row, event)
        else:
            allowance = arm.allowance(event)
            verdict: Validated | Rejected
            row, verdict = step_signal(row, event, arm.namespace, allowance, INSTRUMENTS.get(event.instrument))
            expected.append((verdict.sequence, encode(verdict)))
        following = next(waiting[first], None)
        if following is None:
            del heads[first]
        else:
            heads[first] = following
    for found, due in zip(sorted(verdicts), expected, strict=False):
        if found != due:
            yield f"order: verdict {found[1].decode()}, in the order of event time {due[1].decode()}"
            return
    if len(verdicts) != len(expected):
        yield f"order: {len(verdicts)} verdicts, in the order of event time {len(expected)}"
