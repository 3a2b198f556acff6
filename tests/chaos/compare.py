"""The judge: does an arm's log contradict itself, do its books equal their log, are two runs equal?

It shares no arithmetic and no class with the code under test.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Any

__all__ = [
    "COMPARED",
    "ENDS",
    "ArmAccount",
    "ArmBook",
    "Book",
    "Entry",
    "Finding",
    "Kind",
    "check_account",
    "check_books",
    "check_log",
    "compare",
    "count",
    "fold",
    "once",
]

COMPARED = ("signals.raw", "signals.validated", "signals.rejected", "orders.updates", "orders.filled", "audit")
"""Topics whose every record must be the same in each run; beats, which may be collapsed, apart."""

ENDS = ("FILLED", "CANCELLED", "EXPIRED", "REJECTED", "ABSENT")
"""States that an order never leaves."""
_SENT = ("SENDING", "UNKNOWN")
_CENT = Fraction(1, 100)


class Kind(StrEnum):
    """What can be wrong with a run."""

    LOST = "lost"
    """Said, or due, and missing: also what stands where a consumer that keeps high-water marks drops it."""
    DOUBLED = "doubled"
    """One fact that counts twice: said under two sequences, or booked twice."""
    CONFLICTING = "conflicting"
    """One id, or one sequence of one producer, with two contents."""
    DIFFERENT = "different"
    """Not what the undisturbed run said."""
    DEAD_LETTER = "dead_letter"
    """In a dead-letter topic, where nothing of a sound feed belongs."""
    ENDED = "ended"
    """A process ended that nobody killed, or a run did not come to its end."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, with its evidence."""

    kind: Kind
    what: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A record of one of the arm's topics (without prefix and namespace) which carries a sequence."""

    topic: str
    partition: int
    offset: int
    value: bytes
    event: dict[str, Any] = field(compare=False)

    @classmethod
    def of(cls, topic: str, partition: int, offset: int, value: bytes) -> Entry | None:
        """Read a record; None for a beat, and for what an operator wants done."""
        event = json.loads(value)
        return None if event.get("kind") in ("beat", "action") else cls(topic, partition, offset, value, event)

    @property
    def key(self) -> tuple[str, str, int]:
        """Its place in the stream of its producer."""
        return self.topic, self.event["producer"], self.event["sequence"]

    @property
    def place(self) -> str:
        return f"{self.topic}-{self.partition}@{self.offset}"

    def facts(self) -> Iterator[tuple[str, ...]]:
        """The ids that this record alone may give a content to."""
        event = self.event
        match self.topic, event.get("kind"):
            case "signals.raw", "signal":
                yield "signal", event["signal_id"]
            case "signals.validated" | "signals.rejected", _:
                if event.get("signal"):
                    yield "verdict", event["signal"]["signal_id"]
            case "orders.updates", "order":
                if event["fill"]:
                    yield "fill of an order", event["fill"]["fill_id"]
                elif event["reason"] is None:
                    # At a real broker an order passes several states before it has traded, each once.
                    passing = event["state"] in _SENT or event.get("broker_id") is not None
                    yield f"{event['state'] if passing else 'start'} of order", event["order_id"]
                if event["state"] in ENDS:
                    yield "end of order", event["order_id"]
            case "orders.updates", "day-end":
                yield "end of day", event["date"], event["producer"]
            case "orders.filled", "fill":
                yield "fill", event["fill"]["fill_id"]
            case "orders.filled", "booking":
                yield "booking", event["booking"]["booking_id"]


@dataclass(slots=True)
class Book:
    """What fills and bookings make of a strategy's money; cash is counted from 0."""

    cash: Fraction = Fraction(0)
    charges: Fraction = Fraction(0)
    realised: Fraction = Fraction(0)
    fills: int = 0
    bookings: int = 0
    futures: bool = False
    """True if a future was traded."""
    wrong: list[str] = field(default_factory=list)
    """Fills that opened what they must not."""
    held: dict[str, tuple[int, Fraction]] = field(default_factory=dict)
    """Instrument to shares, negative for a short position, and their average price."""

    @property
    def positions(self) -> dict[str, int]:
        return {name: quantity for name, (quantity, _) in self.held.items() if quantity}

    @property
    def rounded(self) -> tuple[str, ...]:
        """What the ledger rounds where a part is closed, to a millionth: its cost, which is cash for a future."""
        return ("realised", "cash") if self.futures else ("realised",)

    def fill(self, fill: Mapping[str, Any]) -> None:
        """Book a fill."""
        quantity = fill["quantity"] * (1 if fill["side"] == "BUY" else -1)
        price, charges = Fraction(fill["price"]), sum(map(Fraction, fill["charges"].values()), Fraction(0))
        held, average = self.held.get(fill["instrument"], (0, Fraction(0)))
        closed = min(abs(held), abs(quantity)) if held * quantity < 0 else 0
        profit = closed * (price - average) * (1 if held > 0 else -1)
        after = held + quantity
        self.realised += profit
        self.futures |= fill["margined"]
        # A future is not paid for: what is paid is its profit, once it is closed.
        self.cash += (profit if fill["margined"] else -quantity * price) - charges
        self.charges += charges
        self.fills += 1
        if fill["role"] != "ENTRY" and closed < abs(quantity):
            self.wrong.append(f"{fill['role']} of {fill['fill_id']} makes {held} {fill['instrument']} {after}")
        if fill["product"] == "CNC" and after < 0:
            self.wrong.append(f"{fill['fill_id']} sells {fill['instrument']} for delivery and leaves {after}")
        if closed < abs(quantity):
            opened = abs(quantity) - closed
            kept = abs(held) - closed
            average = (kept * average + opened * price) / (kept + opened)
        self.held[fill["instrument"]] = (after, average)

    def book(self, booking: Mapping[str, Any]) -> None:
        """Book a contract note: no other booking comes without an operator."""
        amount, charges = Fraction(booking["amount"]), sum(map(Fraction, booking["charges"].values()), Fraction(0))
        if booking["kind"] != "CONTRACT_NOTE" or amount != -charges:
            self.wrong.append(f"booking {booking['booking_id']} of {booking['kind']}: {amount} for {charges}")
        self.cash += amount
        self.charges += charges
        self.bookings += 1


