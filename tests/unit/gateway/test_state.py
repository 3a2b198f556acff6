from __future__ import annotations

from decimal import Decimal

import pytest

from panda_streams.domain.orders import UNATTRIBUTED
from panda_streams.gateway.state import Raw
from panda_streams.gateway.views import ArmState, State
from tests.unit.gateway import records
from tests.unit.gateway.records import EVENT, INFY, NOW, arm, book, health, position, processes, raw, risk, stop


def of_paper(found: State) -> tuple[bool, bool]:
    """Whether paper's book and its position are stale."""
    (only,) = found.portfolios["paper"]
    return only.stale, only.positions[0].stale


def test_a_summary_adds_up_exactly() -> None:
    other = book("R", cash="0.000000000000000001", equity="1", unrealised="0", positions=0)
    found = records.state(raw(arms={"paper": arm(portfolios={"M": book(), "R": other})}))

    total = found.summaries["paper"]

    assert total.cash == Decimal("850000.100000000000000001")
    assert total.charges == Decimal("150.000000000000000002")
    assert (total.strategies, total.open_positions, total.fills, total.currency) == (2, 1, 6, "INR")


def test_what_is_nobodys_is_in_no_summary() -> None:
    found = {"M": book(), UNATTRIBUTED: book(UNATTRIBUTED, cash="-5000000")}

    total = records.state(raw(arms={"paper": arm(portfolios=found)})).summaries["paper"]

    assert (total.cash, total.strategies) == (Decimal("850000.10"), 1)


def test_two_currencies_are_never_added_up() -> None:
    books = {"M": book(), "R": book("R", currency="USD")}

    total = records.state(raw(arms={"paper": arm(portfolios=books)})).summaries["paper"]

    assert (total.cash, total.equity) == (None, None)
    assert "INR, USD" in total.reason


def test_a_total_with_an_unknown_part_is_unknown_and_says_why() -> None:
    books = {"M": book(), "R": book("R", unrealised=None, equity=None)}

    total = records.state(raw(arms={"paper": arm(portfolios=books)})).summaries["paper"]

    assert (total.equity, total.unrealised) == (None, None)
    assert total.cash == Decimal("1700000.20")
    assert "no last price" in total.reason


def test_paper_and_live_have_a_summary_each() -> None:
    live = arm(portfolios={"M": book(namespace="zerodha", cash="5", simulated=False)}, positions={})

    found = records.state(raw(arms={"paper": arm(), "zerodha": live}))

    assert found.summaries["paper"].cash == Decimal("850000.10")
    assert found.summaries["zerodha"].cash == Decimal(5)


def test_a_listed_broker_without_an_arm_is_shown_as_exactly_that() -> None:
    view = records.state().namespace("zerodha")

    assert view is not None
    assert (view.arm, view.live, view.trader, view.mode, view.ready) == (ArmState.NONE, True, False, None, False)
    assert view.signals_waiting == 37
    assert view.strategies == ("M", "R")
    assert "no trader" in view.reason


@pytest.mark.parametrize(("handled", "waiting"), [(40, 5), (45, 0), (50, 0)])
def test_signals_waiting_are_those_sent_and_not_handled(handled: int, waiting: int) -> None:
    view = records.state(raw(arms={"paper": arm(risk=risk(signals=handled))})).namespace("paper")

    assert view is not None
    assert view.signals_waiting == waiting


def test_an_uncounted_number_is_not_zero() -> None:
    found = records.state(Raw(stamp=raw().stamp))

    assert [view.namespace for view in found.namespaces] == ["paper", "zerodha"]
    assert [view.signals_waiting for view in found.namespaces] == [None, None]
    assert found.summaries["paper"].cash is None
    assert found.summaries["paper"].reason == "no arm has run"


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        (health("arm", "paper"), ArmState.RUNNING),
        (health("arm", "paper", ready=False, state="recovering"), ArmState.RUNNING),
        (health("arm", "paper", at=NOW - 10_001), ArmState.STOPPED),
        (health("arm", "paper", state="stopped"), ArmState.STOPPED),
    ],
)
def test_an_arm_runs_as_long_as_it_reports(report: str, expected: ArmState) -> None:
    view = records.state(raw(health=processes(**{"paper:health:0": report}))).namespace("paper")

    assert view is not None
    assert view.arm is expected


def test_a_broker_that_only_a_strategy_names_is_shown() -> None:
    found = records.state(raw(strategies=records.strategies("M", brokers=("paper", "fyers"))))

    view = found.namespace("fyers")

    assert view is not None
    assert (view.currency, view.arm) == (None, ArmState.NONE)


def test_a_book_without_a_position_is_as_young_as_its_arm() -> None:
    quiet = arm(portfolios={"M": book(positions=0, at=NOW - 3_600_000)}, positions={})

    (only,) = records.state(raw(arms={"paper": quiet})).portfolios["paper"]

    assert (only.at, only.stale) == (NOW - 500, False)


def test_a_number_that_stands_still_while_the_market_goes_on_is_stale() -> None:
    late = arm(
        portfolios={"M": book(at=NOW - 11_000, time=EVENT - 11_000)},
        positions={"M": {INFY: position(at=NOW - 11_000, time=EVENT - 11_000)}},
    )

    assert of_paper(records.state(raw(arms={"paper": late}))) == (True, True)


@pytest.mark.parametrize("feed", [health("feed", state="finished"), health("feed", at=NOW - 60_000)])
def test_nothing_is_stale_once_the_feed_has_ended(feed: str) -> None:
    late = arm(
        portfolios={"M": book(at=NOW - 11_000, time=EVENT - 11_000)},
        positions={"M": {INFY: position(at=NOW - 11_000, time=EVENT - 11_000)}},
    )

    found = records.state(raw(arms={"paper": late}, health=processes(**{"feed:health:0": feed})))

    assert of_paper(found) == (False, False)


