"""Verdicts of risk with every rule on, CPU time: small and large accounts, against a step that only counts.

Some event seconds of an account: in each, all shards of execution say their prices, then strategies enter. Every
strategy holds every instrument, and every limit is set at every level that can have it, wide enough for all signals to
pass; the entries are brackets with a limit, so that their prices are judged too. The row that it begins with has what a
busy day leaves in it: orders in flight, counts, peaks, what was traded, refusals, and shares that are under way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import NamedTuple

import click
from msgspec.structs import replace

from agents.account.limits import InForce
from agents.account.steps import step_moment, step_prices, step_signal
from benchmarks.measure import Result, cpu_us
from benchmarks.plot import Line, draw
from panda_streams.domain.charges import fill_charges
from panda_streams.domain.contract_note import Tally, add
from panda_streams.domain.instruments import Instrument
from panda_streams.domain.orders import Product, Role, order_id
from panda_streams.domain.risk.account import Account, Book, Reservation
from panda_streams.domain.risk.limits import ACCOUNT, Limits, LimitSet, TotalLimits, instrument_level, strategy_level
from panda_streams.domain.risk.modes import Mode
from panda_streams.domain.risk.rules import Allowance, Rule
from panda_streams.domain.risk.watch import Day, entry_key
from panda_streams.domain.settlement import Holdings
from panda_streams.domain.signals import Intent, OrderType, Quote, Side, Signal, Terms, identify
from panda_streams.domain.ticks import TickRef
from panda_streams.events import Prices, Validated
from panda_streams.instrument_files import load_instruments
from panda_streams.streams.packing import pack
from tables.risk import Refusal, RiskRow

__all__ = ["ROW_BYTES", "busy_row", "measure"]

ROW_BYTES = 128 << 10
"""What the account's row may take, packed, at 100 strategies on 50 instruments."""
_SMALL, _LARGE = (20, 10), (100, 50)
_GROWTH = (1, 5, 10, 20, 50, 100)
"""Strategies on 50 instruments each."""
_SECONDS = 5
_SIGNALS = 10
"""Entries a second: from this rate on, exchanges want a retail trader's algorithm registered."""
_SHARDS = 4
_NOON = 1_623_135_600_000
"""12:30 in India on 8 June 2021, milliseconds since the epoch."""
_TODAY, _YESTERDAY = date(2021, 6, 8), date(2021, 6, 7)
_CAPITAL = Decimal(10_000_000)
_PLOT = Path(__file__).parent / "results" / "risk_growth.svg"

_ORDER = {
    "min_order_quantity": 1,
    "max_order_quantity": 100_000,
    "max_order_notional": 10**9,
    "price_collar": "0.05",
    "max_slices": 10,
    "max_quote_age_s": 60,
    "max_signal_age_s": 60,
    "max_clock_skew_s": 60,
    "duplicate_window_s": "0.05",
    "shrink": False,
}
_TOTAL = {
    "max_orders_per_second": 10**6,
    "max_orders_per_minute": 10**6,
    "max_orders_per_day": 10**6,
    "max_cancels_per_day": 10**6,
    "max_open_orders": 10**6,
    "max_position": 10**8,
    "max_gross_exposure": 10**12,
    "max_net_exposure": 10**12,
}
_STOPS = {"max_daily_loss": 10**9, "max_drawdown": 10**9, "max_rejections_per_day": 10**6, "on_breach": "REDUCING"}


class _Case(NamedTuple):
    signal: Signal
    allowance: Allowance
    share: Instrument


class _Account(NamedTuple):
    """An account and what happens to it."""

    row: RiskRow
    """As it begins."""
    events: tuple[Prices | _Case, ...]
    losses: Mapping[str, TotalLimits]
    capitals: Mapping[str, Decimal]


def _names(strategies: int) -> list[str]:
    return [f"Momentum_NIFTY_{number}" for number in range(strategies)]


def _shares(instruments: int) -> list[Instrument]:
    listed = [one for one in load_instruments() if one.tradable]
    return [replace(one, lower_circuit=Decimal(1), upper_circuit=Decimal(10_000)) for one in listed[:instruments]]


def _limits(names: Sequence[str], shares: Sequence[Instrument]) -> InForce:
    of_strategy = Limits.model_validate({**_ORDER, **_TOTAL, **_STOPS})
    of_account = of_strategy.model_copy(update={"max_unknown_orders": 1, "feed_stale_s": Decimal(60)})
    of_instrument = Limits.model_validate({**_ORDER, **_TOTAL})
    limits = LimitSet(
        account=of_account,
        strategies=dict.fromkeys(names, of_strategy),
        instruments={share.id: of_instrument for share in shares},
    )
    return InForce.of(limits, {}, 0)


