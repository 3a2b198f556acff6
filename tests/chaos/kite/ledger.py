"""The judge: is what the broker's ledger has the same as what the arm says of its orders, fills and positions?"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from panda_streams.domain.signals import identify
from tests.chaos.compare import ENDS, ArmBook, Entry, Finding, Kind, once

__all__ = ["Asked", "BrokerLedger", "asked_orders", "check_closing", "check_ledger", "check_positions", "once_unknown"]

_NOWHERE = ("CANCELLED", "EXPIRED", "REJECTED", "ABSENT")
"""Ends of an order that the broker may never have seen."""


@dataclass(frozen=True, slots=True)
class Asked:
    """An order that the arm has asked its trader to place."""

    order_id: str
    tag: str


@dataclass(frozen=True, slots=True)
class BrokerLedger:
    """The broker's full truth: its orders and trades as kitesim shows them, those of past days too."""

    orders: Sequence[Mapping[str, Any]]
    trades: Sequence[Mapping[str, Any]]

    @property
    def positions(self) -> dict[str, int]:
        """Instrument to shares, of what is held after all trades."""
        held: Counter[str] = Counter()
        for trade in self.trades:
            name = f"{trade['exchange']}:{trade['tradingsymbol']}"
            held[name] += trade["quantity"] * (1 if trade["transaction_type"] == "BUY" else -1)
        return {name: quantity for name, quantity in held.items() if quantity}


def asked_orders(commands: Iterable[Entry]) -> dict[str, Asked]:
    """The orders that were to be placed, by order_id."""
    placed = (entry.event for entry in once(commands).values() if entry.event.get("what") == "PLACE")
    return {event["order_id"]: Asked(event["order_id"], event["request"]["tag"]) for event in placed}


def once_unknown(log: Iterable[Entry]) -> set[str]:
    """Orders of which the arm did not know at some time whether the broker had them."""
    return {event["order_id"] for event in _updates(log) if event["state"] == "UNKNOWN"}


def check_ledger(log: Sequence[Entry], asked: Mapping[str, Asked], ledger: BrokerLedger) -> list[Finding]:
    """Compare order by order and trade by trade. `log` is of an arm that has come to its end."""
    return [*_orders(log, asked, ledger), *_trades(log, asked, ledger)]


def check_positions(books: Mapping[str, ArmBook], ledger: BrokerLedger) -> list[Finding]:
    """Compare what the books hold in all with what the trades of the ledger leave."""
    held: Counter[str] = Counter()
    for book in books.values():
        held.update(book.positions)
    ours, theirs = {name: quantity for name, quantity in held.items() if quantity}, ledger.positions
    return [
        Finding(Kind.DIFFERENT, f"the books hold {ours.get(name, 0)} {name}, the broker {theirs.get(name, 0)}")
        for name in sorted(ours.keys() | theirs.keys())
        if ours.get(name, 0) != theirs.get(name, 0)
    ]


def check_closing(log: Sequence[Entry]) -> list[Finding]:
    """Find orders that were to close a position and have opened one.

    At an exchange an entry of the same side can be faster than a closing order that is there already; without one in
    its lifetime, nothing excuses it.
    """
    found, held = list[Finding](), Counter[tuple[str, str]]()
    entered: dict[tuple[str, str, str], str] = {}
    begun: dict[str, set[str]] = {}
    for update in _updates(log):
        place = update["strategy_id"], update["instrument"]
        # The entries that had traded before it was decided.
        begun.setdefault(update["order_id"], set(entered.values()))
        fill = update["fill"]
        if fill is None:
            continue
        signed = fill["quantity"] * (1 if fill["side"] == "BUY" else -1)
        closed = min(abs(held[place]), abs(signed)) if held[place] * signed < 0 else 0
        if update["role"] == "ENTRY":
            entered[(*place, fill["side"])] = fill["fill_id"]
        elif closed < abs(signed) and entered.get((*place, fill["side"]), "") in ("", *begun[update["order_id"]]):
            text = f"{update['role']} {update['order_id']} makes {held[place]} {place[1]} {held[place] + signed}"
            found.append(Finding(Kind.DOUBLED, text))
        held[place] += signed
    return found


