"""`panda paper`: what is asked of the arm, what is refused before it is asked, and what people read of orders."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result

from panda_streams.cli import operators, panda
from panda_streams.cli import paper as command
from panda_streams.domain.corporate_actions import Ratio
from panda_streams.domain.orders import Product
from panda_streams.domain.signals import Intent
from panda_streams.errors import PandaError
from panda_streams.events import Action, ActionKind, Completed
from panda_streams.explain import Explanation, Line, Part
from panda_streams.identity import Clock, World
from panda_streams.keys import Keys
from panda_streams.servers import Servers
from tests.conftest import RedisServer
from tests.unit.builders import INFY, T0
from tests.unit.story import Story, moments_of

STRATEGY = """
strategy_id: Mine
strategy: momentum
watches: ["NSE:NIFTY 50"]
trades: [NSE:INFY]
brokers: [paper]
accounts:
  paper: {capital: "500000", share_of_capital: "0.1", max_position: 100}
"""


class Arm:
    """Answers what it is asked with `done` and `detail`; not at all while `answers` is False."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Action]] = []
        self.answers, self.done, self.detail = True, True, "Mine now has 1 in cash"

    async def __call__(
        self, options: dict[str, Any], topic: str, partition: int, action: Action, within_s: float
    ) -> Completed | None:
        self.asked.append((topic, action))
        answer = Completed(
            world="sim",
            namespace="paper",
            action_id=action.action_id,
            done=self.done,
            detail=self.detail,
            time=0,
            producer="risk",
            sequence=0,
        )
        return answer if self.answers else None


@pytest.fixture
def arm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Arm:
    (tmp_path / "mine.yaml").write_text(STRATEGY)
    monkeypatch.setenv("PANDA_STRATEGIES", str(tmp_path))
    found, entered = Arm(), []

    async def enter(*arguments: Any) -> None:
        entered.append(arguments)

    monkeypatch.setattr(operators, "ask", found)
    monkeypatch.setattr(operators, "enter", enter)
    monkeypatch.setattr(command, "find_servers", lambda settings, **_: servers("redis://127.0.0.1:1/0"))
    return found


def servers(redis: str) -> Servers:
    return Servers(World("sim"), "127.0.0.1:1", redis, "", Clock.REPLAY)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(panda, ["paper", *arguments])


def test_a_deposit_is_asked_of_the_arm_and_its_answer_is_printed(arm: Arm) -> None:
    result = run("deposit", "Mine", "250000.50", "--reason", "more room")

    [(topic, action)] = arm.asked
    assert topic == "paper.audit"
    assert (action.what, action.strategy_id, action.amount) == (ActionKind.DEPOSIT, "Mine", Decimal("250000.50"))
    assert (action.world, action.namespace, action.reason) == ("sim", "paper", "more room")
    assert (result.exit_code, result.output) == (0, "Mine now has 1 in cash\n")


def test_the_same_command_twice_is_two_actions(arm: Arm) -> None:
    for _ in range(2):
        run("withdraw", "Mine", "100", "--reason", "less room")

    assert len({action.action_id for _, action in arm.asked}) == 2
    assert {action.what for _, action in arm.asked} == {ActionKind.WITHDRAW}


@pytest.mark.parametrize(("given", "capital"), [((), "500000"), (("--capital", "750000"), "750000")])
def test_a_reset_begins_with_the_configured_capital_or_the_given_one(
    arm: Arm, given: tuple[str, ...], capital: str
) -> None:
    run("reset", "Mine", *given, "--reason", "anew")

    [(_, action)] = arm.asked
    assert (action.what, action.amount) == (ActionKind.RESET, Decimal(capital))


def test_a_bonus_is_asked_for_with_its_ratio_and_price(arm: Arm) -> None:
    run("adjust", "bonus", INFY, "3:2", "--price", "1500", "--reason", "1 for 2")

    [(_, action)] = arm.asked
    assert (action.what, action.instrument, action.ratio) == (ActionKind.BONUS, INFY, Ratio(new=3, old=2))
    assert action.price == Decimal(1500)


def test_a_refusal_is_an_error_with_what_the_arm_says(arm: Arm) -> None:
    arm.done, arm.detail = False, "Mine still has 7 NSE:INFY: pause it and close them first"

    result = run("reset", "Mine", "--reason", "anew")

    assert result.exit_code == 1
    assert isinstance(result.exception, PandaError)
    assert "7 NSE:INFY" in str(result.exception)


def test_without_an_answer_it_is_said_that_the_action_will_be_done_once(arm: Arm) -> None:
    arm.answers = False

    result = run("deposit", "Mine", "1", "--reason", "r")

    assert isinstance(result.exception, PandaError)
    assert "do not repeat it" in str(result.exception)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("deposit", "Mine", "0"), "more than 0"),
        (("deposit", "Mine", "NaN"), "more than 0"),
        (("withdraw", "Mine", "ten"), "no amount"),
        (("deposit", "Mine", "1.005"), "at most two decimals"),
        (("deposit", "Nobody", "1"), "use one of Mine"),
        (("adjust", "split", "NSE:NONE", "5:1", "--price", "1"), "NSE:NONE"),
        (("adjust", "split", INFY, "5", "--price", "1"), "as 5:1"),
        (("adjust", "split", INFY, "0:1", "--price", "1"), "as 5:1"),
        (("adjust", "split", INFY, "2:2", "--price", "1"), "gives no share more"),
        (("adjust", "bonus", INFY, "1:2", "--price", "1"), "3:2"),
    ],
)
def test_what_cannot_be_meant_is_never_asked(arm: Arm, arguments: tuple[str, ...], words: str) -> None:
    result = run(*arguments, "--reason", "r")

    assert result.exit_code != 0
    assert words in f"{result.output}{result.exception}"
    assert arm.asked == []


