"""Charges of a fill: the reference examples, Kite's own sample, and increments that add up to an order."""

from __future__ import annotations

import json
from datetime import date
from decimal import ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from panda_streams.domain.charges import (
    Charges,
    Head,
    exercise_charges,
    fill_charges,
    merge,
    segment_of,
    total,
)
from panda_streams.domain.contract_note import Tally, add, depository_charge, printed
from panda_streams.domain.instruments import Instrument, InstrumentKind, Right
from panda_streams.domain.orders import Product
from panda_streams.domain.signals import Side
from panda_streams.domain.tariff import Segment

BUY, SELL = Side.BUY, Side.SELL
MIS, CNC, NRML = Product.MIS, Product.CNC, Product.NRML
NOW = date(2026, 4, 1)

INFY = Instrument(exchange="NSE", symbol="INFY", kind=InstrumentKind.EQUITY)
FUTURE = Instrument(
    exchange="NFO",
    symbol="NIFTY26APRFUT",
    kind=InstrumentKind.FUTURE,
    underlying="NSE:NIFTY 50",
    expiry=date(2026, 4, 28),
    lot=65,
)
CALL = Instrument(
    exchange="NFO",
    symbol="NIFTY26APR25000CE",
    kind=InstrumentKind.OPTION,
    underlying="NSE:NIFTY 50",
    expiry=date(2026, 4, 28),
    strike=Decimal(25000),
    right=Right.CALL,
)
PUT = replace(CALL, symbol="NIFTY26APR25000PE", right=Right.PUT)


def charged(
    side: Side,
    quantity: int,
    price: str,
    *,
    instrument: Instrument = INFY,
    product: Product = MIS,
    on: date = NOW,
    before: str = "0",
) -> Charges:
    return fill_charges(instrument, product, side, quantity, Decimal(price), on, Decimal(before))


def round_trip(quantity: int, bought: str, sold: str, instrument: Instrument, product: Product, on: date) -> Charges:
    return merge(
        charged(BUY, quantity, bought, instrument=instrument, product=product, on=on),
        charged(SELL, quantity, sold, instrument=instrument, product=product, on=on),
    )


def amounts(charges: Charges) -> dict[str, str]:
    """To the four places that the examples state."""
    places = Decimal("0.0001")
    return {head: f"{amount.quantize(places, ROUND_HALF_UP).normalize():f}" for head, amount in charges.items()}


@pytest.mark.parametrize(
    ("trade", "heads", "sum_of_all"),
    [
        (
            (100, "1000", "1010", INFY, MIS),
            {
                "brokerage": "40",
                "stt": "25.25",
                "transaction": "6.1707",
                "sebi": "0.201",
                "gst": "8.3469",
                "stamp": "3",
            },
            "82.97",
        ),
        (
            (100, "1000", "1010", INFY, CNC),
            {"stt": "201", "transaction": "6.1707", "sebi": "0.201", "gst": "1.1469", "stamp": "15"},
            "223.52",
        ),
        (
            (65, "25000", "25050", FUTURE, NRML),
            {
                "brokerage": "40",
                "stt": "814.125",
                "transaction": "59.5345",
                "sebi": "3.2533",
                "gst": "18.5018",
                "stamp": "32.5",
            },
            "967.91",
        ),
        (
            (65, "100", "110", CALL, NRML),
            {
                "brokerage": "40",
                "stt": "10.725",
                "transaction": "4.8498",
                "sebi": "0.0137",
                "gst": "8.0754",
                "stamp": "0.195",
            },
            "63.86",
        ),
    ],
    ids=["intraday", "delivery", "future", "option"],
)
def test_a_round_trip_of_april_2026_costs_what_the_published_rates_say(trade, heads, sum_of_all):
    charges = round_trip(*trade, NOW)

    assert amounts(charges) == heads
    assert round(total(charges), 2) == Decimal(sum_of_all)


def test_a_delivery_round_trip_costs_15_34_more_at_the_depository():
    charges = round_trip(100, "1000", "1010", INFY, CNC, NOW)

    assert round(total(charges) + depository_charge(NOW), 2) == Decimal("238.86")


def test_the_shares_of_2021_are_charged_by_the_rates_of_2021():
    charges = round_trip(100, "1000", "1010", INFY, MIS, date(2021, 6, 8))

    assert amounts(charges)["transaction"] == "6.9347"
    assert amounts(charges)["stt"] == "25.25"


@pytest.fixture(scope="module")
def sample(shared_data) -> list[dict]:
    """Kite's answer to three orders of July 2023, numbers as decimals."""
    path = shared_data / "kiteconnect-mocks" / "virtual_contract_note.json"
    if not path.is_file():
        pytest.skip(f"no sample of a virtual contract note in {path}")
    return json.loads(path.read_text(), parse_float=Decimal, parse_int=Decimal)["data"]


