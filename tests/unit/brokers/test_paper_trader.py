"""The paper trader: the paper market with Zerodha's charges, the Indian calendar and the settings of its arm."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from panda_streams.brokers.paper import PaperTrader
from panda_streams.domain.calendar import Calendar
from panda_streams.domain.charges import exercise_charges, fill_charges
from panda_streams.domain.contract_note import Tally, add, add_exercise
from panda_streams.domain.instruments import Instrument, Right
from panda_streams.domain.matching import PaperMarket, QueueModel, Sight, Trade
from panda_streams.domain.orders import Fill, Product, Role
from panda_streams.domain.signals import Side
from panda_streams.settings import Settings
from tests.unit.builders import INFY, T0, a_fill, a_tick
from tests.unit.chains import a_future, an_option
from tests.unit.domain.desks import CLOSE, SHARE, SQUARE_OFF, a_venue, an_order

ON = date(2021, 6, 8)
EXPIRY = date(2021, 6, 24)
ZERO = Decimal(0)
CALL = an_option(EXPIRY, 1400, underlying=INFY)
PUT = an_option(EXPIRY, 1400, Right.PUT, INFY)
FUTURE = a_future(EXPIRY, INFY)
TRADER = a_venue()


def settled(side: Side, price: str, charges: dict[str, Decimal] | None = None) -> Fill:
    fill = a_fill(side, 10, price, product=Product.NRML)
    return fill.model_copy(update={"role": Role.SETTLEMENT, "charges": charges or {}})


def test_an_order_is_matched_and_delayed_as_its_market_does() -> None:
    sight, order = Sight(a_tick(10_000), None, None, True), an_order()

    assert TRADER.match(order, SHARE, sight) == TRADER.market.match(order, SHARE, sight)
    assert a_venue(latency_ms=250).latency("any") == 250


def test_a_trade_is_charged_what_zerodha_charges() -> None:
    charges = TRADER.charges(an_order(), SHARE, Trade(10, Decimal(1400)), ON)

    assert charges == fill_charges(SHARE, Product.MIS, Side.BUY, 10, Decimal(1400), ON, ZERO)
    assert charges


@given(st.lists(st.tuples(st.integers(1, 5_000), st.integers(100, 500_000)), min_size=1, max_size=6))
def test_the_brokerage_of_an_order_is_that_of_its_whole_turnover(parts: list[tuple[int, int]]) -> None:
    turnover = brokerage = ZERO
    for quantity, paise in parts:
        trade = Trade(quantity, Decimal(paise) / 100)
        charges = TRADER.charges(an_order(turnover=turnover), SHARE, trade, ON)
        brokerage += charges.get("brokerage", ZERO)
        turnover += trade.quantity * trade.price

    assert brokerage == min(turnover * Decimal("0.0003"), Decimal(20))


@pytest.mark.parametrize(("option", "underlying"), [(CALL, "1412.50"), (PUT, "1387.50")])
def test_the_holder_of_an_option_in_the_money_pays_for_its_exercise(option: Instrument, underlying: str) -> None:
    order = an_order(Side.SELL, role=Role.SETTLEMENT, product=Product.NRML)

    charges = TRADER.charges(order, option, Trade(10, Decimal("12.50")), ON)

    assert charges == exercise_charges(option, 10, Decimal(underlying), ON)
    assert charges


@pytest.mark.parametrize(
    ("side", "instrument", "price"),
    [(Side.BUY, CALL, "12.50"), (Side.SELL, CALL, "0"), (Side.SELL, FUTURE, "1400")],
)
def test_no_other_settlement_costs_anything(side: Side, instrument: Instrument, price: str) -> None:
    order = an_order(side, role=Role.SETTLEMENT, product=Product.NRML)

    assert TRADER.charges(order, instrument, Trade(10, Decimal(price)), ON) == {}


def test_a_fill_is_counted_for_the_contract_note_of_its_day() -> None:
    fill = a_fill(Side.SELL, 10, "1400", charges="4.20", product=Product.CNC)

    counted = TRADER.counted(Tally(), fill, SHARE)

    expected = add(Tally(), "Momentum", SHARE, Product.CNC, Side.SELL, 10, Decimal(1400), fill.charges)
    assert counted == expected
    assert sum(TRADER.contract_note(counted, ON)["Momentum"].values()) > 0


def test_shares_that_only_change_their_book_are_on_no_contract_note() -> None:
    fill = a_fill(Side.SELL, 10, "1400", product=Product.CNC).model_copy(update={"charges": {}})

    assert TRADER.counted(Tally(), fill, SHARE) == Tally()


def test_an_exercise_is_counted_and_a_settlement_without_charges_is_not() -> None:
    charges = {"stt": Decimal("0.16")}

    counted = TRADER.counted(Tally(), settled(Side.SELL, "12.50", charges), CALL)

    assert counted == add_exercise(Tally(), "Momentum", CALL, 10, Decimal("1412.50"), charges)
    assert TRADER.counted(counted, settled(Side.BUY, "0"), CALL) is counted


def test_a_session_is_that_of_the_instrument_s_market() -> None:
    session = TRADER.session(SHARE, T0)

    assert session is not None
    assert (session.opens, session.square_off, session.closes) == (T0, T0 + SQUARE_OFF, T0 + CLOSE)
    assert TRADER.session(SHARE, T0 - 2 * 86_400_000) is None


def test_the_settings_make_the_market() -> None:
    settings = Settings.model_validate(
        {
            "PANDA_PAPER_LATENCY_MS": 250,
            "PANDA_PAPER_LATENCY_SPREAD_MS": 40,
            "PANDA_PAPER_SLIPPAGE": "0.001",
            "PANDA_PAPER_PARTICIPATION": "0.1",
            "PANDA_PAPER_QUEUE": "touch",
        }
    )
    calendar = Calendar.simulated()

    trader = PaperTrader.from_settings(settings, calendar)

    assert trader.market == PaperMarket(250, 40, Decimal("0.001"), Decimal("0.1"), QueueModel.TOUCH)
    assert trader.calendar is calendar