@dataclass(frozen=True, slots=True)
class ArmBook:
    """A strategy's book as the arm itself shows it."""

    capital: Decimal
    cash: Decimal
    charges: Decimal
    realised: Decimal
    fills: int
    bookings: int
    positions: dict[str, int]
    """Instrument to shares, of what is held; negative for a short position."""


@dataclass(frozen=True, slots=True)
class ArmAccount:
    """The account as the arm's risk shows it."""

    signals: int
    validated: int
    rejected: int
    cash: Decimal
    """Of all strategies together."""


def once(log: Iterable[Entry]) -> dict[tuple[str, str, int], Entry]:
    """The log without repeats: the first record of each (topic, producer, sequence)."""
    first: dict[tuple[str, str, int], Entry] = {}
    for entry in log:
        first.setdefault(entry.key, entry)
    return first


def fold(log: Iterable[Entry]) -> dict[str, Book]:
    """Book all fills and bookings of a log; the books by strategy_id."""
    books: dict[str, Book] = defaultdict(Book)
    for entry in once(log).values():
        if entry.topic != "orders.filled":
            continue
        match entry.event["kind"]:
            case "fill":
                books[entry.event["fill"]["strategy_id"]].fill(entry.event["fill"])
            case "booking":
                books[entry.event["booking"]["strategy_id"]].book(entry.event["booking"])
    return dict(books)


def check_log(log: Sequence[Entry]) -> list[Finding]:
    """Look for contradictions and holes in the log of one arm, which has come to its end."""
    return [*_repeats(log), *_facts(log), *_chains(once(log).values())]


def _repeats(log: Sequence[Entry]) -> Iterator[Finding]:
    """A sequence has one content, and what is new in a stream of a producer has a higher one than all before."""
    first: dict[tuple[str, str, int], Entry] = {}
    marks: dict[tuple[str, int, str], int] = {}
    for entry in log:
        known = first.setdefault(entry.key, entry)
        if known is not entry:
            if known.value != entry.value:
                yield Finding(
                    Kind.CONFLICTING, f"{entry.key} at {known.place} and {entry.place}: {_both(known, entry)}"
                )
            continue
        _, producer, sequence = entry.key
        stream = entry.topic, entry.partition, producer
        if sequence < marks.get(stream, -1):
            yield Finding(Kind.LOST, f"{entry.key} at {entry.place} comes first after sequence {marks[stream]}")
        marks[stream] = max(sequence, marks.get(stream, -1))


def _facts(log: Sequence[Entry]) -> Iterator[Finding]:
    """An id stands for one record, under one sequence."""
    first: dict[tuple[str, ...], Entry] = {}
    for entry in log:
        for fact in entry.facts():
            known = first.setdefault(fact, entry)
            if known.key == entry.key:
                continue
            same = {**known.event, "sequence": 0} == {**entry.event, "sequence": 0} and known.topic == entry.topic
            kind = Kind.DOUBLED if same else Kind.CONFLICTING
            yield Finding(kind, f"{' '.join(fact)} at {known.place} and {entry.place}: {_both(known, entry)}")


def _chains(log: Iterable[Entry]) -> Iterator[Finding]:
    """Each signal has a verdict, each order an end, and each fill of an order is booked, none else.

    Legs of a bracket and what the arm decides by itself are orders without a verdict.
    """
    seen: dict[str, set[str]] = defaultdict(set)
    log = list(log)
    # What a broker has never had is asked for again under an id of its own, if it closes a position.
    again = {entry.event["signal_id"] for entry in log if entry.event.get("state") == "ABSENT"}
    for entry in log:
        for name, *ids in entry.facts():
            seen[name].add(ids[0])
        if entry.topic == "signals.validated":
            seen["validated order"].update(ticket["order_id"] for ticket in entry.event.get("tickets", ()))
        if entry.topic == "orders.updates" and entry.event["kind"] == "order":
            seen["order"].add(entry.event["order_id"])
            signal = entry.event["signal_id"]
            if signal is not None and signal not in again and entry.event["parent"] is None:
                seen["order of a signal"].add(entry.event["order_id"])
    for cause, effect in (
        ("signal", "verdict"),
        ("verdict", "signal"),
        ("validated order", "end of order"),
        ("order of a signal", "validated order"),
        ("order", "end of order"),
        ("fill of an order", "fill"),
        ("fill", "fill of an order"),
    ):
        for one in sorted(seen[cause] - seen[effect]):
            yield Finding(Kind.LOST, f"{cause} {one} without {effect}")