@pytest.mark.parametrize("row", range(3), ids=["share", "commodity future", "option"])
def test_a_row_of_the_virtual_contract_note_is_reproduced_field_by_field(sample, row):
    order = sample[row]
    instrument = replace([INFY, FUTURE, CALL][row], exchange=order["exchange"], symbol=order["tradingsymbol"])
    product, side = Product(order["product"]), Side(order["transaction_type"])
    quantity, price = int(order["quantity"]), order["price"]
    charges = fill_charges(instrument, product, side, quantity, price, date(2023, 7, 12), Decimal(0))
    # Of all fields, Kite rounds stamp duty alone.
    [note] = printed(add(Tally(), "any", instrument, product, side, quantity, price, charges)).values()
    charges[Head.STAMP] = note.get(Head.STAMP, Decimal(0))

    stated = order["charges"]
    tax = Head(stated["transaction_tax_type"])
    assert tax is (Head.CTT if order["exchange"] == "MCX" else Head.STT)
    for head, field in {
        tax: stated["transaction_tax"],
        Head.TRANSACTION: stated["exchange_turnover_charge"],
        Head.SEBI: stated["sebi_turnover_charge"],
        Head.BROKERAGE: stated["brokerage"],
        Head.STAMP: stated["stamp_duty"],
        Head.GST: stated["gst"]["total"],
    }.items():
        assert charges.get(head, 0) == round(field, 12), head
    assert total(charges) == round(stated["total"], 12)


def test_brokerage_is_capped_by_order_and_not_by_fill():
    first = charged(BUY, 50, "1000")
    second = charged(BUY, 50, "1000", before="50000")
    third = charged(BUY, 50, "1000", before="100000")

    assert [fill.get(Head.BROKERAGE, 0) for fill in (first, second, third)] == [15, 5, 0]


def test_the_fee_of_an_option_order_falls_on_its_first_fill():
    first = charged(BUY, 65, "100", instrument=CALL, product=NRML)
    second = charged(BUY, 65, "100", instrument=CALL, product=NRML, before="6500")

    assert first[Head.BROKERAGE] == 20
    assert Head.BROKERAGE not in second


products = st.sampled_from([(INFY, MIS), (INFY, CNC), (FUTURE, NRML), (CALL, NRML)])
prices = st.decimals("0.05", "99999.95", places=2)
days = st.dates(date(2020, 1, 1), date(2030, 1, 1))


@given(products, st.sampled_from(Side), st.lists(st.integers(1, 100_000), min_size=1, max_size=8), prices, days)
def test_the_fills_of_an_order_are_charged_what_one_fill_of_it_all_is(held, side, quantities, price, on):
    instrument, product = held
    parts, before = [], Decimal(0)
    for quantity in quantities:
        parts.append(fill_charges(instrument, product, side, quantity, price, on, before))
        before += quantity * price

    whole = fill_charges(instrument, product, side, sum(quantities), price, on, Decimal(0))
    assert merge(*parts) == whole


@given(products, st.sampled_from(Side), st.integers(1, 1_000_000), prices, days)
def test_every_charge_that_is_present_is_more_than_nothing(held, side, quantity, price, on):
    charges = fill_charges(*held, side, quantity, price, on, Decimal(0))

    assert charges
    assert all(amount > 0 for amount in charges.values())


@pytest.mark.parametrize(
    ("option", "settlement", "tax"),
    [(CALL, "25100", "9.75"), (CALL, "25000", None), (CALL, "24900", None), (PUT, "24900", "9.75")],
    ids=["call", "at the strike", "out of the money", "put"],
)
def test_the_holder_of_an_exercised_option_pays_tax_on_its_intrinsic_value(option, settlement, tax):
    charges = exercise_charges(option, 65, Decimal(settlement), NOW)

    assert charges == ({Head.STT: Decimal(tax)} if tax else {})


@pytest.mark.parametrize(
    ("exchange", "underlying", "segment"),
    [
        ("BFO", "BSE:SENSEX", Segment.BFO_SENSEX_BANKEX_OPTIONS),
        ("BFO", "BSE:BANKEX", Segment.BFO_SENSEX_BANKEX_OPTIONS),
        ("BFO", "BSE:RELIANCE", Segment.BFO_OTHER_OPTIONS),
        ("NFO", "NSE:NIFTY 50", Segment.NFO_OPTIONS),
        ("MCX", "MCX:CRUDEOIL", Segment.MCX_OPTIONS),
    ],
)
def test_an_option_is_charged_by_its_exchange_and_underlying(exchange, underlying, segment):
    option = replace(CALL, exchange=exchange, underlying=underlying)

    assert segment_of(option, NRML) is segment


@pytest.mark.parametrize(
    ("instrument", "product"),
    [
        (INFY, NRML),
        (FUTURE, CNC),
        (replace(INFY, exchange="NYSE"), MIS),
        (Instrument(exchange="NSE", symbol="NIFTY 50", kind=InstrumentKind.INDEX), MIS),
    ],
    ids=["shares overnight on margin", "a future as delivery", "another exchange", "an index"],
)
def test_what_has_no_charges_is_refused_and_never_free(instrument, product):
    with pytest.raises(ValueError, match=f"no charges are known for {instrument.id}"):
        charged(BUY, 1, "100", instrument=instrument, product=product)


@pytest.mark.parametrize(("quantity", "price", "before"), [(0, "1", "0"), (1, "0", "0"), (1, "1", "-1")])
def test_a_fill_of_nothing_is_refused(quantity, price, before):
    with pytest.raises(ValueError, match="needs a positive quantity and price"):
        charged(BUY, quantity, price, before=before)


@pytest.mark.parametrize(
    ("instrument", "quantity", "message"),
    [
        (FUTURE, 65, "only an option"),
        (CALL, 0, "a positive quantity"),
        (replace(CALL, exchange="MCX"), 100, "an option of NFO or BFO"),
    ],
)
def test_only_a_position_in_an_equity_option_is_exercised(instrument, quantity, message):
    with pytest.raises(ValueError, match=message):
        exercise_charges(instrument, quantity, Decimal(25100), NOW)
