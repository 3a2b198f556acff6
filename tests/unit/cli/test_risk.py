"""`panda risk`: limits in force with their origin, and setting them: what cannot be is refused and not written."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from panda_streams.cli import operators, panda
from panda_streams.cli import risk as risk_commands
from panda_streams.codec import decode
from panda_streams.errors import PandaError, SettingsError
from panda_streams.events import Level
from panda_streams.identity import Clock, World
from panda_streams.servers import Servers

MOMENTUM = "strategy:Momentum_NIFTY_1"


class ControlTopic:
    """A compacted topic in memory, in the place of Kafka's."""

    def __init__(self) -> None:
        self.name = ""
        self.levels: dict[bytes, bytes] = {}

    async def publish(self, options: dict[str, Any], topic: str, key: bytes, value: bytes) -> int:
        self.name, self.levels[key] = topic, value
        return len(self.levels) - 1

    async def read(self, options: dict[str, Any], topic: str) -> dict[bytes, bytes]:
        return self.levels if topic == self.name else {}


@pytest.fixture(autouse=True)
def topic(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ControlTopic:
    made = ControlTopic()

    async def enter(*_: Any) -> None:
        return None

    for name in [name for name in os.environ if name.startswith("PANDA_") and name != "PANDA_SHARED_DATA"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PANDA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(operators, "publish_level", made.publish)
    monkeypatch.setattr(operators, "read_levels", made.read)
    monkeypatch.setattr(operators, "enter", enter)
    servers = Servers(World("sim"), "127.0.0.1:1", "redis://127.0.0.1:1/0", "", Clock.REPLAY)
    monkeypatch.setattr(risk_commands, "find_servers", lambda settings: servers)
    return made


@pytest.fixture
def limits_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    path = tmp_path / "limits.yaml"
    path.write_text(
        """
paper:
  account: {max_order_notional: 100000, max_daily_loss: 25000}
  strategies: {Momentum_NIFTY_1: {max_order_notional: 300000}}
  instruments: {NSE:INFY: {max_order_quantity: 50}}
"""
    )
    monkeypatch.setenv("PANDA_LIMITS", str(path))
    return path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(panda, ["risk", *arguments], catch_exceptions=False)


def told(*arguments: str) -> dict[tuple[str, str], dict[str, Any]]:
    rows = json.loads(run("limits", "paper", *arguments, "--json").stdout)["limits"]
    return {(row["level"], row["limit"]): row for row in rows}


def test_every_level_shows_what_judges_its_orders_and_where_it_comes_from(limits_file):
    rows = told()

    assert rows[MOMENTUM, "max_order_notional"] == {
        "level": MOMENTUM,
        "judges": "an order",
        "limit": "max_order_notional",
        "value": "100000",
        "source": "account",
        "origin": str(limits_file),
        "set_by": None,
    }
    assert rows[MOMENTUM, "max_position"]["origin"] == "file of the strategy Momentum_NIFTY_1"
    assert rows["instrument:NSE:INFY", "max_order_quantity"]["source"] == "instrument:NSE:INFY"


def test_asked_for_an_order_it_shows_all_that_judges_it(limits_file):
    rows = told("--strategy", "Momentum_NIFTY_1", "--instrument", "NSE:INFY")

    assert set(rows) == {
        ("account", "max_order_notional"),
        ("account", "max_daily_loss"),
        (MOMENTUM, "max_quote_age_s"),
        (MOMENTUM, "max_position"),
        ("instrument:NSE:INFY", "max_order_quantity"),
    }


def test_what_is_set_at_run_time_is_shown_with_who_and_why(limits_file, topic):
    run("set", "paper", "account/max_daily_loss", "1.5e4", "--reason", "a nervous [day]")

    row = told()["account", "max_daily_loss"]
    [level] = [decode(Level, value) for value in topic.levels.values()]

    assert topic.name == "paper.control"
    assert (row["value"], row["set_by"]) == (
        "15000",
        {"who": level.who, "at": level.at, "reason": "a nervous [day]"},
    )
    assert "a nervous [day]" in run("limits", "paper").stdout
    assert told("--files")["account", "max_daily_loss"]["value"] == "25000"


def test_a_limit_that_is_taken_away_is_shown_as_none():
    run("set", "paper", f"{MOMENTUM}/max_position", "none", "--reason", "winding down")

    assert told()[MOMENTUM, "max_position"]["value"] == "none"


def test_unset_puts_the_files_back_in_force(limits_file):
    run("set", "paper", "account/max_daily_loss", "9", "--reason", "x")

    result = run("unset", "paper", "account/max_daily_loss", "--reason", "calm again")

    assert "account/max_daily_loss is 25000" in result.stdout
    assert told()["account", "max_daily_loss"] == told("--files")["account", "max_daily_loss"]


def test_unset_of_what_is_not_set_names_what_is():
    run("set", "paper", "account/max_slices", "2", "--reason", "x")

    with pytest.raises(PandaError) as caught:
        run("unset", "paper", "account/max_daily_loss", "--reason", "x")

    assert "account/max_slices" in caught.value.fix


@pytest.mark.parametrize(
    ("namespace", "key", "value", "named"),
    [
        ("papier", "account/max_slices", "2", "papier"),
        ("paper", "max_slices", "2", "account/LIMIT"),
        ("paper", "account/max_slice", "2", "max_slices"),
        ("paper", "account/max_slices", "0", "greater than or equal to 1"),
        ("paper", "strategy:Mine/max_slices", "2", "there is no strategy Mine"),
        ("paper", "instrument:NSE:NOPE/max_slices", "2", "there is no instrument NSE:NOPE"),
        ("paper", "instrument:NSE:INFY/max_drawdown", "2", "only the account and strategies"),
    ],
)
def test_what_cannot_be_set_is_refused_and_not_written(topic, namespace, key, value, named):
    with pytest.raises(SettingsError) as caught:
        run("set", namespace, key, value, "--reason", "x")

    assert named in str(caught.value)
    assert topic.levels == {}


@pytest.mark.parametrize(("option", "name"), [("--strategy", "Mine"), ("--instrument", "NSE:NOPE")])
def test_limits_of_what_there_is_not_are_an_error(option, name):
    with pytest.raises(SettingsError, match=name):
        run("limits", "paper", option, name)


def test_the_schema_is_json():
    assert json.loads(run("schema").stdout)["type"] == "object"
