"""What a strategy author writes: the Strategy class, its contract, and how a configuration finds its class."""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import ValidationError

from panda_streams.domain.signals import Decision
from panda_streams.domain.ticks import Tick
from panda_streams.domain.values import Value
from panda_streams.errors import BadInput
from strategies.config import StrategyConfig

__all__ = ["Strategy", "build", "registered_strategies"]

_GROUP = "panda_streams.strategies"

S = TypeVar("S")


class Strategy(ABC, Generic[S]):
    """Turn ticks into decisions, one state of type `S` per shard.

    The brain makes one object of the class from each configuration and holds one state per shard. It promises:

    - `initial` gives a shard its first state. After a restart `load` gives it instead, from what `dump` returned
      under the same version of the configuration; another version starts from `initial`.
    - `step` is called for each tick of `config.instruments` that arrives on the shard, in the order of the shard's
      log, with the state that the previous step returned. Event time never goes back on a shard; it stands still for
      ticks of the same moment, and leaps over nights.
    - A traded instrument lives on one shard. A watched index is on every shard, so each shard has a copy of it, and
      a step sees the instruments of its own shard alone.
    - A contract in `trades` is decided on by its name. The strategy sees the ticks of its underlying, not those of the
      contract. What opens a position is for the future or option that the contract means at the underlying's last
      price on that day; what changes or closes it is for what was entered, whatever the contract means by then.
      Of a decision that no listed instrument fits no signal is made: it is counted and logged.
    - A step that raises has not happened: its tick is lost to the strategy, which is paused on every shard, alone. When
      an operator resumes it, it goes on from the state before that step and misses the ticks in between.

    The author promises:

    - Every method is a function of its arguments and of `config`: no I/O, no clock, no random, no logging, nothing
      kept on `self` after construction, and no change to the state that it is given. After a crash the same ticks
      are stepped again from an older state, and the same decisions must follow.
    - `step` returns decisions for instruments in `config.trades` alone, and decides on a tick of that instrument, or
      for one whose ticks this shard's state has seen; at most one decision for an instrument at a tick, since the
      two identify the signal.
    - A state holds what the strategy has seen and said, never a fact of an account: whether a broker's arm accepted
      or filled a signal differs from broker to broker, and the signal is one for all of them.
    - A state is small, for it is stored whenever it is checkpointed: numbers per instrument, no history of ticks.
    """

    Params: ClassVar[type[Value]]
    """The parameters, a frozen model whose fields have defaults, ranges and docstrings with units."""
    params: Value
    """The checked parameters; a subclass annotates them with its own class."""

    def __init__(self, config: StrategyConfig) -> None:
        """Check `config.params`; raise ValueError that names the parameter which is unknown or out of range."""
        self.config = config
        try:
            self.params = self.Params.model_validate(config.params)
        except ValidationError as error:
            wrong = "; ".join(
                f"params.{'.'.join(str(part) for part in found['loc'])}: {found['msg']}".replace("params.:", "params:")
                for found in error.errors()
            )
            raise ValueError(f"{wrong} (known parameters: {', '.join(self.Params.model_fields)})") from None

    @abstractmethod
    def initial(self) -> S:
        """The state of a shard that has seen no tick."""

    @abstractmethod
    def step(self, state: S, tick: Tick) -> tuple[S, tuple[Decision, ...]]:
        """Take one tick; return the new state and what to do, usually nothing.

        Called for every tick, so it must cost microseconds: O(1) per tick. Prices are integers in smallest units.
        """

    @abstractmethod
    def dump(self, state: S) -> Any:
        """The state as JSON values (objects with text keys, arrays, numbers, text), free of NaN and infinities."""

    @abstractmethod
    def load(self, data: Any) -> S:
        """The inverse of `dump`, exactly: `load` of the parsed JSON of `dump(state)` equals `state`."""


def registered_strategies() -> dict[str, EntryPoint]:
    """The strategies that installed packages register, by the name that `strategy:` uses."""
    return {found.name: found for found in sorted(entry_points(group=_GROUP), key=lambda found: found.name)}


def build(config: StrategyConfig) -> Strategy[Any]:
    """Make the strategy of a configuration; raise BadInput for an unknown name or an unusable parameter.

    `config.strategy` is a name of the entry point group panda_streams.strategies, or `module:Class` of any module
    that Python can import.
    """
    found = _find(config)
    if not (isinstance(found, type) and issubclass(found, Strategy)):
        raise BadInput(
            f"strategy {config.strategy_id}: {config.strategy} is not a class of strategies",
            fix="derive it from strategies.interface.Strategy",
        )
    try:
        return found(config)
    except ValueError as error:
        raise BadInput(
            f"strategy {config.strategy_id} ({config.strategy}): {error}",
            fix=f"correct it in the YAML file with strategy_id {config.strategy_id}; see docs/strategies.md",
        ) from error


def _find(config: StrategyConfig) -> Any:
    name = config.strategy
    registered = registered_strategies()
    if name in registered:
        return registered[name].load()
    module, colon, attribute = name.partition(":")
    fix = f"use one of {', '.join(registered)}, or module:Class of a module on the PYTHONPATH"
    if not (colon and module and attribute.isidentifier()):
        raise BadInput(f"strategy {config.strategy_id}: there is no strategy {name!r}", fix=fix)
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise BadInput(f"strategy {config.strategy_id}: cannot import {name}: {error}", fix=fix) from error
