"""`panda instruments`: what it prints can be read by a program, and its exit code says whether all is well."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from panda_streams.cli.instruments import instruments
from panda_streams.errors import BadInput, PandaError
from panda_streams.instrument_files import read_instruments
from tests.unit.test_kite_dump import DOLLAR, FUTURE, INFY, OPTION, a_dump

AUGUST, SEPTEMBER = FUTURE, FUTURE | {"tradingsymbol": "NIFTY26SEPFUT", "expiry": "2026-09-29", "instrument_token": "3"}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("PANDA_") and name != "PANDA_SHARED_DATA"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PANDA_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(instruments, [str(argument) for argument in arguments])


def told(*arguments: object) -> Any:
    return json.loads(run(*arguments, "--json").stdout)


def use(monkeypatch: pytest.MonkeyPatch, dump: Path) -> None:
    monkeypatch.setenv("PANDA_INSTRUMENTS", f"package:{dump}")


def test_show_finds_an_instrument_by_id_symbol_and_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, a_dump(tmp_path, INFY, FUTURE))

    found = told("show", "NSE:INFY", "INFY", "408065", "NIFTY", "NFO:NIFTY26AUGFUT")

    assert {name: one["symbol"] for name, one in found.items()} == {
        "NSE:INFY": "INFY",
        "INFY": "INFY",
        "408065": "INFY",
        "NIFTY": "NIFTY 50",
        "NFO:NIFTY26AUGFUT": "NIFTY26AUGFUT",
    }
    assert "1 derivatives, expiring 2026-08-25" in run("show", "NIFTY").output


def test_show_names_what_it_does_not_know_and_shows_the_rest() -> None:
    result = run("show", "INFY", "NOPE")

    assert "NSE:INFY: kind equity" in result.output
    assert isinstance(result.exception, PandaError)
    assert "NOPE" in str(result.exception)


def test_check_counts_what_is_right_and_lists_what_is_wrong(tmp_path: Path) -> None:
    dump = a_dump(tmp_path, FUTURE, OPTION, OPTION, DOLLAR, INFY | {"lot_size": "0"})

    report = told("check", dump)

    assert report["instruments"] == {"future": 1, "option": 1}
    assert report["unsupported"] == {"CDS-FUT": 1}
    assert [problem["place"] for problem in report["problems"]] == [f"{dump}, line 4", f"{dump}, line 6"]
    assert isinstance(run("check", dump).exception, PandaError)


def test_check_is_content_with_the_package_and_its_strategies() -> None:
    assert run("check").exit_code == 0


def test_check_names_what_a_strategy_needs_and_nothing_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PANDA_INSTRUMENTS", str(a_dump(tmp_path, INFY)))

    missing = told("check")["missing"]

    assert "NSE:NIFTY 50" in missing
    assert "NSE:INFY" not in missing


def test_diff_tells_what_a_later_file_says_otherwise(tmp_path: Path) -> None:
    old = a_dump(tmp_path, AUGUST, OPTION, INFY, name="old.csv")
    new = a_dump(tmp_path, AUGUST | {"lot_size": "75"}, SEPTEMBER, name="new.csv")

    report = told("diff", old, new)

    assert report["added"] == ["NFO:NIFTY26SEPFUT"]
    assert report["removed"] == ["NFO:NIFTY26AUG24000CE", "NSE:INFY"]
    assert report["changed"] == [{"instrument": "NFO:NIFTY26AUGFUT", "field": "lot", "old": "65", "new": "75"}]
    assert report["missing"] == ["NSE:INFY"]
    assert "missing: NSE:INFY, which a strategy needs" in run("diff", old, new).output


def test_refresh_installs_a_dump_beside_the_one_before_and_nothing_older(tmp_path: Path, home: Path) -> None:
    dumps = [a_dump(tmp_path, AUGUST | {"lot_size": str(lot)}, name=f"{lot}.csv") for lot in (65, 70, 75)]

    for dump in dumps:
        assert run("refresh", dump).exit_code == 0

    folder = home / "instruments"
    current, previous = (read_instruments(folder / name) for name in ("kite.csv.gz", "kite.previous.csv.gz"))
    assert current.instruments["NFO:NIFTY26AUGFUT"].lot == 75
    assert previous.instruments["NFO:NIFTY26AUGFUT"].lot == 70
    assert len(list(folder.iterdir())) == 4
    assert current.instruments.version in (folder / "kite.csv.gz").resolve().name


def test_refresh_with_the_same_dump_keeps_the_one_before(tmp_path: Path, home: Path) -> None:
    for lot in (65, 75, 75):
        run("refresh", a_dump(tmp_path, AUGUST | {"lot_size": str(lot)}))

    previous = read_instruments(home / "instruments" / "kite.previous.csv.gz")

    assert previous.instruments["NFO:NIFTY26AUGFUT"].lot == 65


def test_refresh_says_how_to_use_the_dump_until_it_is_used(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dump, current = a_dump(tmp_path, AUGUST), home / "instruments" / "kite.csv.gz"

    assert f"PANDA_INSTRUMENTS=package:{current}" in run("refresh", dump).output

    use(monkeypatch, current)
    assert "PANDA_INSTRUMENTS" not in run("refresh", dump).output


def test_refresh_refuses_a_dump_that_has_lost_more_than_half(tmp_path: Path, home: Path) -> None:
    whole, part = a_dump(tmp_path, AUGUST, SEPTEMBER, OPTION, name="w.csv"), a_dump(tmp_path, AUGUST, name="p.csv")
    run("refresh", whole)

    refused = run("refresh", part)

    assert isinstance(refused.exception, PandaError)
    assert len(read_instruments(home / "instruments" / "kite.csv.gz").instruments) == 3
    assert run("refresh", part, "--force").exit_code == 0
    assert len(read_instruments(home / "instruments" / "kite.csv.gz").instruments) == 1


def test_refresh_refuses_what_is_no_dump(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("- {exchange: NSE, symbol: A, kind: equity}\n")

    assert isinstance(run("refresh", mine).exception, BadInput)


def test_resolve_says_what_a_contract_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, a_dump(tmp_path, AUGUST, SEPTEMBER, OPTION))

    future = told("resolve", "NIFTY", "--kind", "future", "--on", "2026-08-25")
    option = told("resolve", "NIFTY", "--kind", "option", "--right", "CE", "--spot", "24010", "--on", "2026-08-24")

    assert (future["symbol"], option["symbol"]) == ("NIFTY26SEPFUT", "NIFTY26AUG24000CE")


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("--kind", "option", "--spot", "24010"), "an option needs `right"),
        (("--kind", "option", "--right", "PE", "--spot", "24010"), "found none"),
        (("--kind", "option", "--right", "CE"), "price of NSE:NIFTY 50"),
        (("--kind", "option", "--right", "CE", "--spot", "24010", "--strike", "ATM+1"), "from 24000 to 24000"),
    ],
)
def test_resolve_says_why_it_finds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], what: str
) -> None:
    use(monkeypatch, a_dump(tmp_path, AUGUST, OPTION))

    result = run("resolve", "NIFTY", "--on", "2026-08-24", *arguments)

    assert isinstance(result.exception, PandaError)
    assert what in str(result.exception)