def test_the_numbers_of_a_silent_arm_are_stale() -> None:
    old = arm(portfolios={"M": book(at=NOW - 60_000)}, positions={"M": {INFY: position(quantity=0, at=NOW - 60_000)}})
    silent = processes(**{"paper:health:0": health("arm", "paper", at=NOW - 60_000)})

    assert of_paper(records.state(raw(arms={"paper": old}, health=silent))) == (True, True)


@pytest.mark.parametrize(
    ("broken", "named"),
    [
        ({"arms": {"paper": arm(portfolios={"M": "{"})}}, "paper:portfolio:M"),
        ({"arms": {"paper": arm(portfolios={"M": book(cash=850000.1)})}}, "never a float"),
        ({"arms": {"paper": arm(portfolios={"M": book(world="live")})}}, "belongs to the world live"),
        ({"arms": {"paper": arm(portfolios={"M": book(namespace="zerodha")})}}, "holds a book of zerodha"),
        ({"arms": {"paper": arm(risk="[]")}}, "paper:risk"),
        ({"strategies": "nonsense"}, "brain:strategies"),
        ({"health": processes(**{"brain:health:0": health("brain", world="live")})}, "brain:health:0"),
    ],
)
def test_a_record_that_cannot_be_shown_is_absent_and_named(broken: dict[str, object], named: str) -> None:
    found = records.state(raw(**broken))

    assert len(found.problems) == 1
    assert named in found.problems[0]
    assert found.foreign_stamp is None


def test_a_field_of_a_newer_version_does_no_harm() -> None:
    found = records.state(raw(arms={"paper": arm(portfolios={"M": book(margin="12")})}))

    assert found.problems == ()
    assert len(found.portfolios["paper"]) == 1


def test_another_worlds_stamp_is_found() -> None:
    found = records.state(raw(stamp='{"world": "live"}'))

    assert found.foreign_stamp is not None
    assert "live" in found.foreign_stamp


@pytest.mark.parametrize(
    ("world", "note"), [("sim", "Simulated market"), ("replay:june", "Replay of june"), ("live", None)]
)
def test_a_world_that_is_not_real_says_so(world: str, note: str | None) -> None:
    found = records.state(world=world)

    assert (found.world_note, found.simulated) == (note, note is not None)


def test_a_book_shows_its_gains_and_bookings_and_a_position_its_lots() -> None:
    gain = {"proceeds": "110.10", "cost": "100", "profit": "10.10", "charges": "0.5"}
    shown = book(bookings=2, bookings_waiting=1, gains={"2025-26": {"SHORT": gain}})
    held = position(product="CNC", lots=3, oldest_lot="2026-01-05")
    paper = arm(portfolios={"M": shown}, positions={"M": {INFY: held}})

    (only,) = records.state(raw(arms={"paper": paper})).portfolios["paper"]

    assert (only.bookings, only.bookings_waiting) == (2, 1)
    assert only.gains["2025-26"]["SHORT"].profit == Decimal("10.10")
    assert (only.positions[0].product, only.positions[0].lots, only.positions[0].oldest_lot) == ("CNC", 3, "2026-01-05")


def test_the_mode_in_force_and_what_operators_have_set_are_told_apart() -> None:
    stopped = risk(mode="HALTED", stops=[stop()])
    reducing = processes(**{"paper:health:0": health("arm", "paper", mode="REDUCING")})

    view = records.state(raw(arms={"paper": arm(risk=stopped)}, health=reducing)).namespace("paper")

    assert view is not None
    assert (view.mode, view.operators_mode) == ("HALTED", "REDUCING")


def test_an_arm_that_has_said_nothing_of_its_account_has_the_mode_of_its_health() -> None:
    halted = processes(**{"paper:health:0": health("arm", "paper", mode="HALTED_HARD")})

    view = records.state(raw(arms={"paper": arm(risk=None)}, health=halted)).namespace("paper")

    assert view is not None
    assert (view.mode, view.stops, view.day) == ("HALTED_HARD", (), None)


@pytest.mark.parametrize(
    ("reason", "level", "fix", "chosen"),
    [
        ("DAILY_LOSS", "account", "account/max_daily_loss", False),
        ("DRAWDOWN", "strategy:M", "strategy:M/max_drawdown", False),
        ("FEED_STALE", "account", "ticks", False),
        ("FLATTENED", "account", "", True),
        ("A_REASON_OF_A_NEWER_VERSION", "account", "", False),
    ],
)
def test_a_stop_says_what_to_do_and_whether_an_operator_wanted_it(
    reason: str, level: str, fix: str, chosen: bool
) -> None:
    found = records.state(raw(arms={"paper": arm(risk=risk(stops=[stop(reason=reason, level=level)]))}))

    assert found.problems == ()
    (only,) = found.namespaces[0].stops
    assert "panda resume paper" in only.fix
    assert fix in only.fix
    assert only.chosen is chosen


def test_what_an_older_arm_says_of_its_account_is_shown() -> None:
    fields = {"mode": "ACTIVE", "signals": 4, "validated": 3, "rejected": 1, "time": None, "at": NOW}
    old = {"signal_id": "s", "strategy_id": "M", "instrument": INFY, "codes": ["ARM_HALTED"], "time": EVENT}

    found = records.state(raw(arms={"paper": arm(risk=records.text(fields, recent_refusals=[old]))}))

    view = found.namespaces[0]
    assert found.problems == ()
    assert (view.signals, view.stops, view.day, view.recent_refusals[0].findings) == (4, (), None, ())