def _price(number: int, moved: int = 0) -> Decimal:
    """Of a share, in rupees: those of the NIFTY 50 have four digits before the point, most of them."""
    return Decimal(100_005 + 3_715 * number + 5 * moved) / 100


def _book(number: int, shares: Sequence[Instrument]) -> Book:
    """One that holds every share for delivery, some of them under way."""
    random, today, yesterday = Random(number), _TODAY.isoformat(), _YESTERDAY.isoformat()
    holdings = {}
    for share in shares:
        under_way = {day: random.randrange(1, 100) for day in (yesterday, today) if random.random() < 0.5}
        holdings[share.id] = Holdings(settled=random.randrange(10, 1_000), pending=under_way)
    return Book(
        cash=_CAPITAL - random.randrange(10**16) / Decimal(10**10),
        product=Product.CNC,
        fills=random.randrange(100),
        positions={name: held.total for name, held in holdings.items()},
        holdings=holdings,
    )


def _traded(names: Sequence[str], shares: Sequence[Instrument]) -> Tally:
    tally = Tally()
    for place, share in enumerate(shares):
        for name in names:
            price = _price(place)
            charges = fill_charges(share, Product.CNC, Side.SELL, 25, price, _TODAY, before=Decimal(0))
            tally = add(tally, name, share, Product.CNC, Side.SELL, 25, price, charges)
    return tally


def _day(names: Sequence[str], shares: Sequence[Instrument], books: dict[str, Book]) -> Day:
    levels = [ACCOUNT, *map(strategy_level, names), *(instrument_level(share.id) for share in shares)]
    worth = {name: book.cash + 5_000 * len(shares) for name, book in books.items()}
    return Day(
        date=_TODAY.isoformat(),
        start=worth,
        peak={**{strategy_level(name): _CAPITAL for name in names}, ACCOUNT: _CAPITAL * len(names)},
        orders=dict.fromkeys(levels, 40),
        cancels=dict.fromkeys(levels, 2),
        rejections=dict.fromkeys(levels[: 1 + len(names)], 1),
        recent={level: tuple(_NOON - 1_000 * second for second in range(5, 0, -1)) for level in levels},
        entered={entry_key(name, shares[place % len(shares)].id, Side.BUY): _NOON for place, name in enumerate(names)},
    )


def busy_row(strategies: int, instruments: int) -> RiskRow:
    """An account in the middle of a busy day: every strategy holds every instrument."""
    names, shares = _names(strategies), _shares(instruments)
    books = {name: _book(number, shares) for number, name in enumerate(names)}
    flying = {
        order_id("paper", identify("flying", number), Role.ENTRY): Reservation(
            strategy_id=names[number % len(names)],
            instrument=shares[number % len(shares)].id,
            side=Side.BUY,
            quantity=7,
            hold=_price(number % len(shares)),
            closes=False,
            price=_price(number % len(shares)),
        )
        for number in range(20)
    }
    refusals = tuple(
        Refusal(
            signal_id=identify("refused", number),
            strategy_id=names[number % len(names)],
            instrument=shares[number % len(shares)].id,
            codes=(Rule.POSITION_LIMIT, Rule.CASH_INSUFFICIENT),
            time=_NOON,
        )
        for number in range(20)
    )
    return RiskRow(
        account=Account(
            books=books,
            reservations=flying,
            prices={share.id: _price(number) for number, share in enumerate(shares)},
            tallies={_TODAY.isoformat(): _traded(names, shares)},
        ),
        day=_day(names, shares, books),
        moment=_NOON,
        refusals={rule.value: 7 for rule in Rule},
        recent=refusals,
        signals=4_000,
        validated=3_000,
        rejected=1_000,
        time=_NOON,
        version=20_000,
    )


def _prices(shares: Sequence[Instrument], shard: int, second: int) -> Prices:
    """What a shard of execution says in a second: all prices have moved by a step."""
    return Prices(
        world="sim",
        namespace="paper",
        producer=f"execution/{shard}",
        sequence=second,
        time=_NOON + 1_000 * second,
        prices={share.id: _price(place, second) for place, share in enumerate(shares) if place % _SHARDS == shard},
    )


