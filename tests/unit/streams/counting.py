"""An agent for the tests of the loop: rows count what each name was said, outputs tell the count."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from panda_streams.errors import BadEvent
from panda_streams.streams.agent import Agent, Output, Part
from panda_streams.streams.inputs import Input, Item, Received, Wanted

IN, OTHER, OUT, BEATS = "in", "other", "out", "beats"


def words(*texts: str, start: int = 0, sequenced: bool = True) -> list[Received]:
    """Records of writer w, one a second: `beat` is a beat, everything else is handed to the step."""
    return [
        Received(offset, b"k", orjson.dumps({"text": text, "number": offset if sequenced else None}))
        for offset, text in enumerate(texts, start)
    ]


def decode(value: bytes | None) -> Item:
    try:
        said: dict[str, Any] = orjson.loads(value or b"")
    except ValueError as error:
        raise BadEvent("not a word") from error
    number = said["number"]
    time = 1000 * (number or 0)
    if said["text"] == "beat":
        return Item(None, "w", time, watermark=time)
    return Item(said["text"], "w", time, "w", number)


class Counting(Agent):
    """Counts words, and says each count but that of `quiet` words.

    `bad` is a record that cannot be processed, `boom` a broken invariant, and `far` needs the log before it.
    """

    name = "counting"

    def __init__(self, *, outbox: bool = True, inputs: int = 1) -> None:
        self.outbox = outbox  # type: ignore[misc]
        self.inputs = tuple(Input(topic, topic, decode, ("w",)) for topic in (IN, OTHER)[:inputs])
        self.ordered = False
        self.due = False
        self.heard: list[dict[str, Any]] = []
        self.supplied: list[Received] = []
        self.opened = 0
        self.closed = 0
        self.outside: list[str] = []
        """Words that come from no log: handled as those of a log are, once somebody wakes the loop."""
        self.behind = 0
        """Event time by which it is behind its inputs."""
        self.part: Part | None = None
        self.bytes = 0
        """Length of each output."""

    def open(self, part: Part) -> None:
        self.opened += 1
        self.part = part

    def close(self, part: Part) -> None:
        self.closed += 1

    def news(self, part: Part) -> list[Output] | None:
        words, self.outside = self.outside, []
        if not words:
            return None
        return [output for word in words for output in self.step(part, Item(word, "", 0), -1)]

    def reached(self, part: Part, reached: int) -> int | None:
        return reached - self.behind

    def load(self, key: str, data: bytes) -> int:
        return int(data)

    def dump(self, row: int) -> bytes:
        return str(row).encode()

    def refresh(self, part: Part) -> bool:
        if self.due:
            self.due = False
            part.rows.put("refreshed", (part.rows.get("refreshed") or 0) + 1)
            return True
        return False

    def wants(self, part: Part, item: Item) -> Wanted | None:
        return Wanted(IN, 0, 1) if item.event == "far" and not self.supplied else None

    def supply(self, part: Part, wanted: Wanted, records: list[Received]) -> None:
        self.supplied += records

    def step(self, part: Part, item: Item, offset: int) -> list[Output]:
        word: str = item.event
        if word == "bad":
            raise BadEvent("a bad word")
        if word == "boom":
            raise ZeroDivisionError("a mistake")
        count = (part.rows.get(word) or 0) + 1
        part.rows.put(word, count)
        if word.startswith("quiet"):
            return []
        return [Output(OUT, word.encode(), f"{count}@{offset}".encode().ljust(self.bytes), 0)]

    def beat(self, part: Part, reached: int, now: float) -> list[Output]:
        return [Output(BEATS, b"", str(reached).encode(), 0)]

    def stored(self, part: Part, rows: Mapping[str, Any]) -> None:
        self.heard.append(dict(rows))
