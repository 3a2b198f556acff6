"""The contract of strategies, held by every one that is part of the package, and how a class is found."""

from __future__ import annotations

import json
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from panda_streams.brokers.port import registered_brokers
from panda_streams.domain.shards import ShardMap
from panda_streams.domain.signals import Intent, Side
from panda_streams.domain.ticks import Tick
from panda_streams.errors import BadInput
from panda_streams.feeds.simulator import Simulator
from panda_streams.instrument_files import load_instruments
from strategies.config import StrategyConfig, load_strategies
from strategies.interface import Strategy, build, registered_strategies
from strategies.momentum import Momentum

_INSTRUMENTS = load_instruments()
_MARKET, _TRADES = "NSE:NIFTY 50", ("NSE:INFY", "NSE:TCS")
_TALKATIVE = {
    "momentum": {"fast_s": 1, "slow_s": 3, "entry_bps": 0, "exit_bps": 0, "warmup_s": 2, "cooldown_s": 1},
    "mean_reversion": {
        "half_life_s": 5,
        "entry_sigmas": 0.5,
        "min_deviation_bps": 0,
        "stop_sigmas": 3,
        "max_hold_s": 20,
        "warmup_s": 2,
        "cooldown_s": 1,
    },
}
"""Parameters with which a strategy speaks within few ticks."""


def config(strategy: str, **params: object) -> StrategyConfig:
    return StrategyConfig.model_validate(
        {
            "strategy_id": "Some_1",
            "strategy": strategy,
            "watches": [_MARKET],
            "trades": list(_TRADES),
            "params": params,
            "accounts": {"paper": {"capital": 1000, "share_of_capital": "0.1", "max_position": 10}},
        }
    )


@st.composite
def ticks(draw) -> list[Tick]:
    """Ticks of a shard's log: time stands still or goes on, sometimes over a night; prices wander."""
    steps = st.tuples(
        st.sampled_from((_MARKET, *_TRADES)),
        st.integers(-300, 300),
        st.sampled_from([0, 1, 400, 1000, 1000, 2000, 30_000, 63_000_000]),
    )
    found, price, time = [], dict.fromkeys((_MARKET, *_TRADES), 100_000), 1_623_000_000_000
    for row, (instrument, change, gap) in enumerate(draw(st.lists(steps, max_size=60))):
        price[instrument] = max(price[instrument] + change, 0)
        time += gap
        found.append(Tick(instrument, price[instrument], None, None, None, None, time, row))
    return found


talkative = st.sampled_from(sorted(_TALKATIVE)).map(lambda name: build(config(name, **_TALKATIVE[name])))


def run(strategy: Strategy, state, stream):
    said = []
    for tick in stream:
        state, decisions = strategy.step(state, tick)
        said.append((tick, decisions))
    return state, said


def test_every_registered_strategy_of_the_package_is_held_to_the_contract():
    own = {name for name, found in registered_strategies().items() if found.value.startswith("strategies.")}

    assert own == set(_TALKATIVE)


@given(talkative, ticks())
def test_a_state_comes_back_exactly_from_its_json(strategy, stream):
    state, _ = run(strategy, strategy.initial(), stream)

    assert strategy.load(json.loads(json.dumps(strategy.dump(state), allow_nan=False))) == state


@given(talkative, ticks(), st.data())
def test_a_restart_from_any_checkpoint_says_the_same(strategy, stream, data):
    cut = data.draw(st.integers(0, len(stream)))
    end, said = run(strategy, strategy.initial(), stream)

    kept, before = run(strategy, strategy.initial(), stream[:cut])
    reborn = build(strategy.config)
    end_again, after = run(reborn, reborn.load(json.loads(json.dumps(strategy.dump(kept)))), stream[cut:])

    assert before + after == said
    assert end_again == end


@given(talkative, ticks())
def test_a_step_leaves_the_state_that_it_was_given(strategy, stream):
    state = strategy.initial()
    for tick in stream:
        before = json.dumps(strategy.dump(state))
        after, _ = strategy.step(state, tick)
        assert json.dumps(strategy.dump(state)) == before
        state = after


@given(talkative, ticks())
def test_entries_and_exits_take_turns_on_the_ticks_of_what_is_traded(strategy, stream):
    _, said = run(strategy, strategy.initial(), stream)

    last: dict[str, Intent] = {}
    for tick, decisions in said:
        for decision in decisions:
            assert decision.instrument == tick.instrument in _TRADES
            assert decision.intent is not last.get(tick.instrument, Intent.EXIT)
            assert decision.side is (Side.BUY if decision.intent is Intent.ENTRY else Side.SELL)
            last[tick.instrument] = decision.intent