def _case(names: Sequence[str], shares: Sequence[Instrument], limits: InForce, number: int) -> _Case:
    """An entry: no strategy and no share has two in a second, if there are enough of them."""
    name, place = names[7 * number % len(names)], number % len(shares)
    second, tenth = divmod(number, _SIGNALS)
    share, time = shares[place], _NOON + 1_000 * (second + 1) + 1_000 // _SIGNALS * tenth
    price = _price(place, second + 1)
    cause = TickRef(source="sim", run="1", row=number, shard=0, offset=number, time=time)
    signal = Signal(
        world="sim",
        signal_id=identify("signal", number),
        strategy_id=name,
        config="v1",
        instrument=share.id,
        side=Side.BUY,
        intent=Intent.ENTRY,
        terms=Terms(order_type=OrderType.LIMIT, price=price, target=price + 10, stop=price - 10),
        cause=cause,
        quote=Quote(tick=cause, price=price, bid=None, ask=None),
        producer=f"brain/0/{name}",
        sequence=number,
    )
    allowance = Allowance(
        listed=True,
        consented=True,
        mode=Mode.ACTIVE,
        capital=_CAPITAL,
        share_of_capital=Decimal("0.001"),
        product=Product.CNC,
        entries=(0, 2 * _NOON),
        today=_TODAY,
        settled_before=_YESTERDAY,
        now=time,
        order=limits.order(name, share.id),
        totals=limits.totals(name, share.id),
    )
    return _Case(signal, allowance, share)


def _account(strategies: int, instruments: int) -> _Account:
    names, shares = _names(strategies), _shares(instruments)
    limits = _limits(names, shares)
    events: list[Prices | _Case] = []
    for second in range(_SECONDS):
        events += [_prices(shares, shard, second + 1) for shard in range(_SHARDS)]
        events += [_case(names, shares, limits, _SIGNALS * second + number) for number in range(_SIGNALS)]
    row = busy_row(strategies, instruments)
    return _Account(row, tuple(events), limits.losses, dict.fromkeys(names, _CAPITAL))


def _judging(account: _Account) -> Callable[[], int]:
    """Take the prices in and judge the signals, as the risk agent does; returns how many passed."""

    def step() -> int:
        row, passed = account.row, 0
        for event in account.events:
            time = event.time if isinstance(event, Prices) else event.signal.cause.time
            row, stops = step_moment(row, time, _TODAY, account.losses, account.capitals)
            assert not stops
            if isinstance(event, Prices):
                row = step_prices(row, event)
            else:
                row, verdict = step_signal(row, event.signal, "paper", event.allowance, event.share)
                passed += isinstance(verdict, Validated)
        return passed

    return step


def _counting(account: _Account) -> Callable[[], int]:
    """Only count the same events."""

    def step() -> int:
        row = account.row
        for _ in account.events:
            row = row.model_copy(update={"version": row.version + 1})
        return row.version

    return step


def _per_verdict(subjects: Sequence[Callable[[], object]]) -> list[float]:
    return [time / (_SECONDS * _SIGNALS) for time in cpu_us(subjects)]


def _storing(row: RiskRow) -> Callable[[], bytes]:
    """Encode the row as it is stored."""
    return lambda: pack(row.model_dump_json().encode())


def _draw_growth() -> None:
    """Draw what a verdict costs by the number of strategies."""
    instruments = _LARGE[1]
    accounts = [_account(strategies, instruments) for strategies in _GROWTH]
    lines = [
        Line(label, list(zip(_GROWTH, _per_verdict([subject(account) for account in accounts]), strict=True)))
        for label, subject in (("a verdict, all rules on", _judging), ("a no-op step", _counting))
    ]
    draw(_PLOT, f"A verdict of risk, {instruments} instruments", "strategies", "CPU microseconds", lines)
    click.echo(f"drawn in {_PLOT}")


def measure() -> list[Result]:
    accounts = [_account(*size) for size in (_SMALL, _LARGE)]
    judging, counting = [list(map(subject, accounts)) for subject in (_judging, _counting)]
    for judge in judging:
        assert judge() == _SECONDS * _SIGNALS
    small, large, small_counted, large_counted = _per_verdict([*judging, *counting])
    storing = [_storing(account.row) for account in accounts]
    stored = [len(store()) for store in storing]
    sizes = [f"{strategies} strategies x {instruments} instruments" for strategies, instruments in (_SMALL, _LARGE)]
    for size, verdict, account, length, time in zip(
        sizes, (small, large), accounts, stored, cpu_us(storing), strict=True
    ):
        plain = len(account.row.model_dump_json())
        click.echo(
            f"{size}: {1e6 / verdict:,.0f} verdicts a CPU second; a row of {plain:,} bytes, stored as {length:,} in "
            f"{time / 1000:.1f} ms"
        )
    _draw_growth()
    name = "a verdict, all rules on, CPU microseconds"
    return [
        Result.at_most(f"{name}, {sizes[0]}, against a no-op step", small, small_counted),
        Result.at_most(f"{name}, {sizes[1]}, against a no-op step", large, large_counted),
        Result.at_most(f"{name}, {sizes[1]}, against {sizes[0]}", large, small, 3),
        Result.at_most(f"the account's row as stored, bytes, {sizes[1]}, against 128 KiB", stored[1], ROW_BYTES, 1),
    ]
