"""What execution tells risk beside its orders, prices and silence, and how it flattens a shard."""

from __future__ import annotations

from decimal import Decimal

import pytest

from panda_streams.codec import encode
from panda_streams.domain.orders import OrderState, Role
from panda_streams.domain.risk.limits import Limits, LimitSet
from panda_streams.domain.signals import OrderType, Side
from panda_streams.events import Flatten
from tests.unit.agents.execution_arm import SECOND, Arm, a_validated, beat, log_of, played, ticks_log
from tests.unit.bench import Killed
from tests.unit.builders import INFY, T0, a_beat, a_tick

STALE = LimitSet(account=Limits(feed_stale_s=Decimal(30)))
CLOSE = 375 * 60
"""Seconds after the opening."""


def holding(log: list[bytes], *, limits: LimitSet | None = None) -> Arm:
    """An arm that has bought INFY by its first two records."""
    arm = Arm(log, limits=limits)
    arm.tick(0)
    arm.order(a_validated(0))
    arm.tick(1)
    return arm


# Prices


def test_prices_of_what_is_held_are_said_at_the_beats_at_which_they_have_changed() -> None:
    arm = holding(ticks_log([140_000, 140_100, None, 140_100, None, 140_200, 140_300, None]))

    for offset in range(2, 8):
        arm.tick(offset)

    assert [((said.time - T0) // SECOND, said.prices) for said in arm.prices()] == [
        (2, {INFY: Decimal("1401.00")}),
        (7, {INFY: Decimal("1403.00")}),
    ]


def test_prices_that_were_said_are_not_said_anew_after_a_restart() -> None:
    arm = holding(ticks_log([140_000, 140_100, None, None]))
    arm.tick(2)
    arm.bench.restart()

    arm.tick(3)

    assert {said.sequence for said in arm.prices()} == {2}


def test_what_is_bought_again_at_the_same_price_is_said_again() -> None:
    arm = holding(ticks_log([140_000, 140_000, None, 140_000, None, 140_000, None]))
    arm.tick(2)
    arm.order(a_validated(1, 1, side=Side.SELL, role=Role.EXIT), offset=1)
    arm.tick(3)
    arm.tick(4)
    arm.order(a_validated(3, 2), offset=2)

    arm.tick(5)
    arm.tick(6)

    assert [(said.time - T0) // SECOND for said in arm.prices()] == [2, 6]


# Silence


def test_a_shard_without_ticks_is_silent_beyond_the_limit_and_says_so_once() -> None:
    arm = Arm(log_of((0, a_tick()), 30, 31, 32, (33, a_tick()), 34), limits=STALE)

    for offset in range(6):
        arm.tick(offset)

    assert [(said.silent, (said.since - T0) // SECOND, (said.time - T0) // SECOND) for said in arm.silences()] == [
        (True, 0, 31),
        (False, 33, 34),
    ]


def test_silence_counts_from_the_opening_and_ends_with_the_close() -> None:
    arm = Arm(log_of((-600, a_tick()), -1, 30, 31, CLOSE - 1, CLOSE, CLOSE + 600), limits=STALE)

    for offset in range(7):
        arm.tick(offset)

    assert [(said.silent, (said.time - T0) // SECOND) for said in arm.silences()] == [(True, 31), (False, CLOSE)]


@pytest.mark.parametrize("point", ["write", "send"])
def test_a_kill_neither_loses_nor_doubles_the_news_of_silence(point: str) -> None:
    arm = Arm(log_of((0, a_tick()), 31, 32), limits=STALE)
    arm.tick(0)
    arm.bench.kill_at = point
    with pytest.raises(Killed):
        arm.tick(1)

    arm.bench.restart()
    arm.tick(2)

    assert {(said.silent, said.sequence) for said in arm.silences()} == {(True, 0)}


def test_without_a_limit_nobody_is_silent() -> None:
    arm = Arm(log_of((0, a_tick()), 3600))

    for offset in (0, 1):
        arm.tick(offset)

    assert arm.silences() == []


# Flattening


def a_flattening(sequence: int = 1, *, second: int = 1) -> bytes:
    return encode(
        Flatten(
            world="sim",
            namespace="paper",
            action_id="a1",
            time=T0 + second * SECOND,
            producer="risk",
            sequence=sequence,
        )
    )


def test_flattening_ends_orders_and_closes_positions_at_the_market() -> None:
    arm = holding(ticks_log([140_000, 140_100, 140_200]))
    arm.order(a_validated(1, 1, order_type=OrderType.LIMIT, price="1300"), offset=1)

    arm.say(2, a_flattening(sequence=2))
    arm.tick(2)

    assert [(u.role, u.state, u.reason) for u in arm.updates()][3:] == [
        (Role.ENTRY, OrderState.CANCELLED, "FLATTENED"),
        (Role.FLATTEN, OrderState.WORKING, None),
        (Role.FLATTEN, OrderState.FILLED, None),
    ]
    assert arm.updates()[-1].side is Side.SELL
    assert arm.marks() == []


def test_a_tick_that_was_handled_before_the_command_does_not_fill_it() -> None:
    arm = holding(ticks_log([140_000, 140_100, 140_200, 140_300]))
    arm.tick(2)

    arm.say(1, a_flattening(second=0))
    before = len(arm.updates())
    arm.tick(3)

    assert before == 3
    assert arm.fills()[-1][0] == 3


def test_a_command_that_is_said_again_flattens_once() -> None:
    arm = holding(ticks_log([140_000, 140_100, 140_200]))

    arm.say(1, a_flattening())
    arm.say(2, a_flattening())
    arm.tick(2)

    assert [u.role for u in arm.updates()][2:] == [Role.FLATTEN, Role.FLATTEN]


def test_flattening_nothing_says_nothing() -> None:
    arm = Arm(ticks_log([140_000]))
    arm.tick(0)

    arm.say(0, a_flattening())

    assert arm.updates() == []


@pytest.mark.parametrize("ordered", [True, False])
def test_a_kill_while_a_shard_is_flattened_says_the_same_as_without(ordered: bool) -> None:
    log = [*ticks_log([140_000, 140_100, 140_200, 140_300]), beat(4, end=True)]
    bracket = a_validated(0, target="1500", stop="1300")
    risk = [
        encode(bracket),
        encode(a_beat("risk", T0 + SECOND)),
        a_flattening(second=2),
        encode(a_beat("risk", T0 + 99 * SECOND)),
    ]
    moves = ["tick", "order", "order", "tick", "order", "order", "tick", "tick", "tick"]
    undisturbed = played(Arm(log, ordered=ordered), list(enumerate(risk)), moves)
    assert [(u.role, u.state) for u in undisturbed if u.state.terminal] == [
        (Role.ENTRY, OrderState.FILLED),
        (Role.TARGET, OrderState.CANCELLED),
        (Role.STOP, OrderState.CANCELLED),
        (Role.FLATTEN, OrderState.FILLED),
    ]

    for point in ("kill at write", "kill at send"):
        for place in range(len(moves)):
            disturbed = [*moves[:place], point, *moves[place:]]
            assert played(Arm(log, ordered=ordered), list(enumerate(risk)), disturbed) == undisturbed