def check_books(log: Sequence[Entry], arm: Mapping[str, ArmBook], *, capped: bool = True) -> list[Finding]:
    """Compare the arm's own books with the fold of its log.

    Where fills are `capped`, no order that only reduces ever opens anything.
    """
    folded = fold(log)
    found = [Finding(Kind.LOST, f"the arm has no book of {name}") for name in sorted(folded.keys() - arm.keys())]
    if capped:
        found += [Finding(Kind.DOUBLED, f"{name}: {wrong}") for name, own in folded.items() for wrong in own.wrong]
    for name, book in arm.items():
        own = folded.get(name, Book())
        kind = Kind.DOUBLED if book.fills > own.fills else Kind.LOST
        differing = [
            f"{what} {_text(shown)}, the log says {_text(expected)}"
            for what, shown, expected in (
                ("fills", book.fills, own.fills),
                ("bookings", book.bookings, own.bookings),
                ("cash", Fraction(book.cash) - Fraction(book.capital), own.cash),
                ("charges", Fraction(book.charges), own.charges),
                ("realised", Fraction(book.realised), own.realised),
                ("positions", book.positions, own.positions),
            )
            if shown != expected and not (what in own.rounded and abs(Fraction(shown) - Fraction(expected)) < _CENT)
        ]
        if differing:
            found.append(Finding(kind, f"the arm's book of {name}: {'; '.join(differing)}"))
    return found


def check_account(log: Sequence[Entry], account: ArmAccount | None, arm: Mapping[str, ArmBook]) -> list[Finding]:
    """Compare what risk has counted and what cash it decides by with its log, and with the arm's books."""
    said = [entry for entry in once(log).values() if entry.event.get("signal") or entry.topic == "signals.raw"]
    counted = Counter(entry.topic for entry in said)
    traded = {entry.event["signal"]["strategy_id"] for entry in said if entry.topic == "signals.validated"}
    if account is None:
        return [Finding(Kind.LOST, "the arm shows no account")] if counted else []
    differing = [
        f"{what} {shown}, the log says {expected}"
        for what, shown, expected in (
            ("signals", account.signals, counted["signals.raw"]),
            ("validated", account.validated, counted["signals.validated"]),
            ("rejected", account.rejected, counted["signals.rejected"]),
        )
        if shown != expected
    ]
    if traded == arm.keys() and account.cash != sum(book.cash for book in arm.values()):
        differing.append(f"cash {account.cash}, the books have {sum(book.cash for book in arm.values())}")
    more = account.signals > counted["signals.raw"]
    kind = Kind.DOUBLED if more else Kind.LOST
    return [Finding(kind, f"the arm's account: {'; '.join(differing)}")] if differing else []


def compare(
    reference: Sequence[Entry], log: Sequence[Entry], own: Mapping[str, ArmBook], arm: Mapping[str, ArmBook]
) -> list[Finding]:
    """Compare a run (`log`, `arm`) with the undisturbed one: records byte by byte without repeats, then the books."""
    expected, found = once(reference), once(log)
    findings = [
        Finding(Kind.LOST, f"{key} of the undisturbed run is missing: {expected[key].value.decode()}")
        for key in sorted(expected.keys() - found.keys())
    ]
    for key, entry in found.items():
        if key not in expected:
            findings.append(Finding(Kind.DIFFERENT, f"{key} at {entry.place} is not in the undisturbed run"))
        elif entry.value != expected[key].value:
            findings.append(Finding(Kind.DIFFERENT, f"{key} at {entry.place}: {_both(expected[key], entry)}"))
    for name in sorted(own.keys() | arm.keys()):
        if own.get(name) != arm.get(name):
            findings.append(
                Finding(Kind.DIFFERENT, f"book of {name}: {arm.get(name)}, in the undisturbed run {own.get(name)}")
            )
    return findings


def count(findings: Iterable[Finding]) -> dict[Kind, int]:
    """The number of findings of each kind."""
    counted = Counter(finding.kind for finding in findings)
    return {kind: counted[kind] for kind in Kind}


def _both(first: Entry, second: Entry) -> str:
    """What differs between two records, field by field."""
    names = [name for name in {**first.event, **second.event} if first.event.get(name) != second.event.get(name)]
    return "; ".join(f"{name} {first.event.get(name)!r} and {second.event.get(name)!r}" for name in names) or "bytes"


def _text(value: object) -> str:
    return f"{float(value):.6f}" if isinstance(value, Fraction) else str(value)
