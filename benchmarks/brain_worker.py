"""The real brain worker with a meter: `faust -A benchmarks.brain_worker worker`."""

from __future__ import annotations

import os

from benchmarks.meter import follow
from faust_app import app

__all__ = ["app"]

_records = int(os.environ["BENCH_RECORDS"])

follow(app, lambda: sum(app.agent_loop.positions.values()) >= _records)
