"""Where a courier works: one account on one worker, for as long as the worker has it."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass

from agents.context import Context
from agents.trader import TraderAgent
from agents.trading.courier import Courier
from panda_streams.brokers.port import ConnectedTrader
from panda_streams.streams.agent import Part
from panda_streams.streams.loop import AgentLoop
from panda_streams.streams.runner import EXIT_BROKEN
from tables.trader import TraderRow

__all__ = ["Post", "hire"]


@dataclass(frozen=True, slots=True)
class Post:
    agent: TraderAgent
    part: Part
    loop: AgentLoop

    def row(self) -> TraderRow:
        return self.agent.row(self.part)

    def reached(self) -> int | None:
        return self.part.inputs.reached()

    def wake(self) -> None:
        self.part.wake()

    def licensed(self) -> bool:
        return self.loop.lease.valid() and self.loop.runs(self.agent.name, self.part.partition)

    def broken(self) -> None:
        logging.shutdown()
        os._exit(EXIT_BROKEN)


def hire(context: Context, trader: ConnectedTrader, loop: AgentLoop, agent: TraderAgent, part: Part) -> Courier:
    """The courier of a partition that was taken over."""
    return Courier(context, trader, Post(agent, part, loop))