@pytest.mark.parametrize("name", sorted(_TALKATIVE))
def test_a_price_of_zero_changes_nothing(name):
    strategy = build(config(name, **_TALKATIVE[name]))
    for instrument in (_MARKET, *_TRADES):
        tick = Tick(instrument, 0, None, None, None, None, 1000, 0)
        assert strategy.step(strategy.initial(), tick) == (strategy.initial(), ())


@pytest.mark.parametrize("strategy_id", ["Momentum_NIFTY_1", "MeanReversion_NIFTY_1"])
def test_a_newcomer_sees_signals_within_minutes_of_the_simulated_market(strategy_id):
    [found] = [
        one for one in load_strategies(None, _INSTRUMENTS, registered_brokers()) if one.strategy_id == strategy_id
    ]
    strategy, shards = build(found), ShardMap(4, _INSTRUMENTS)
    states = {shard: strategy.initial() for shard in range(4)}
    signals = 0
    for frame in islice(Simulator(_INSTRUMENTS, 1, 0.5).frames(None), 20 * 60):
        for tick in frame.ticks:
            if tick.instrument in found.instruments:
                for shard in shards.shards(tick.instrument):
                    states[shard], decisions = strategy.step(states[shard], tick)
                    signals += len(decisions)

    assert signals >= 10


def test_every_traded_share_of_the_package_is_simulated():
    for found in load_strategies(None, _INSTRUMENTS, registered_brokers()):
        assert all(_INSTRUMENTS[name].weight is not None for name in found.trades)


@pytest.mark.parametrize(
    ("strategy", "params", "named"),
    [
        ("momentum", {"fast": 5}, "params.fast: Extra inputs"),
        ("momentum", {"fast_s": "quick"}, "params.fast_s: "),
        ("momentum", {"fast_s": 0}, "params.fast_s: "),
        ("momentum", {"fast_s": 90, "slow_s": 90}, "params.slow_s: "),
        ("mean_reversion", {"max_hold_s": -1}, "params.max_hold_s: "),
        ("mean_reversion", {"entry_sigmas": 2, "stop_sigmas": 2}, "params.stop_sigmas: "),
        ("mean_reversion", {"half_life_s": 0, "warmup_s": -1}, "params.warmup_s: "),
    ],
)
def test_a_wrong_parameter_is_named_with_its_strategy(strategy, params, named):
    with pytest.raises(BadInput) as caught:
        build(config(strategy, **params))

    assert f"strategy Some_1 ({strategy}): " in str(caught.value)
    assert named in str(caught.value)


def test_the_constructor_alone_raises_a_value_error():
    with pytest.raises(ValueError, match=r"params\.fast: .*known parameters: fast_s, slow_s"):
        Momentum(config("momentum", fast=5))


@pytest.mark.parametrize("watches", [[], ["NSE:NIFTY 50", "NSE:NIFTY BANK"], ["NSE:INFY"]])
def test_momentum_needs_one_index(watches):
    with pytest.raises(BadInput, match="watches: momentum needs exactly one index"):
        build(config("momentum").model_copy(update={"watches": tuple(watches)}))


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    text = "from strategies.momentum import Momentum\nclass Mine(Momentum):\n    pass\nclass Other:\n    pass\n"
    (tmp_path / "own_strategies_of_a_test.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    return "own_strategies_of_a_test"


def test_a_class_of_ones_own_needs_no_package(own_module):
    strategy = build(config(f"{own_module}:Mine"))

    assert type(strategy).__name__ == "Mine"
    assert isinstance(strategy, Momentum)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("momentun", "there is no strategy 'momentun'"),
        ("", "there is no strategy ''"),
        (":Mine", "there is no strategy ':Mine'"),
        ("no_such_module:Mine", "cannot import no_such_module:Mine: No module named"),
        ("own_strategies_of_a_test:Missing", "cannot import own_strategies_of_a_test:Missing: "),
        ("own_strategies_of_a_test:Other", "is not a class of strategies"),
        ("strategies.interface:build", "is not a class of strategies"),
    ],
)
@pytest.mark.usefixtures("own_module")
def test_a_strategy_that_is_not_found_is_named(name, found):
    with pytest.raises(BadInput) as caught:
        build(config(name))

    assert found in str(caught.value)
    assert "strategy Some_1: " in str(caught.value)


def test_an_unknown_name_is_answered_with_those_that_exist():
    with pytest.raises(BadInput) as caught:
        build(config("momentun"))

    assert "mean_reversion, momentum" in caught.value.fix
