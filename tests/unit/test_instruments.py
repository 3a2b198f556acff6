"""Files of instruments: the package's list is whole, several are one list, a wrong one is named with the entry."""

from __future__ import annotations

from decimal import Decimal

import pytest

from panda_streams.domain.instruments import Instrument, InstrumentKind, Instruments
from panda_streams.errors import BadInput
from panda_streams.instrument_files import load_instruments, read_instruments
from tests.unit.test_kite_dump import FUTURE, INFY, OPTION, a_dump


def test_the_packages_list_has_shares_to_trade_and_indices_to_watch():
    instruments = load_instruments()

    assert instruments["NSE:RELIANCE"].tradable
    assert not instruments["NSE:NIFTY 50"].tradable
    assert len(instruments) == len(list(instruments)) >= 60


def test_every_simulated_share_has_a_weight_and_a_price():
    shares = [one for one in load_instruments() if one.tradable and one.weight is not None]

    assert len(shares) >= 20
    assert all(share.reference_price is not None and share.reference_price > 0 for share in shares)


def test_an_unknown_instrument_is_none_or_a_key_error():
    instruments = load_instruments()

    assert instruments.get("NSE:NOPE") is None
    assert "NSE:NOPE" not in instruments
    with pytest.raises(KeyError):
        instruments["NSE:NOPE"]


def test_an_instrument_listed_twice_is_refused():
    infy = Instrument(exchange="NSE", symbol="INFY", kind=InstrumentKind.EQUITY)

    with pytest.raises(ValueError, match="NSE:INFY is listed twice"):
        Instruments([infy, infy])


def test_the_users_list_replaces_the_packages(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text('- {exchange: BSE, symbol: X, kind: equity, tick_size: "0.01", lot: 5}\n')

    instruments = load_instruments(path)

    assert [one.id for one in instruments] == ["BSE:X"]
    assert (instruments["BSE:X"].tick_size, instruments["BSE:X"].lot) == (Decimal("0.01"), 5)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("- {exchange: NSE, kind: equity}", "entry 0: Object missing required field `symbol`"),
        ("- {exchange: NSE, symbol: A, kind: equity}\n- {exchange: NSE, symbol: B, kind: bond}", "entry 1.kind"),
        (
            "- {exchange: NSE, symbol: A, kind: equity, ticksize: 1}",
            "entry 0: Object contains unknown field `ticksize`",
        ),
        ("- {exchange: NSE, symbol: A, kind: equity}\n- {exchange: NSE, symbol: A, kind: equity}", "NSE:A"),
        ("exchange: NSE", "list"),
        ("- {", "not YAML"),
        ("", "list"),
    ],
)
def test_a_wrong_file_is_named_with_its_entry(tmp_path, text, place):
    path = tmp_path / "mine.yaml"
    path.write_text(text)

    with pytest.raises(BadInput) as caught:
        load_instruments(path)

    assert str(path) in str(caught.value)
    assert place in str(caught.value)
    assert caught.value.fix


def test_a_missing_file_is_named_with_its_setting(tmp_path):
    with pytest.raises(BadInput, match=r"nowhere\.yaml: No such file") as caught:
        load_instruments(tmp_path / "nowhere.yaml")

    assert "PANDA_INSTRUMENTS" in caught.value.fix


def test_a_dump_beside_the_packages_list_adds_derivatives_and_says_on_which_shares(tmp_path):
    reliance = FUTURE | {"tradingsymbol": "RELIANCE26AUGFUT", "name": "RELIANCE", "instrument_token": "7"}

    instruments = load_instruments(f"package:{a_dump(tmp_path, FUTURE, reliance)}")

    assert instruments["NFO:NIFTY26AUGFUT"].underlying in instruments
    assert instruments["NSE:RELIANCE"].has_derivatives
    assert not instruments["NSE:TCS"].has_derivatives


def test_a_later_file_counts_but_the_simulator_keeps_its_prices(tmp_path):
    dump = a_dump(tmp_path, INFY | {"tick_size": "0.1"})

    listing = read_instruments(f"package:{dump}")

    infy = listing.instruments["NSE:INFY"]
    assert (infy.tick_size, infy.token) == (Decimal("0.1"), 408065)
    assert (infy.weight, infy.reference_price) == (Decimal("8.6"), Decimal(1390))
    assert listing.replaced == ("NSE:INFY",)


def test_derivatives_of_an_index_have_its_freeze_quantity(tmp_path):
    reliance = OPTION | {"tradingsymbol": "RELIANCE26AUG1400CE", "name": "RELIANCE", "instrument_token": "7"}

    instruments = load_instruments(a_dump(tmp_path, FUTURE, OPTION, reliance))

    assert instruments["NFO:NIFTY26AUGFUT"].freeze_quantity == 1800
    assert instruments["NFO:NIFTY26AUG24000CE"].freeze_quantity == 1800
    assert instruments["NFO:RELIANCE26AUG1400CE"].freeze_quantity is None


def test_a_file_of_freeze_quantities_replaces_the_packages(tmp_path):
    mine = tmp_path / "freeze.yaml"
    mine.write_text('as_of: 2026-12-01\nsource: a circular\nquantities: {"NSE:NIFTY 50": 1200}\n')

    listing = read_instruments(f"{mine}:{a_dump(tmp_path, FUTURE)}")

    assert listing.instruments["NFO:NIFTY26AUGFUT"].freeze_quantity == 1200
    assert str(listing.freeze.as_of) == "2026-12-01"


def test_a_freeze_quantity_below_a_lot_is_named(tmp_path):
    mine = tmp_path / "freeze.yaml"
    mine.write_text('as_of: 2026-12-01\nsource: a circular\nquantities: {"NSE:NIFTY 50": 64}\n')

    with pytest.raises(BadInput, match=r"a circular.*freeze_quantity 64 is less than a lot of 65"):
        load_instruments(f"{mine}:{a_dump(tmp_path, FUTURE)}")


def test_a_token_of_two_instruments_is_reported(tmp_path):
    later = FUTURE | {"tradingsymbol": "NIFTY26SEPFUT", "expiry": "2026-09-29"}

    (problem,) = read_instruments(a_dump(tmp_path, FUTURE, later)).problems

    assert problem.place == "NFO:NIFTY26AUGFUT"
    assert "NFO:NIFTY26SEPFUT" in problem.what


def test_files_without_an_instrument_are_refused(tmp_path):
    with pytest.raises(BadInput, match="no instrument"):
        load_instruments(a_dump(tmp_path))


def test_a_real_dump_is_read_whole(shared_data):
    dump = shared_data / "kite_instruments_2026" / "kite_instruments_nfo_2026-08.csv.gz"

    listing = read_instruments(f"package:{dump}")

    instruments = listing.instruments
    assert len(instruments) == 39_941 + len(load_instruments())
    assert listing.problems == ()
    lots = {
        "NIFTY": 65,
        "BANKNIFTY": 30,
        "FINNIFTY": 60,
        "MIDCPNIFTY": 120,
        "NIFTYNXT50": 25,
        "RELIANCE": 500,
        "M&M": 200,
    }
    assert {name: instruments[f"NFO:{name}26AUGFUT"].lot for name in lots} == lots
    assert instruments["NFO:NIFTY26AUGFUT"].tick_size == Decimal("0.1")
    assert instruments["BFO:SENSEX26AUGFUT"].underlying == "BSE:SENSEX"
    assert len(instruments.derivatives("NSE:NIFTY 50")) == 1725
    assert instruments["NSE:M&M"].has_derivatives
    assert not instruments["NSE:NIFTY 50"].has_derivatives
