"""Instruments: the list of the package is whole, and a wrong file is named with the entry."""

from __future__ import annotations

from decimal import Decimal

import pytest

from panda_streams.domain.instruments import Instrument, InstrumentKind, Instruments
from panda_streams.errors import BadInput
from panda_streams.instrument_files import load_instruments


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
        ("- {exchange: NSE, kind: equity}", "0.symbol"),
        ("- {exchange: NSE, symbol: A, kind: equity}\n- {exchange: NSE, symbol: B, kind: bond}", "1.kind"),
        ("- {exchange: NSE, symbol: A, kind: equity, ticksize: 1}", "0.ticksize"),
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