def _orders(log: Sequence[Entry], asked: Mapping[str, Asked], ledger: BrokerLedger) -> Iterator[Finding]:
    """What was asked for is at the broker at most once, and has an end that the broker's book bears out."""
    theirs: dict[str | None, list[Mapping[str, Any]]] = defaultdict(list)
    for order in ledger.orders:
        theirs[order["tag"]].append(order)
    for tag, orders in theirs.items():
        if len(orders) > 1:
            yield Finding(Kind.DOUBLED, f"{tag} stands for {len(orders)} orders: {[o['order_id'] for o in orders]}")
    for tag in sorted(theirs.keys() - {one.tag for one in asked.values()}, key=str):
        yield Finding(Kind.DIFFERENT, f"the broker has {theirs[tag][0]['order_id']} ({tag}), which nobody asked for")
    last: dict[str, Mapping[str, Any]] = {}
    known: set[str] = set()
    for update in _updates(log):
        last[update["order_id"]] = update
        if update["broker_id"] is not None:
            known.add(update["order_id"])
    for order_id, one in asked.items():
        update, found = last.get(order_id), theirs.get(one.tag)
        state = None if update is None else update["state"]
        if state not in ENDS:
            yield Finding(Kind.LOST, f"order {order_id} is left {state}; the broker has {_state(found)}")
        elif found is None and (order_id in known or state not in _NOWHERE):
            yield Finding(Kind.LOST, f"order {order_id} is {state}, and the broker has never had it")
        elif found is not None and state == "ABSENT":
            yield Finding(Kind.LOST, f"order {order_id} is taken for absent; the broker has {_state(found)}")
        elif found is not None and update is not None and found[0]["filled_quantity"] != update["filled"]:
            text = f"order {order_id} is {state} with {update['filled']} filled; the broker has {_state(found)}"
            yield Finding(Kind.DIFFERENT, text)


def _trades(log: Sequence[Entry], asked: Mapping[str, Asked], ledger: BrokerLedger) -> Iterator[Finding]:
    """Each trade is one fill of its order, with quantity and price, and each fill is one trade."""
    tags = {order["order_id"]: order["tag"] for order in ledger.orders}
    ours = {one.tag: one.order_id for one in asked.values()}
    theirs = {
        # How a fill's identity follows from a trade's is part of the contract.
        identify("fill", trade["exchange"], trade["trade_id"], trade["order_id"]): (
            ours.get(tags[trade["order_id"]]),
            trade["transaction_type"],
            trade["quantity"],
            Decimal(str(trade["average_price"])),
        )
        for trade in ledger.trades
    }
    fills: dict[str, tuple[str | None, str, int, Decimal]] = {}
    for entry in once(log).values():
        if entry.topic != "orders.filled" or entry.event["kind"] != "fill":
            continue
        fill = entry.event["fill"]
        fills[fill["fill_id"]] = (fill["order_id"], fill["side"], fill["quantity"], Decimal(fill["price"]))
    for fill_id in sorted(theirs.keys() | fills.keys()):
        trade, booked = theirs.get(fill_id), fills.get(fill_id)
        if booked is None:
            yield Finding(Kind.LOST, f"no fill of the broker's trade {trade}")
        elif trade is None:
            yield Finding(Kind.DOUBLED, f"a fill without a trade at the broker: {booked}")
        elif trade != booked:
            yield Finding(Kind.DIFFERENT, f"the broker's trade {trade} was booked as {booked}")


def _updates(log: Iterable[Entry]) -> Iterator[Mapping[str, Any]]:
    """The updates of orders, each once, in the order of each shard."""
    entries = sorted(once(log).values(), key=lambda entry: entry.key)
    return (entry.event for entry in entries if entry.topic == "orders.updates" and entry.event["kind"] == "order")


def _state(found: Sequence[Mapping[str, Any]] | None) -> str:
    if not found:
        return "none"
    return ", ".join(f"{one['order_id']} {one['status']}, {one['filled_quantity']} filled" for one in found)
