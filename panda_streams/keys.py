"""Every Redis key: the mirror writes them, the gateway and the status command read them.

All keys of a process start with its scope (`paper:`, `brain:`, `feed:`, `gateway:`), except the stamp of the world.
Values are JSON texts; index keys are sets.
"""

from __future__ import annotations

__all__ = ["STAMP", "Keys"]

STAMP = "panda:stamp"
"""The stamp of the world that owns this Redis database."""


class Keys:
    """The keys of one scope: a namespace, `brain`, `feed`, `kitesim` or `gateway`."""

    def __init__(self, scope: str) -> None:
        self.prefix = f"{scope}:"
        self.risk = f"{scope}:risk"
        """An arm's account: mode, cash, positions, counts of verdicts."""
        self.trader = f"{scope}:trader"
        """An arm's trader: what is at the broker, and what its books do not explain."""
        self.link = f"{scope}:link"
        """An arm's line to its broker: which endpoint, and why nothing can be sent."""
        self.portfolios = f"{scope}:index:portfolio"
        """Set of the strategy ids that have a portfolio."""
        self.orders = f"{scope}:index:orders"
        """Set of the ids of the orders that are working."""
        self.instances = f"{scope}:index:health"
        """Set of the instances that have reported."""
        self.versions = f"{scope}:versions"
        """Hash from key to the version of its value: the mirror writes only what is newer."""
        self.strategies = f"{scope}:strategies"
        """The brain's strategies: brokers, consent, state."""
        self.fanout = f"{scope}:index:fanout"
        """Set of the shards whose fan-out counts the brain has written."""

    def portfolio(self, strategy_id: str) -> str:
        return f"{self.prefix}portfolio:{strategy_id}"

    def positions(self, strategy_id: str) -> str:
        """Set of the instruments in which the strategy holds or held a position."""
        return f"{self.prefix}index:positions:{strategy_id}"

    def position(self, strategy_id: str, instrument: str) -> str:
        return f"{self.prefix}positions:{strategy_id}:{instrument}"

    def order(self, order_id: str) -> str:
        return f"{self.prefix}orders:{order_id}"

    def health(self, instance: int | str) -> str:
        return f"{self.prefix}health:{instance}"

    def fanout_of(self, shard: int | str) -> str:
        """JSON object: broker to the number of signals that this shard has sent to it."""
        return f"{self.prefix}fanout:{shard}"
