"""A random case: an entry with or without legs, what is asked of it later, and perhaps an exit."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from panda_streams.domain.orders import Product
from panda_streams.domain.signals import OrderType, Side, Validity
from tests.orders.tape import Tape

__all__ = ["Asked", "Case", "Plan", "random_case"]


@dataclass(frozen=True, slots=True)
class Plan:
    """An order: prices are paise, `row` is the tick that caused it."""

    name: str
    row: int
    quantity: int
    kind: OrderType
    limit: int | None
    trigger: int | None
    validity: Validity
    minutes: int | None


@dataclass(frozen=True, slots=True)
class Asked:
    """A modification of the entry, or its cancellation if no price is named, caused at a tick."""

    name: str
    row: int
    limit: int | None = None
    trigger: int | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """All that one strategy does in one share on one day."""

    strategy_id: str
    side: Side
    product: Product
    entry: Plan
    target: int | None
    stop: int | None
    asked: tuple[Asked, ...]
    exit: Plan | None


def random_case(random: Random, tape: Tape, number: int) -> Case:
    """A case on a share, near the prices that it has: orders wait, are reached, or run out of time."""
    rows = len(tape.ticks)
    row = random.randrange(rows - 1) if random.random() < 0.9 else random.randrange(rows - rows // 25, rows)
    side = random.choice((Side.BUY, Side.SELL))
    name = f"{tape.share.symbol}-{number}"
    price, sign = tape.ticks[row].price, 1 if side is Side.BUY else -1
    entry = _plan(random, f"{name}-entry", row, price, sign)
    asked = []
    at = row
    while random.random() < 0.25:
        at = min(at + random.randrange(300), rows - 1)
        prices = _near(random, price), _near(random, price)
        asked.append(Asked(f"{name}-asked-{len(asked)}", at, *(prices if random.random() < 0.7 else ())))
    legs = random.random() < 0.4
    exit = None
    if random.random() < 0.4:
        later = min(row + random.randrange(1, 1500), rows - 1)
        exit = _plan(random, f"{name}-exit", later, tape.ticks[later].price, -sign)
    return Case(
        strategy_id=name,
        side=side,
        product=random.choice((Product.MIS, Product.MIS, Product.CNC)),
        entry=entry,
        target=price + sign * 5 * random.randrange(1, 120) if legs and random.random() < 0.8 else None,
        stop=price - sign * 5 * random.randrange(1, 120) if legs and random.random() < 0.8 else None,
        asked=tuple(asked),
        exit=exit,
    )


def _near(random: Random, price: int) -> int:
    return price // 5 * 5 + 5 * random.randrange(-25, 26)


def _plan(random: Random, name: str, row: int, price: int, sign: int) -> Plan:
    kind = random.choice(tuple(OrderType))
    validity = random.choices(tuple(Validity), (3, 2, 5))[0]
    limit, trigger = _near(random, price), price // 5 * 5 + sign * 5 * random.randrange(-5, 40)
    return Plan(
        name=name,
        row=row,
        quantity=random.choices((1, 10, 100, 1_000), (3, 6, 3, 1))[0] * random.randrange(1, 10),
        kind=kind,
        limit=limit if kind in (OrderType.LIMIT, OrderType.SL) else None,
        trigger=trigger if kind in (OrderType.SL, OrderType.SL_M) else None,
        validity=validity,
        minutes=random.randrange(1, 31) if validity is Validity.TTL else None,
    )
