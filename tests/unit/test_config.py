"""Strategy configurations: what is wrong is named with file and field, and what decides signals decides the version."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
import yaml

from panda_streams.brokers.port import registered_brokers
from panda_streams.domain.instruments import Instruments
from panda_streams.errors import BadInput
from panda_streams.instrument_files import load_instruments
from strategies.config import StrategyConfig, load_strategies, needed_instruments
from strategies.interface import build
from tests.unit.chains import a_chain, a_future

_INSTRUMENTS = load_instruments()
_BROKERS = registered_brokers()
_ACCOUNT = {"capital": "1000", "share_of_capital": "0.1", "max_position": 10}


def form(**changes: object) -> dict[str, object]:
    return {
        "strategy_id": "Some_1",
        "strategy": "momentum",
        "watches": ["NSE:NIFTY 50"],
        "trades": ["NSE:INFY", "NSE:TCS"],
        "brokers": ["zerodha"],
        "zerodha_trading_enabled": False,
        "params": {"entry_bps": 2, "exit_bps": 1},
        "accounts": {"paper": _ACCOUNT, "zerodha": _ACCOUNT},
    } | changes


def write(folder: Path, name: str, text: str | dict[str, object]) -> Path:
    path = folder / name
    path.write_text(text if isinstance(text, str) else yaml.safe_dump(text))
    return path


def load(folder: Path) -> tuple[StrategyConfig, ...]:
    return load_strategies(folder, _INSTRUMENTS, _BROKERS)


def version(**changes: object) -> str:
    return StrategyConfig.model_validate(form(**changes)).version


def test_a_configuration_is_read_as_written(tmp_path):
    write(tmp_path, "some.yaml", form(zerodha_trading_enabled=True))

    [config] = load(tmp_path)

    assert config.strategy_id == "Some_1"
    assert config.instruments == {"NSE:NIFTY 50", "NSE:INFY", "NSE:TCS"}
    assert config.consents == {"zerodha": True}
    assert config.accounts["paper"].capital == Decimal(1000)


def test_the_files_of_the_package_are_good():
    configs = {config.strategy_id: config for config in load_strategies(None, _INSTRUMENTS, _BROKERS)}

    assert configs["Momentum_NIFTY_1"].brokers == ("paper", "zerodha")
    assert configs["Momentum_NIFTY_1"].consents == {"zerodha": "simulated"}
    assert configs["MeanReversion_NIFTY_1"].brokers == ("paper",)
    assert not configs["MeanReversion_NIFTY_1"].consents


@pytest.mark.parametrize(
    ("brokers", "expected"),
    [
        (None, ("paper",)),
        ([], ("paper",)),
        (["zerodha"], ("paper", "zerodha")),
        (["zerodha", "paper"], ("zerodha", "paper")),
    ],
)
def test_paper_is_always_among_the_brokers(brokers, expected):
    assert StrategyConfig.model_validate(form(brokers=brokers)).brokers == expected


def test_paper_can_be_refused_in_so_many_words():
    assert StrategyConfig.model_validate(form(paper=False)).brokers == ("zerodha",)


@pytest.mark.parametrize(
    "changes",
    [
        {"accounts": {"paper": _ACCOUNT | {"capital": "5", "max_position": 1}, "zerodha": _ACCOUNT}},
        {"brokers": ["paper", "zerodha"], "zerodha_trading_enabled": True},
        {"paper": False},
        {"params": {"exit_bps": 1, "entry_bps": 2}},
    ],
)
def test_what_decides_no_signal_leaves_the_version(changes):
    assert version(**changes) == version()


@pytest.mark.parametrize(
    "changes",
    [
        {"strategy_id": "Some_2"},
        {"strategy": "mean_reversion"},
        {"watches": []},
        {"trades": ["NSE:INFY"]},
        {"params": {"entry_bps": 3, "exit_bps": 1}},
        {"params": {}},
    ],
)
def test_what_decides_signals_changes_the_version(changes):
    assert version(**changes) != version()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"strategy_id": "1st"}, "strategy_id"),
        ({"strategy_id": "Momentum NIFTY"}, "strategy_id"),
        ({"strategy_id": "Some_1:x"}, "strategy_id"),
        ({"strategy_id": "Some_1\n"}, "strategy_id"),
        ({"trades": []}, "trades"),
        ({"trades": "NSE:INFY"}, "trades"),
        ({"trades": ["NSE:INFY", "NSE:INFY"]}, "NSE:INFY is listed twice"),
        ({"trades": ["NSE:NOPE"]}, "trades NSE:NOPE"),
        ({"trades": ["NSE:NIFTY 50"]}, "trades NSE:NIFTY 50, which is an index"),
        ({"watches": ["NSE:NOPE"]}, "watches NSE:NOPE"),
        ({"watches": ["NSE:SBIN"]}, "watches NSE:SBIN without trading it"),
        ({"brokers": "paper"}, "brokers"),
        ({"brokers": ["zerodha", "zerodha"]}, "zerodha is listed twice"),
        ({"brokers": ["upstox"]}, "broker upstox"),
        ({"upstox_trading_enabled": True}, "broker upstox"),
        ({"zerodha_trading_enabled": "sure"}, "consents.zerodha"),
        ({"zerodha_trading_enabled": 1}, "consents.zerodha"),
        ({"consents": {"zerodha": True}}, "_trading_enabled"),
        ({"paper": False, "brokers": ["paper"]}, "paper: false"),
        ({"paper": False, "brokers": []}, "brokers"),
        ({"paper": "never"}, "paper"),
        ({"accounts": {"paper": _ACCOUNT}}, "broker zerodha without `accounts: zerodha:`"),
        ({"accounts": {"paper": _ACCOUNT, "zerodha": _ACCOUNT, "zreodha": _ACCOUNT}}, "broker zreodha"),
        ({"accounts": {"paper": _ACCOUNT | {"capital": "-1"}, "zerodha": _ACCOUNT}}, "accounts.paper.capital"),
        ({"accounts": {"paper": _ACCOUNT | {"share_of_capital": 2}, "zerodha": _ACCOUNT}}, "share_of_capital"),
        ({"accounts": {"paper": _ACCOUNT | {"leverage": 5}, "zerodha": _ACCOUNT}}, "accounts.paper.leverage"),
        ({"parms": {}}, "parms"),
    ],
)
def test_a_wrong_field_is_named_with_its_file(tmp_path, changes, named):
    path = write(tmp_path, "some.yaml", form(**changes))

    with pytest.raises(BadInput) as caught:
        load(tmp_path)

    assert str(path) in str(caught.value)
    assert named in str(caught.value)
    assert caught.value.fix


@pytest.mark.parametrize("missing", ["strategy_id", "strategy", "trades", "accounts"])
def test_a_missing_field_is_named_with_its_file(tmp_path, missing):
    write(tmp_path, "some.yaml", {name: value for name, value in form().items() if name != missing})

    with pytest.raises(BadInput, match=rf"some\.yaml, {missing}: Field required"):
        load(tmp_path)


@pytest.mark.parametrize("text", ["a: [", "", "- 1", "just text", "a: b: c", "\tx: 1"])
def test_what_is_no_mapping_of_yaml_is_named(tmp_path, text):
    write(tmp_path, "some.yaml", text)

    with pytest.raises(BadInput, match=r"some\.yaml"):
        load(tmp_path)


def test_bytes_that_are_no_text_are_named(tmp_path):
    (tmp_path / "some.yaml").write_bytes(b"strategy_id: \xff\xfe")

    with pytest.raises(BadInput, match=r"some\.yaml"):
        load(tmp_path)


def test_an_unreadable_file_is_named(tmp_path):
    (tmp_path / "some.yaml").mkdir()

    with pytest.raises(BadInput, match=r"some\.yaml: Is a directory"):
        load(tmp_path)


def test_one_id_in_two_files_is_refused(tmp_path):
    write(tmp_path, "one.yaml", form())
    write(tmp_path, "two.yaml", form())

    with pytest.raises(BadInput, match=r"two\.yaml: strategy_id Some_1 is used twice"):
        load(tmp_path)


@pytest.mark.parametrize("folder", ["empty", "missing"])
def test_a_directory_without_strategies_is_named_with_its_setting(tmp_path, folder):
    (tmp_path / "empty").mkdir()

    with pytest.raises(BadInput, match=folder) as caught:
        load(tmp_path / folder)

    assert "PANDA_STRATEGIES" in caught.value.fix


def test_strategies_come_in_the_order_of_their_ids(tmp_path):
    for name, strategy_id in (("a", "Zeta"), ("b", "Alpha"), ("c", "Mid")):
        write(tmp_path, f"{name}.yaml", form(strategy_id=strategy_id))

    assert [config.strategy_id for config in load(tmp_path)] == ["Alpha", "Mid", "Zeta"]


_CALL = {"name": "CALL", "underlying": "NIFTY", "kind": "option", "right": "CE", "expiry": "weekly", "strike": "ATM+1"}
_CHAIN = Instruments([*_INSTRUMENTS, *a_chain([date(2026, 8, 25)], [24_000]), a_future(date(2026, 8, 25), "NSE:INFY")])


def load_with_chain(folder: Path, **changes: object) -> tuple[StrategyConfig, ...]:
    write(folder, "some.yaml", form(**changes))
    return load_strategies(folder, _CHAIN, _BROKERS)


def test_a_contract_is_traded_by_its_name_and_its_underlying_is_seen(tmp_path):
    future = {"name": "FUT", "underlying": "INFY", "kind": "future"}

    [config] = load_with_chain(tmp_path, watches=["NSE:INFY"], trades=["NSE:TCS", _CALL, future])

    assert config.trades == ("NSE:TCS", "CALL", "FUT")
    assert config.instruments == {"NSE:TCS", "NSE:NIFTY 50", "NSE:INFY"}
    assert config.contracts["CALL"].steps == 1
    assert config.contracts["FUT"].underlying == "NSE:INFY"


@pytest.mark.parametrize(
    ("trades", "named"),
    [
        ([{**_CALL, "name": None}], "needs a `name`"),
        ([{**_CALL, "name": "NSE:CALL"}], "needs a `name`"),
        ([_CALL, _CALL], "CALL is listed twice"),
        ([{**_CALL, "strike": "24000"}], "contracts.CALL.strike"),
        ([{**_CALL, "right": None}], "contracts.CALL: Value error, an option needs"),
        ([{**_CALL, "strikes": "ATM"}], "contracts.CALL.strikes"),
        ([{**_CALL, "underlying": "NOPE"}], "CALL, whose underlying NSE:NOPE"),
        ([{**_CALL, "underlying": "TCS"}], "CALL, but the list of instruments has no CE of NSE:TCS"),
        ([{"name": "FUT", "underlying": "NIFTY", "kind": "future"}], "has no future of NSE:NIFTY 50"),
    ],
)
def test_a_wrong_contract_is_named(tmp_path, trades, named):
    with pytest.raises(BadInput, match=r"some\.yaml") as caught:
        load_with_chain(tmp_path, trades=trades)

    assert named in str(caught.value)


def test_contracts_are_written_into_trades_alone(tmp_path):
    with pytest.raises(BadInput, match="into `trades`"):
        load_with_chain(tmp_path, contracts={"CALL": {}})


@pytest.mark.parametrize("change", [{"strike": "ATM+2"}, {"expiry": "next"}, {"roll_days": 2}, {"name": "OTHER"}])
def test_what_a_contract_means_is_part_of_the_version(change):
    assert version(trades=[_CALL | change]) != version(trades=[_CALL])


def test_the_spelling_of_an_underlying_is_no_part_of_the_version():
    assert version(trades=[_CALL | {"underlying": "NSE:NIFTY 50"}]) == version(trades=[_CALL])


@pytest.mark.parametrize("name", ["momentum", "mean_reversion"])
def test_the_strategies_of_the_package_refuse_contracts_by_name(tmp_path, name):
    [config] = load_with_chain(tmp_path, strategy=name, trades=["NSE:INFY", _CALL], params={})

    with pytest.raises(BadInput, match="trades shares alone, found CALL"):
        build(config)


def test_what_strategies_need_is_told_whether_it_is_listed_or_not(tmp_path):
    write(tmp_path, "some.yaml", form(trades=["NSE:NOPE", _CALL]))

    assert needed_instruments(tmp_path) == {"NSE:NOPE", "NSE:NIFTY 50"}
