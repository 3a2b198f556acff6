"""Contracts in the brain: fixed when they are entered, said by one shard, and exited as they were entered."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import orjson
import pytest

from panda_streams.codec import encode_batch
from panda_streams.domain.instruments import Instruments
from panda_streams.domain.signals import Decision, Intent, Side, Signal
from panda_streams.domain.ticks import Tick
from tests.unit.agents.fakes import INSTRUMENTS, TICKS, a_config
from tests.unit.agents.test_strategy import EverySecond, World
from tests.unit.bench import Killed
from tests.unit.builders import INFY, T0, a_batch, a_tick
from tests.unit.chains import NIFTY, a_chain

DAY = 86_400_000
JUNE_10, JUNE_17, JUNE_24 = date(2021, 6, 10), date(2021, 6, 17), date(2021, 6, 24)
"""T0 is the morning of 8 June 2021."""
LISTED = Instruments(
    [
        *INSTRUMENTS,
        *a_chain([JUNE_10, JUNE_17, JUNE_24], [15_600, 15_700, 15_800]),
        *a_chain([JUNE_24], [1_380, 1_400], underlying=INFY),
    ]
)
CALL = {"name": "CALL", "underlying": "NIFTY", "kind": "option", "right": "CE"}
ATM_15_700 = "NFO:NIFTY5021061015700CE"
ENTRY, EXIT = ("CALL", "ENTRY"), ("CALL", "EXIT")


class Scripted(EverySecond):
    """Decides as the parameter `script` says for the row of a tick of the underlying."""

    def step(self, state: Mapping[str, int], tick: Tick) -> tuple[Mapping[str, int], tuple[Decision, ...]]:
        wants = self.config.params["script"].get(tick.row, ())
        return state, tuple(
            Decision(
                instrument=name,
                side=Side.SELL if intent == "EXIT" else Side.BUY,
                intent=Intent(intent),
                size=Decimal(size[0] if size else 1),
            )
            for name, intent, *size in wants
        )


def brain(script: Mapping[int, Any], *contracts: Mapping[str, Any], shards: int = 1) -> World:
    config = a_config(trades=[dict(one) for one in contracts or (CALL,)], params={"script": script})
    return World(config, kind=Scripted, shards=shards, instruments=LISTED)


def tick(world: World, offset: int, price: int, *, day: int = 0, instrument: str = NIFTY, shard: int = 0) -> None:
    """A tick at `price` rupees, `day` days after 8 June."""
    seen = a_tick(price * 100, row=offset, time=T0 + offset + day * DAY, instrument=instrument)
    world.benches[shard].deliver(TICKS, offset, encode_batch(a_batch(seen, sequence=offset)))


def said(world: World) -> list[tuple[int, str, str]]:
    return [(signal.cause.row, signal.intent.value, signal.instrument) for signal in world.signals()]


def row(world: World) -> Any:
    return orjson.loads(world.benches[0].rows[b"0"])


def test_an_entry_is_for_what_the_contract_means_at_that_price_and_carries_its_quote() -> None:
    world = brain({1: [ENTRY]})
    tick(world, 0, 120, instrument=ATM_15_700)

    tick(world, 1, 15_720)

    (signal,) = world.signals()
    assert signal.instrument == ATM_15_700
    assert signal.quote is not None
    assert (signal.quote.price, signal.quote.tick.offset) == (Decimal(120), 0)


def test_an_entry_of_what_has_not_been_seen_to_trade_carries_no_quote() -> None:
    world = brain({1: [ENTRY]})

    tick(world, 1, 15_720)

    assert [(signal.instrument, signal.quote) for signal in world.signals()] == [(ATM_15_700, None)]


def test_an_exit_is_for_what_was_entered_wherever_the_price_has_gone() -> None:
    world = brain({0: [ENTRY], 1: [EXIT]})

    tick(world, 0, 15_700)
    tick(world, 1, 15_800)

    assert said(world) == [(0, "ENTRY", ATM_15_700), (1, "EXIT", ATM_15_700)]


def test_near_expiry_an_entry_rolls_over_and_an_exit_does_not() -> None:
    world = brain({0: [ENTRY], 1: [EXIT], 2: [ENTRY]})

    tick(world, 0, 15_700)
    tick(world, 1, 15_700, day=2)
    tick(world, 2, 15_700, day=2)

    assert said(world) == [
        (0, "ENTRY", ATM_15_700),
        (1, "EXIT", ATM_15_700),
        (2, "ENTRY", "NFO:NIFTY5021061715700CE"),
    ]


def test_an_exit_is_for_all_that_was_entered_since_the_exit_before_it() -> None:
    world = brain({0: [ENTRY], 1: [ENTRY], 2: [ENTRY], 3: [EXIT], 4: [ENTRY], 5: [EXIT]})

    for offset, price in enumerate((15_700, 15_800, 15_800, 15_700, 15_600, 15_700)):
        tick(world, offset, price)

    exits = [instrument for cause, _, instrument in said(world) if cause == 3]
    assert exits == [ATM_15_700, "NFO:NIFTY5021061015800CE"]
    assert said(world)[-1] == (5, "EXIT", "NFO:NIFTY5021061015600CE")
    assert len({signal.signal_id for signal in world.signals()}) == len(world.signals()) == 7
    sequences = [signal.sequence for signal in world.signals()]
    assert sequences == sorted(set(sequences))


def test_an_instrument_that_is_entered_again_is_kept_once() -> None:
    world = brain({0: [ENTRY], 1: [ENTRY]})

    tick(world, 0, 15_700)
    tick(world, 1, 15_700)

    assert row(world)["entered"]["Momentum"]["CALL"]["instruments"] == [ATM_15_700]


def test_the_trading_day_is_the_exchange_s_own() -> None:
    world = brain({0: [ENTRY]})
    after_midnight_in_mumbai = T0 + DAY + 15 * 3_600_000

    seen = a_tick(1_570_000, row=0, time=after_midnight_in_mumbai, instrument=NIFTY)
    world.benches[0].deliver(TICKS, 0, encode_batch(a_batch(seen)))

    assert said(world) == [(0, "ENTRY", "NFO:NIFTY5021061715700CE")]


def test_an_exit_that_is_said_again_is_for_the_same() -> None:
    world = brain({0: [ENTRY], 1: [EXIT], 2: [EXIT]})

    for offset in range(3):
        tick(world, offset, 15_700)

    assert said(world)[1:] == [(1, "EXIT", ATM_15_700), (2, "EXIT", ATM_15_700)]


def test_a_target_keeps_to_what_was_entered_until_it_is_flat() -> None:
    flat = ("CALL", "TARGET", 0)
    world = brain({0: [("CALL", "TARGET", 1)], 1: [("CALL", "TARGET", 2)], 2: [flat], 3: [("CALL", "TARGET", 1)]})

    for offset, price in enumerate((15_700, 15_800, 15_800, 15_800)):
        tick(world, offset, price)

    assert [instrument for _, _, instrument in said(world)] == [ATM_15_700] * 3 + ["NFO:NIFTY5021061015800CE"]


@pytest.mark.parametrize("intent", ["MODIFY", "CANCEL"])
def test_orders_are_changed_where_they_were_entered_and_nothing_is_closed_by_it(intent: str) -> None:
    world = brain({0: [ENTRY], 1: [("CALL", intent)], 2: [ENTRY], 3: [EXIT]})

    for offset, price in enumerate((15_700, 15_800, 15_800, 15_600)):
        tick(world, offset, price)

    about = [(cause, instrument) for cause, _, instrument in said(world) if cause in (1, 3)]
    assert about == [(1, ATM_15_700), (3, ATM_15_700), (3, "NFO:NIFTY5021061015800CE")]


def test_what_has_expired_is_not_exited() -> None:
    world = brain({0: [ENTRY], 1: [EXIT]})

    tick(world, 0, 15_700)
    tick(world, 1, 15_700, day=3)

    assert said(world) == [(0, "ENTRY", ATM_15_700)]


def test_what_was_entered_survives_a_restart() -> None:
    world = brain({0: [ENTRY], 1: [EXIT]})
    tick(world, 0, 15_700)

    world.restart()
    tick(world, 1, 15_800)

    assert said(world) == [(0, "ENTRY", ATM_15_700), (1, "EXIT", ATM_15_700)]


def test_what_was_entered_is_quoted_though_its_contract_means_something_else_by_now() -> None:
    world = brain({1: [ENTRY], 3: [EXIT]})
    tick(world, 0, 120, instrument=ATM_15_700)
    tick(world, 1, 15_700)
    world.configs = (a_config(trades=[{**CALL, "right": "PE"}], params={"script": {3: [EXIT]}}),)
    world.restart()

    tick(world, 2, 125, instrument=ATM_15_700)
    tick(world, 3, 15_700)

    signal = world.signals()[-1]
    assert (signal.intent, signal.instrument) == (Intent.EXIT, ATM_15_700)
    assert signal.quote is not None
    assert (signal.quote.price, signal.quote.tick.offset) == (Decimal(125), 2)


def test_after_a_kill_the_same_contract_is_entered_in_the_same_words() -> None:
    world = brain({1: [ENTRY], 2: [EXIT]})
    tick(world, 0, 15_700)
    world.benches[0].write = False
    tick(world, 1, 15_700)
    world.benches[0].kill_at = "write"
    world.benches[0].write = True
    with pytest.raises(Killed):
        tick(world, 2, 15_800)
    before = world.signals()

    world.restart()

    after = world.signals()[len(before) :]
    assert after[: len(before)] == before
    assert [(signal.intent, signal.instrument) for signal in after] == [
        (Intent.ENTRY, ATM_15_700),
        (Intent.EXIT, ATM_15_700),
    ]


def test_the_shard_of_the_index_s_derivatives_alone_says_the_signal_that_all_shards_decide_on() -> None:
    world = brain({0: [ENTRY], 1: [EXIT]}, shards=4)
    home = world.shards.home(NIFTY)

    for shard in range(4):
        for offset in range(2):
            tick(world, offset, 15_700, shard=shard)

    signals: dict[int, list[Signal]] = {shard: world.signals(shard=shard) for shard in range(4)}
    assert {shard for shard, found in signals.items() if found} == {home}
    assert [signal.instrument for signal in signals[home]] == [ATM_15_700] * 2
    assert world.shards.shards(ATM_15_700) == range(home, home + 1)
    assert world.paused() == ""


def test_a_contract_on_a_share_is_traded_on_the_share_s_shard() -> None:
    call = {"name": "CALL", "underlying": "INFY", "kind": "option", "right": "CE"}
    world = brain({0: [ENTRY]}, call, shards=4)
    (home,) = world.shards.shards(INFY)

    tick(world, 0, 1_395, instrument=INFY, shard=home)

    assert [signal.instrument for signal in world.signals(shard=home)] == ["NFO:INFY2106241400CE"]


def test_a_decision_that_no_listed_instrument_fits_makes_no_signal_is_counted_and_pauses_nobody() -> None:
    far = CALL | {"strike": "ATM+2"}
    world = brain({0: [ENTRY], 1: [EXIT], 2: [ENTRY]}, far)

    tick(world, 0, 15_700)
    tick(world, 1, 15_700)
    counted = row(world)["unresolved"]
    tick(world, 2, 15_600)

    assert counted == {"Momentum": 2}
    assert said(world) == [(2, "ENTRY", "NFO:NIFTY5021061015800CE")]
    assert world.paused() == ""


def test_two_contracts_that_mean_one_instrument_make_a_signal_each() -> None:
    other = CALL | {"name": "OTHER", "expiry": "weekly"}
    world = brain({0: [ENTRY, ("OTHER", "ENTRY")]}, CALL, other)

    tick(world, 0, 15_700)

    assert [signal.instrument for signal in world.signals()] == [ATM_15_700] * 2
    assert len({signal.signal_id for signal in world.signals()}) == 2
    assert len({signal.sequence for signal in world.signals()}) == 2


def test_a_step_that_raises_has_entered_nothing() -> None:
    world = brain({0: [ENTRY, ("NSE:TCS", "ENTRY")], 1: [EXIT]})

    tick(world, 0, 15_700)
    world.set("Momentum", "ACTIVE")
    tick(world, 1, 15_700)

    assert world.signals() == []
    assert row(world)["entered"] in ({}, {"Momentum": {}})
