"""The file of PANDA_LIMITS: it adds to what the strategies' own files say, and a wrong entry is named."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path

import pytest

from panda_streams.brokers.port import registered_brokers
from panda_streams.domain.risk.limits import Limits, LimitSet, OrderLimits, TotalLimits
from panda_streams.domain.risk.modes import Mode
from panda_streams.errors import BadInput
from panda_streams.instrument_files import load_instruments
from panda_streams.limit_files import check_override, load_limits, read_limits, schema
from strategies.config import load_strategies

INSTRUMENTS, BROKERS = load_instruments(), registered_brokers()
STRATEGIES = load_strategies(None, INSTRUMENTS, BROKERS)
MOMENTUM = "Momentum_NIFTY_1"
_DOCS = Path(__file__).parents[2] / "docs"


def load(path: Path | None) -> dict[str, LimitSet]:
    return load_limits(path, STRATEGIES, INSTRUMENTS, BROKERS)


def a_file(directory: Path, text: str) -> Path:
    path = directory / "limits.yaml"
    path.write_text(text)
    return path


def test_without_a_file_the_strategies_own_limits_are_in_force():
    limits = load(None)

    assert set(limits) == set(BROKERS)
    assert limits["paper"].of(f"strategy:{MOMENTUM}") == Limits(max_position=1000, max_quote_age_s=Decimal(60))
    assert limits["zerodha"].of(f"strategy:{MOMENTUM}").max_position == 1000
    assert limits["paper"].account == Limits()


def test_the_example_of_the_docs_is_in_force_as_it_is_explained(tmp_path):
    [example] = re.findall(r"^```yaml\n(.*?)^```", (_DOCS / "risk.md").read_text(), re.DOTALL | re.MULTILINE)

    limits = load(a_file(tmp_path, example))["paper"]

    assert limits.resolve(MOMENTUM, "NSE:INFY").order.max_order_notional == 100_000
    assert limits.resolve("another", "NSE:INFY").order.max_order_notional == 500_000
    assert limits.of(f"strategy:{MOMENTUM}").max_daily_loss == 10_000
    assert limits.of(f"strategy:{MOMENTUM}").after_breach is Mode.REDUCING
    assert (limits.account.max_daily_loss, limits.account.after_breach) == (25_000, Mode.HALTED)


@pytest.mark.parametrize(("of_the_file", "in_force"), [(400, 400), (4000, 1000)])
def test_the_tighter_of_both_files_counts(tmp_path, of_the_file, in_force):
    path = a_file(tmp_path, f"paper: {{strategies: {{{MOMENTUM}: {{max_position: {of_the_file}}}}}}}")

    assert load(path)["paper"].of(f"strategy:{MOMENTUM}").max_position == in_force


def test_numbers_are_exact(tmp_path):
    path = a_file(tmp_path, "paper: {account: {max_daily_loss: 12345678901234567.89, price_collar: 0.1}}")

    account = read_limits(path, STRATEGIES, INSTRUMENTS, BROKERS)["paper"].account

    assert (account.max_daily_loss, account.price_collar) == (Decimal("12345678901234567.89"), Decimal("0.1"))


@pytest.mark.parametrize("text", ["", "# none yet", "paper:", "paper:\n  account:\n", "paper: {account: {shrink: }}"])
def test_what_is_empty_sets_nothing(tmp_path, text):
    assert load(a_file(tmp_path, text)) == load(None)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("papier: {}", "papier: there is no broker papier, only paper, zerodha"),
        ("paper: {strategies: {Mine: {}}}", "paper.strategies.Mine: there is no strategy Mine, only "),
        ("paper: {instruments: {NSE:NOPE: {}}}", "there is no instrument NSE:NOPE"),
        ("paper: {instruments: {NSE:NIFTY 50: {}}}", "NSE:NIFTY 50 is an index"),
        ("paper: {account: {max_losses: 1}}", "paper.account.max_losses: there is no such entry"),
        ("paper: {accounts: {}}", "paper.accounts: there is no such entry"),
        ("paper: {account: {max_position: 5 lots}}", "paper.account.max_position: Input should be a valid integer"),
        ("paper: {account: {max_daily_loss: .inf}}", "paper.account.max_daily_loss"),
        ("paper: {instruments: {NSE:INFY: {max_daily_loss: 5}}}", "instrument:NSE:INFY cannot have max_daily_loss"),
        ("paper: {account: {max_position: 5, max_position: 6}}", "max_position is there twice"),
        ("- paper", "the whole file"),
        ("paper: {", "YAML"),
    ],
)
def test_a_wrong_file_is_named_with_entry_and_fix(tmp_path, text, named):
    path = a_file(tmp_path, text)

    with pytest.raises(BadInput) as caught:
        load(path)

    assert str(path) in str(caught.value)
    assert named in str(caught.value)
    assert caught.value.fix


def test_a_missing_file_is_named_with_its_setting(tmp_path):
    with pytest.raises(BadInput, match=r"nowhere\.yaml: No such file") as caught:
        load(tmp_path / "nowhere.yaml")

    assert "PANDA_LIMITS" in caught.value.fix


@pytest.mark.parametrize(
    ("key", "named"),
    [
        ("strategy:Mine/max_position", f"there is no strategy Mine, only {MOMENTUM}"),
        ("instrument:NSE:NOPE/max_position", "there is no instrument NSE:NOPE"),
        ("instrument:NSE:NIFTY 50/max_position", "is an index"),
    ],
)
def test_an_override_for_what_there_is_not_is_refused(key, named):
    with pytest.raises(ValueError, match=named):
        check_override(key, "5", [MOMENTUM], INSTRUMENTS)


@pytest.mark.parametrize("level", ["account", f"strategy:{MOMENTUM}", "instrument:NSE:INFY"])
def test_an_override_for_what_there_is_passes(level):
    check_override(f"{level}/max_position", "5", [MOMENTUM], INSTRUMENTS)


def test_the_schema_explains_every_limit_and_allows_no_other():
    found = json.loads(schema())["$defs"]["Limits"]

    assert set(found["properties"]) == {*OrderLimits.model_fields, *TotalLimits.model_fields}
    assert all(limit["description"] for limit in found["properties"].values())
    assert found["additionalProperties"] is False
