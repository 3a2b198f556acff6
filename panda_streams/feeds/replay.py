"""Replay: one or more recordings as a source of frames."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from panda_streams.domain.ticks import Depth, Tick
from panda_streams.errors import BadInput
from panda_streams.feeds.batching import Assembler, Frame
from panda_streams.feeds.recording import Faults, SymbolMap, open_recording

__all__ = ["Replay"]


class Replay:
    """Reads recordings one after another as one source, whose rows are counted through all of them.

    The run is a hash of the files' bytes and of the added symbols: the same files always have the same run. Raises
    BadInput if a file is no recording.
    """

    from_first = True

    def __init__(self, paths: Sequence[Path], symbols: SymbolMap, faults: Faults) -> None:
        self._files = [open_recording(path) for path in paths]
        self._symbols = symbols
        self._faults = faults
        self._assembler = Assembler()
        self._read = 0.0
        self.run = _identify(paths, symbols)
        sources = dict.fromkeys(file.header.source for file in self._files if file.header)
        # A recording of a simulation still says so in every record.
        self.source = ":".join(["recording", *sources])

    @property
    def moved(self) -> int:
        """Ticks whose time went back, and that were moved to the highest time before them."""
        return self._assembler.moved

    @property
    def share(self) -> float:
        """Share of the files' bytes that has been read, 0 to 1."""
        return self._read

    def frames(self, after: int | None) -> Iterator[Frame]:
        """Yield all frames: numbering needs them from the first, so `after` saves nothing here.

        Raises BadInput if there is none.
        """
        self._assembler = Assembler()
        frame: Frame | None = None
        for frame in self._assembler.frames(self._ticks()):
            yield frame
        if frame is None:
            raise BadInput(
                "the recording holds no tick of a known instrument",
                fix="add its symbols with --map, or its instruments to the file of PANDA_INSTRUMENTS",
            )

    def describe(self, time: int | None) -> str:
        """Say what the feed is doing, for people."""
        names = ", ".join(file.path.name for file in self._files)
        return f"replaying {int(100 * self._read)} % of {names}"

    def _ticks(self) -> Iterator[tuple[Tick, Depth | None]]:
        row = 0
        for number, file in enumerate(self._files):

            def place(share: float, number: int = number) -> None:
                self._read = (number + share) / len(self._files)

            row = yield from file.ticks(self._symbols, self._faults, row, place)


def _identify(paths: Sequence[Path], symbols: SymbolMap) -> str:
    digest = hashlib.blake2b(digest_size=6)
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "blake2b").digest())
    for symbol, instrument in sorted(symbols.extra.items()):
        digest.update(f"{symbol}\0{instrument}\0".encode())
    return digest.hexdigest()
