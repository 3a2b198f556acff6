"""Contracts: each means one listed instrument at a price on a day, and what is not there is named."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from panda_streams.domain.contracts import Contract, ContractNotFound, resolve
from panda_streams.domain.instruments import Instrument, Instruments, Right
from panda_streams.instrument_files import load_instruments
from tests.unit.chains import NIFTY, a_chain, a_future

WEEKS = [date(2026, 8, 18), date(2026, 8, 25), date(2026, 9, 1), date(2026, 9, 8), date(2026, 9, 29)]
MONTHS = [date(2026, 8, 25), date(2026, 9, 29), date(2026, 10, 27)]
STRIKES = [24_000, 24_050, 24_100, 24_200, 24_400]
LISTED = Instruments(
    [
        *a_chain(WEEKS, STRIKES),
        *a_chain(MONTHS, STRIKES, underlying="NSE:NIFTY BANK"),
        *(a_future(expiry) for expiry in MONTHS),
    ]
)
MONDAY = date(2026, 8, 17)


def a_call(underlying: str = "NIFTY", **fields: Any) -> Contract:
    return Contract.model_validate({"underlying": underlying, "kind": "option", "right": "CE", **fields})


def found(contract: Contract, spot: object = "24060", on: date = MONDAY) -> Instrument:
    return resolve(contract, LISTED, Decimal(str(spot)), on)


@pytest.mark.parametrize(
    ("strike", "spot", "expected"),
    [
        ("ATM", "24060", 24_050),
        ("ATM", "24075", 24_050),
        ("ATM", "24075.05", 24_100),
        ("ATM", "24150", 24_100),
        ("ATM", "1", 24_000),
        ("ATM", "99999", 24_400),
        ("ATM+1", "24060", 24_100),
        ("ATM+2", "24060", 24_200),
        ("ATM+3", "24060", 24_400),
        ("ATM-1", "24060", 24_000),
    ],
)
def test_strikes_are_counted_among_those_that_are_listed(strike: str, spot: str, expected: int) -> None:
    assert found(a_call(strike=strike), spot).strike == expected


@pytest.mark.parametrize(
    ("expiry", "on", "expected"),
    [
        ("current", MONDAY, WEEKS[0]),
        ("next", MONDAY, WEEKS[1]),
        ("weekly", MONDAY, WEEKS[0]),
        ("monthly", MONDAY, WEEKS[1]),
        ("current", WEEKS[0], WEEKS[1]),
        ("next", WEEKS[0], WEEKS[2]),
        ("monthly", WEEKS[1], WEEKS[4]),
        ("current", WEEKS[1] + timedelta(1), WEEKS[2]),
    ],
)
def test_an_expiry_is_counted_among_those_that_are_listed(expiry: str, on: date, expected: date) -> None:
    assert found(a_call(expiry=expiry), on=on).expiry == expected


@pytest.mark.parametrize(
    ("roll_days", "on", "expected"),
    [
        (0, MONTHS[0], MONTHS[0]),
        (1, MONTHS[0] - timedelta(1), MONTHS[0]),
        (1, MONTHS[0], MONTHS[1]),
        (3, MONTHS[0] - timedelta(3), MONTHS[0]),
        (3, MONTHS[0] - timedelta(2), MONTHS[1]),
    ],
)
def test_near_its_expiry_a_future_is_passed_over_for_the_next(roll_days: int, on: date, expected: date) -> None:
    contract = Contract.model_validate({"underlying": "NIFTY", "kind": "future", "roll_days": roll_days})

    assert resolve(contract, LISTED, None, on).expiry == expected


@pytest.mark.parametrize(
    ("contract", "on", "named"),
    [
        (a_call("RELIANCE"), MONDAY, "NSE:RELIANCE.*found none"),
        (a_call("BANKNIFTY", expiry="weekly"), MONDAY, "one expiry a month"),
        (a_call(expiry="next"), WEEKS[-1] - timedelta(1), "found 2026-09-29"),
        (a_call(), WEEKS[-1] + timedelta(1), "found none"),
        (a_call(strike="ATM+4"), MONDAY, "from 24000 to 24400"),
        (a_call(strike="ATM-2"), MONDAY, "from 24000 to 24400"),
    ],
)
def test_what_is_not_listed_is_named(contract: Contract, on: date, named: str) -> None:
    with pytest.raises(ContractNotFound, match=named):
        found(contract, on=on)


@pytest.mark.parametrize("spot", [None, Decimal(0), Decimal(-1), Decimal("NaN")])
def test_an_option_needs_a_price_of_its_underlying(spot: Decimal | None) -> None:
    with pytest.raises(ContractNotFound, match="price of NSE:NIFTY 50"):
        resolve(a_call(), LISTED, spot, MONDAY)


@pytest.mark.parametrize(
    ("form", "named"),
    [
        ({"kind": "option"}, "right"),
        ({"kind": "future", "right": "PE"}, "future has no right"),
        ({"kind": "future", "strike": "ATM+1"}, "future has no right and no strike"),
        ({"kind": "equity"}, "kind"),
        ({"kind": "option", "right": "CE", "strike": "ATM+0"}, "strike"),
        ({"kind": "option", "right": "CE", "strike": "ATM 1"}, "strike"),
        ({"kind": "option", "right": "CE", "strike": "24000"}, "strike"),
        ({"kind": "option", "right": "CE", "roll_days": -1}, "roll_days"),
        ({"kind": "option", "right": "CE", "expiry": "2026-08-25"}, "expiry"),
    ],
)
def test_a_contract_that_cannot_exist_is_refused(form: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        Contract.model_validate({"underlying": "NIFTY", **form})


def test_the_names_of_an_index_are_one() -> None:
    assert a_call("NIFTY") == a_call(NIFTY)
    assert a_call("INFY").underlying == "NSE:INFY"


@given(
    st.sampled_from(["current", "next", "weekly", "monthly"]),
    st.sampled_from(["CE", "PE"]),
    st.integers(-4, 4),
    st.integers(0, 10),
    st.decimals(1, 50_000, places=2),
    st.dates(date(2026, 8, 1), date(2026, 10, 10)),
)
def test_what_is_found_is_what_was_asked_for(
    expiry: str, right: str, steps: int, roll_days: int, spot: Decimal, on: date
) -> None:
    strike = f"ATM{steps:+d}" if steps else "ATM"
    contract = a_call(expiry=expiry, right=right, strike=strike, roll_days=roll_days)
    try:
        one = found(contract, spot, on)
    except ContractNotFound:
        return

    assert one.expiry is not None
    assert (one.underlying, one.right) == (NIFTY, Right(right))
    assert (one.expiry - on).days >= roll_days
    atm = min(STRIKES, key=lambda listed: (abs(listed - spot), listed))
    assert one.strike is not None
    assert STRIKES.index(int(one.strike)) - STRIKES.index(atm) == steps


@pytest.fixture(scope="module")
def august_2026(shared_data: Path) -> Instruments:
    return load_instruments(shared_data / "kite_instruments_2026" / "kite_instruments_nfo_2026-08.csv.gz")


@pytest.mark.parametrize(
    ("form", "spot", "symbol"),
    [
        ({"underlying": "NIFTY", "kind": "future"}, None, "NFO:NIFTY26AUGFUT"),
        ({"underlying": "NIFTY", "kind": "future", "expiry": "next"}, None, "NFO:NIFTY26SEPFUT"),
        ({"underlying": "NIFTY", "kind": "future", "roll_days": 9}, None, "NFO:NIFTY26SEPFUT"),
        (
            {"underlying": "NIFTY", "kind": "option", "right": "CE", "expiry": "weekly"},
            "24512.3",
            "NFO:NIFTY2681824500CE",
        ),
        (
            {"underlying": "NIFTY", "kind": "option", "right": "PE", "expiry": "monthly", "strike": "ATM-2"},
            "24512.3",
            "NFO:NIFTY26AUG24400PE",
        ),
        ({"underlying": "SENSEX", "kind": "option", "right": "CE"}, "80040", "BFO:SENSEX2682080000CE"),
        ({"underlying": "RELIANCE", "kind": "option", "right": "CE"}, "1405", "NFO:RELIANCE26AUG1400CE"),
        ({"underlying": "M&M", "kind": "future"}, None, "NFO:M&M26AUGFUT"),
    ],
)
def test_contracts_on_the_day_of_a_real_dump(
    august_2026: Instruments, form: dict[str, Any], spot: str | None, symbol: str
) -> None:
    contract = Contract.model_validate(form)

    assert resolve(contract, august_2026, Decimal(spot) if spot else None, MONDAY).id == symbol


def test_every_underlying_of_a_real_dump_has_a_current_future(august_2026: Instruments) -> None:
    underlyings = {one.underlying for one in august_2026 if one.underlying}

    for underlying in sorted(underlyings):
        future = Contract.model_validate({"underlying": underlying, "kind": "future"})
        assert resolve(future, august_2026, None, MONDAY).underlying == underlying