def test_a_strategy_without_an_account_at_paper_is_refused(arm: Arm, tmp_path: Path) -> None:
    text = STRATEGY.replace("brokers: [paper]", "brokers: [zerodha]\npaper: false").replace("paper: {", "zerodha: {")
    (tmp_path / "mine.yaml").write_text(text)

    result = run("deposit", "Mine", "1", "--reason", "r")

    assert "no account at paper" in str(result.exception)
    assert arm.asked == []


# Orders


def a_working_order(strategy_id: str, order_id: str) -> bytes:
    return orjson.dumps(
        {
            "order_id": order_id,
            "strategy_id": strategy_id,
            "instrument": INFY,
            "side": "BUY",
            "role": "ENTRY",
            "product": Product.MIS,
            "order_type": "LIMIT",
            "quantity": 10,
            "filled": 4,
            "state": "WORKING",
            "price": "1400.50",
            "trigger": None,
            "time": T0,
            "at": T0,
        }
    )


@pytest.fixture
def mirrored(arm: Arm, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two working orders in Redis, of two strategies, and an index entry whose order has gone."""
    monkeypatch.setattr(command, "find_servers", lambda settings, **_: servers(redis_server.url))
    keys = Keys("paper")
    with redis_server.client() as client:
        client.sadd(keys.orders, "aaaa", "bbbb", "gone")
        client.set(keys.order("aaaa"), a_working_order("Mine", "aaaa"))
        client.set(keys.order("bbbb"), a_working_order("Other", "bbbb"))


@pytest.mark.usefixtures("mirrored")
def test_working_orders_are_those_of_the_mirror() -> None:
    shown = json.loads(run("orders", "--json").output)["orders"]

    assert [(order["order_id"], order["filled"], order["price"]) for order in shown] == [
        ("aaaa", 4, "1400.50"),
        ("bbbb", 4, "1400.50"),
    ]


@pytest.mark.usefixtures("mirrored")
def test_the_table_of_orders_is_of_one_strategy_if_asked() -> None:
    output = run("orders", "--strategy", "Mine").output

    assert "ENTRY BUY 10 NSE:INFY LIMIT MIS" in output
    assert "limit 1400.50" in output
    assert "Other" not in output


@pytest.mark.usefixtures("arm")
def test_all_orders_are_those_of_the_log_the_newest_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story(moments_of([1400, 1401, 1402, 1403]))
    for number in range(3):
        story.say(number, Intent.ENTRY)
    story.run()

    async def updates(*_: Any) -> list[Any]:
        return [updates[-1] for updates in story.orders()]

    monkeypatch.setattr(command, "_all_orders", updates)

    shown = json.loads(run("orders", "--all", "--last", "2", "--json").output)["orders"]

    assert [order["order_id"] for order in shown] == [updates[0].order_id for updates in story.orders()[1:]]
    assert shown[0]["state"] == "FILLED"


@pytest.mark.usefixtures("mirrored")
def test_no_order_says_where_those_are_that_have_ended() -> None:
    assert "panda paper orders --all" in run("orders", "--strategy", "Nobody").output


# Explain


def explained(monkeypatch: pytest.MonkeyPatch, *, difference: str = "") -> None:
    line = Line(part=Part.FILL, time=T0, text="BUY 10 at 1401.15", details=("charges 5.97",))
    explanation = Explanation(order_id="aaaa", summary="FILLED", lines=(line,), missing=(), difference=difference)

    async def found(*_: Any) -> Explanation:
        return explanation

    monkeypatch.setattr(command, "_explained", found)


@pytest.mark.usefixtures("arm")
def test_an_explanation_is_a_line_a_step_in_indian_time(monkeypatch: pytest.MonkeyPatch) -> None:
    explained(monkeypatch)

    result = run("explain", "aaaa")

    assert "2021-06-08 09:15:00.000  BUY 10 at 1401.15" in result.output
    assert "computed again from the ticks: the same" in result.output
    assert result.exit_code == 0


@pytest.mark.usefixtures("arm")
def test_a_log_that_says_otherwise_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    explained(monkeypatch, difference="the log says 1401.15; computed again: 1401.20")

    result = run("explain", "aaaa", "--json")

    assert json.loads(result.output)["difference"].startswith("the log says")
    assert result.exit_code == 1
    assert "1401.20" in str(result.exception)


@pytest.mark.usefixtures("arm")
def test_what_is_no_id_is_refused() -> None:
    result = run("explain", "Momentum")

    assert "hexadecimal" in str(result.exception)
