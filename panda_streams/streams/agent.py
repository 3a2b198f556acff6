"""What makes an agent: its inputs, its rows and its step, and what the loop gives it. Its author reads this first.

docs/loop.md says what a step may do, and when what it does is durable.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from panda_streams.streams.inputs import Input, Inputs, Item, Received, Wanted
from panda_streams.streams.packing import pack, unpack

__all__ = ["Agent", "Output", "Part", "Rows", "Stray"]

_CACHED_ROWS = 10_000


class Output(NamedTuple):
    """A record to send; without `partition` its key decides."""

    topic: str
    key: bytes
    value: bytes
    partition: int | None = None


class Stray(NamedTuple):
    """A record that cannot be processed, and why."""

    topic: str
    partition: int
    record: Received
    reason: str


class Rows:
    """The rows of one partition as a step sees them: what the micro-batch has changed, over what is stored.

    `read` reads a stored row; `load` and `dump` are the agent's codec, JSON: a large row is stored compressed. At most
    some thousand unchanged rows are kept decoded.
    """

    def __init__(
        self, read: Callable[[bytes], bytes | None], load: Callable[[str, bytes], Any], dump: Callable[[Any], bytes]
    ) -> None:
        self._read = read
        self._load = load
        self._dump = dump
        self._clean: OrderedDict[str, Any] = OrderedDict()
        self._changed: dict[str, Any] = {}

    def get(self, key: str) -> Any:
        """The row, or None if there is none. Frozen, or owned by the step that `put` it."""
        row = self._changed.get(key)
        if row is not None:
            return row
        row = self._clean.get(key)
        if row is None:
            data = self._read(key.encode())
            if data is None:
                return None
            row = self._clean[key] = self._load(key, unpack(data))
            if len(self._clean) > _CACHED_ROWS:
                self._clean.popitem(last=False)
        return row

    def put(self, key: str, row: Any) -> None:
        self._changed[key] = row

    @property
    def changed(self) -> Mapping[str, Any]:
        """What `get` would give that is not stored yet."""
        return self._changed

    def encoded(self) -> dict[bytes, bytes]:
        """The changed rows as they are to be stored."""
        return {key.encode(): pack(self._dump(row)) for key, row in self._changed.items()}

    def stored(self) -> dict[str, Any]:
        """Take note that the changed rows are stored; returns them."""
        changed, self._changed = self._changed, {}
        for key, row in changed.items():
            self._clean[key] = row
            self._clean.move_to_end(key)
        while len(self._clean) > _CACHED_ROWS:
            self._clean.popitem(last=False)
        return changed


@dataclass(slots=True)
class Part:
    """What an agent is given of one partition at each step."""

    partition: int
    rows: Rows
    inputs: Inputs
    memory: Any = None
    """What the agent keeps beside its rows: only what the log and the rows can give again."""
    wake: Callable[[], None] = lambda: None
    """Has the loop ask the agent for its news; called from the loop's own thread."""


class Agent(ABC):
    """What makes an agent: its inputs, its rows and its step. Everything else is the loop's.

    A step is a function of the rows and the item: no I/O, no clock, no random. It changes rows with `part.rows.put`
    and returns what it says, in order. BadEvent from a step dead-letters the record: then it must not have put a row.
    Any other exception ends the process with nothing of the micro-batch done.
    """

    name: ClassVar[str]
    outbox: ClassVar[bool] = True
    """True: rows with their outputs are durable before the outputs are sent. False: outputs are sent first, and the
    rows are a checkpoint from which the same outputs come again (one input, and a function of the log alone)."""
    inputs: tuple[Input, ...]
    ordered: bool = False
    """True: records are handled in the order of event time, across all inputs (the replay clock). False: as they come,
    for an agent that has one input, or whose rows do not depend on the order."""

    @abstractmethod
    def load(self, key: str, data: bytes) -> Any:
        """Decode a stored row."""

    def dump(self, row: Any) -> bytes:
        """Encode a row; here, a pydantic model."""
        encoded: bytes = row.model_dump_json().encode()
        return encoded

    @abstractmethod
    def step(self, part: Part, item: Item, offset: int) -> list[Output]:
        """Handle one record, which stands at `offset` of its input."""

    def open(self, part: Part) -> None:  # noqa: B027  most agents need nothing beside their rows
        """Prepare `part.memory`; called once a partition is taken over, before anything else."""

    def refresh(self, part: Part) -> bool:
        """Take in what is not a function of the log, by putting rows; True makes them durable before the next step.

        Only an agent without an outbox needs it: with one, whatever a step has used is durable before it is said.
        """
        return False

    def announce(self, part: Part) -> list[Output]:
        """What is to be said that no record asks for; asked after `refresh`, and sent once."""
        return []

    def news(self, part: Part) -> list[Output] | None:
        """Take in what came from outside of every log, as a broker's answer, by putting rows; returns what it says of
        it, None if nothing came. Asked after `part.wake`. It is carried out as the steps of a micro-batch are: rows
        and outbox are durable before anything is said. What is lost with a crash must be asked for again."""
        return None

    def reached(self, part: Part, reached: int) -> int | None:
        """How far event time has come for what the agent says, given how far it has for its inputs; None: not at all
        yet. An agent that speaks for somebody else may be behind its inputs."""
        return reached

    def close(self, part: Part) -> None:  # noqa: B027  most agents have nothing to end
        """End what `open` has begun: the partition is given up."""

    def wants(self, part: Part, item: Item) -> Wanted | None:
        """The range of the log that the step of `item` needs beside its rows, if it has not been supplied yet."""
        return None

    def supply(self, part: Part, wanted: Wanted, records: list[Received]) -> None:
        """Take what `wants` asked for."""
        raise NotImplementedError(f"{self.name} wants nothing")

    def stray(self, part: Part, topic: str, record: Received) -> list[Output]:
        """What is to be said of a record of an input that goes to the dead-letter topic, after its letter: whoever
        waits for what would have come of it must not wait for ever. It may put rows, and comes for each such record,
        said again or not."""
        return []

    def beat(self, part: Part, reached: int, now: float) -> list[Output]:
        """Say that nothing with a time up to `reached` follows. `now` is a monotonic clock, for what need not be said
        more often than people look."""
        return []

    def stored(self, part: Part, rows: Mapping[str, Any]) -> None:  # noqa: B027  an agent need not have a mirror
        """Hear of rows that have been stored, for the mirror."""

    def mirror(self, rows: Iterable[tuple[bytes, bytes]]) -> Iterable[None]:
        """Write stored rows to the mirror again, one at each step of the iterator."""
        return ()
