"""Batches and beats: the records of each shard, in an order that the source alone decides.

Nothing here knows the wall clock, the speed or Kafka: the same frames give the same records, so that a feed that was
killed goes on where its shards stand.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from panda_streams.domain.shards import ShardMap
from panda_streams.domain.ticks import Depth, Tick
from panda_streams.errors import PandaError
from panda_streams.events import Beat, Phase, TickBatch

__all__ = ["FRAME_MS", "GAP_MS", "TAIL_MS", "Assembler", "Batcher", "Frame", "Record", "Standing", "Step"]

FRAME_MS = 1000
GAP_MS = 60_000
"""A silence longer than this is a gap: one beat at each end instead of one a second."""
TAIL_MS = 5_000
"""Event time that still passes after the last tick, so that every latency runs out before the end."""


class Frame(NamedTuple):
    """All ticks of one event second, with times in (time - 1000, time], in the order of their rows.

    `time` is a multiple of 1000. A source's frames have increasing times; a second without ticks needs no frame.
    """

    time: int
    ticks: Sequence[Tick]
    depth: Mapping[int, Depth]
    """Row to the order book at that tick, for the rows that have one."""


class Standing(NamedTuple):
    """The last record that a shard has of a run."""

    frame: int
    """Time of the record's frame."""
    beat: bool
    """True for the frame's beat, False for the batch before it."""
    sequence: int

    @classmethod
    def of(cls, record: TickBatch | Beat) -> Standing:
        return cls(_frame_time(record.time), isinstance(record, Beat), record.sequence)


class Record(NamedTuple):
    shard: int
    value: TickBatch | Beat
    depth: Mapping[int, Depth] | None


class Step(NamedTuple):
    """What is said at one second of event time: batches first, then a beat on every shard.

    Steps are a second apart, except across a gap.
    """

    time: int
    records: list[Record]
    ticks: int
    """Ticks of its frame, each counted once however many shards have it."""


class Assembler:
    """Puts a source's ticks into frames.

    A time that goes back would contradict a beat that was said: such a tick keeps its row and takes the highest time
    so far, which is later than the last beat. `moved` counts them.
    """

    def __init__(self) -> None:
        self.moved = 0

    def frames(self, ticks: Iterable[tuple[Tick, Depth | None]]) -> Iterator[Frame]:
        """Yield the frames of `ticks`, which come in the order of their rows."""
        end, newest = 0, 0
        held: list[Tick] = []
        depth: dict[int, Depth] = {}
        for tick, book in ticks:
            time = tick.time
            if time < newest:
                self.moved += 1
                tick = replace(tick, time=newest)
            elif time > end:
                if held:
                    yield Frame(end, held, depth)
                    held, depth = [], {}
                end, newest = _frame_time(time), time
            else:
                newest = time
            held.append(tick)
            if book is not None:
                depth[tick.row] = book
        if held:
            yield Frame(end, held, depth)


class Batcher:
    """Turns frames into numbered records and leaves out what the shards have already.

    `standing` says where shards stand; a shard without an entry starts at sequence 0. Unless every shard has one, the
    frames must start with the source's first. With `from_first` they do so always, and the count of what is left out
    is checked against the standing sequence.
    """

    def __init__(
        self,
        world: str,
        source: str,
        run: str,
        shards: ShardMap,
        standing: Mapping[int, Standing] | None = None,
        *,
        from_first: bool = True,
    ) -> None:
        self._world = world
        self._source = source
        self._run = run
        self._map = shards
        self._partitions = range(shards.partitions)
        self._standing: dict[int, Standing] = dict(standing or {})
        self._from_first = from_first
        self._next = [0] * shards.partitions
        self._shards_of: dict[str, range] = {}

    def steps(self, frames: Iterable[Frame]) -> Iterator[Step]:
        """Yield a step for every second of event time, and the end after the last frame.

        Steps whose records the shards have are empty. Raises PandaError if a shard stands at a record that these
        frames do not give: then the source is not what it was.
        """
        last: int | None = None
        for frame in frames:
            if last is None:
                yield self._beats(frame.time - FRAME_MS, Phase.CLOSED)
            elif frame.time - last > GAP_MS:
                yield self._beats(last + FRAME_MS, Phase.CLOSED)
                yield self._beats(frame.time - FRAME_MS, Phase.CLOSED)
            else:
                for time in range(last + FRAME_MS, frame.time, FRAME_MS):
                    yield self._beats(time, Phase.OPEN)
            yield self._frame(frame)
            last = frame.time
        if last is None:
            return
        end = last + TAIL_MS + FRAME_MS
        for time in range(last + FRAME_MS, end, FRAME_MS):
            yield self._beats(time, Phase.CLOSED)
        yield self._beats(end, Phase.CLOSED, end=True)
        for shard in self._standing:
            raise self._changed(shard)

    def _frame(self, frame: Frame) -> Step:
        ticks: list[list[Tick]] = [[] for _ in self._partitions]
        for tick in frame.ticks:
            shards = self._shards_of.get(tick.instrument)
            if shards is None:
                shards = self._shards_of[tick.instrument] = self._map.shards(tick.instrument)
            for shard in shards:
                ticks[shard].append(tick)
        records = []
        for shard in self._partitions:
            own = ticks[shard]
            if not own or (sequence := self._number(shard, frame.time, beat=False)) is None:
                continue
            depth = {tick.row: frame.depth[tick.row] for tick in own if tick.row in frame.depth} or None
            time = max(tick.time for tick in own)
            batch = TickBatch(self._world, self._source, self._run, sequence, time, tuple(own))
            records.append(Record(shard, batch, depth))
        beats = self._beats(frame.time, Phase.OPEN)
        return Step(frame.time, records + beats.records, len(frame.ticks))

    def _beats(self, time: int, phase: Phase, *, end: bool = False) -> Step:
        records = []
        for shard in self._partitions:
            sequence = self._number(shard, time, beat=True)
            if sequence is not None:
                beat = Beat(self._world, self._source, self._run, sequence, time, phase, end)
                records.append(Record(shard, beat, None))
        return Step(time, records, 0)

    def _number(self, shard: int, frame: int, *, beat: bool) -> int | None:
        """The next sequence of a shard, or None for a record that it has."""
        number = self._next[shard]
        self._next[shard] += 1
        standing = self._standing.get(shard)
        if standing is None:
            return number
        if (frame, beat) < (standing.frame, standing.beat):
            return None
        expected = standing.sequence if self._from_first else number
        if (frame, beat, number) != (standing.frame, standing.beat, expected):
            raise self._changed(shard)
        del self._standing[shard]
        self._next[shard] = standing.sequence + 1
        return None

    def _changed(self, shard: int) -> PandaError:
        standing = self._standing[shard]
        return PandaError(
            f"shard {shard} stands at sequence {standing.sequence} of {self._source} {self._run}, but that source now "
            "says something else there: the instruments, the symbol map or the program has changed since",
            fix="change it back, or use another world: PANDA_WORLD=replay:<name>",
        )


def _frame_time(time: int) -> int:
    """End of the second that `time` falls in: the next multiple of 1000, itself included."""
    return -(-time // FRAME_MS) * FRAME_MS
