"""The real worker of the paper arm with a meter: `faust -A benchmarks.arm_worker worker`."""

from __future__ import annotations

import os

from faust.types import TP

from benchmarks.market import PARTITIONS
from benchmarks.meter import follow
from faust_app import app

__all__ = ["app"]

_prefix = f"{os.environ['PANDA_TOPIC_PREFIX']}paper."
_raw = int(os.environ["BENCH_RAW"])
_signals = int(os.environ["BENCH_SIGNALS"])


def _finished() -> bool:
    """Every signal is judged and its order filled, every fill is booked, and risk knows of all of them."""
    positions = app.agent_loop.positions

    def handled(name: str) -> int:
        return sum(positions.get((_prefix + name, number), 0) for number in range(PARTITIONS))

    if handled("signals.raw") < _raw or handled("orders.filled") < _signals:
        return False
    said = [TP(_prefix + name, number) for name in ("orders.updates", "orders.filled") for number in range(PARTITIONS)]
    return all(positions.get(place, 0) >= (app.consumer.highwater(TP(*place)) or 0) for place in said)


follow(app, _finished)
