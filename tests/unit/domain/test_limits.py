"""Limits at three levels: the tightest judges an order, and what is set at run time takes the place of one level's."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from panda_streams.domain.risk.limits import (
    ACCOUNT,
    Limits,
    LimitSet,
    OrderLimits,
    TotalLimits,
    instrument_level,
    levels_of,
    limit_text,
    parse_override,
    strategy_level,
    with_overrides,
)
from panda_streams.domain.risk.modes import Mode
from tests.properties import examples

INFY = "NSE:INFY"
_ACCOUNTS = {"max_unknown_orders", "feed_stale_s"}
_NO_INSTRUMENTS = {*_ACCOUNTS, "max_daily_loss", "max_drawdown", "max_rejections_per_day", "on_breach"}


def values(field: str) -> st.SearchStrategy[object]:
    if field == "shrink":
        return st.booleans()
    if field == "on_breach":
        return st.sampled_from(["HALTED", "REDUCING"])
    if field == "price_collar":
        return st.decimals(Decimal("0.001"), 1, places=3)
    if field.endswith("_s"):
        return st.decimals(Decimal("0.001"), 3600, places=3)
    if "int" in str(Limits.model_fields[field].annotation):
        return st.integers(1, 10_000)
    return st.decimals(Decimal("0.01"), 10**9, places=2)


def limits_without(absent: set[str]) -> st.SearchStrategy[Limits]:
    fields = {name: values(name) for name in Limits.model_fields if name not in absent}
    return st.fixed_dictionaries({}, optional=fields).map(lambda given: Limits(**given))


sets = st.builds(
    LimitSet,
    account=limits_without(set()),
    strategies=st.dictionaries(st.sampled_from(["A", "B"]), limits_without(_ACCOUNTS)),
    instruments=st.dictionaries(st.sampled_from([INFY, "NSE:M&M"]), limits_without(_NO_INSTRUMENTS)),
)
_fewer = settings(max_examples=examples(50))
"""Each example draws a hundred limits."""
overrides = st.one_of(
    [
        st.tuples(st.just(f"{level}/{name}"), st.none() | values(name))
        for level, absent in (("account", set()), ("strategy:A", _ACCOUNTS), (f"instrument:{INFY}", _NO_INSTRUMENTS))
        for name in Limits.model_fields
        if name not in absent
    ]
)


def looser(field: str, one: object, other: object) -> bool:
    """Whether `one` allows what `other` forbids."""
    if field == "shrink":
        return one is True and other is False
    if field == "on_breach":
        return (one, other) == ("REDUCING", "HALTED")
    if field in ("min_order_quantity", "duplicate_window_s"):
        return one < other
    return one > other


@_fewer
@given(sets)
def test_no_level_is_tighter_than_what_judges_an_order(limits):
    order = limits.resolve("A", INFY).order

    for level in levels_of("A", INFY):
        for field in OrderLimits.model_fields:
            asked, found = getattr(limits.of(level), field), getattr(order, field)
            assert asked is None or not looser(field, found, asked)


@_fewer
@given(sets)
def test_what_judges_an_order_is_what_its_level_says(limits):
    resolved = limits.resolve("A", INFY)

    for field in OrderLimits.model_fields:
        value = getattr(resolved.order, field)
        source = resolved.levels.get(field)
        assert (source is None) is (value is None)
        assert source is None or getattr(limits.of(source), field) == value


@_fewer
@given(sets, sets)
def test_tightening_loosens_no_limit_of_either_set(one, other):
    both = one.tightened(other)

    for given_set in (one, other):
        for level, limits in given_set.by_level().items():
            for field in Limits.model_fields:
                asked, found = getattr(limits, field), getattr(both.of(level), field)
                assert asked is None or not looser(field, found, asked)


@_fewer
@given(sets)
def test_tightening_by_itself_or_by_nothing_changes_nothing(limits):
    assert limits.tightened(limits) == limits
    assert limits.tightened(LimitSet()) == limits


@_fewer
@given(sets, overrides)
def test_an_override_is_in_force_at_its_level_and_changes_nothing_else(limits, override):
    key, value = override
    level, _, field = key.rpartition("/")

    after = with_overrides(limits, {key: limit_text(value)})

    assert after.of(level) == limits.of(level).model_copy(update={field: value})
    others = {name: found for name, found in after.by_level().items() if name != level}
    assert others == {name: found for name, found in limits.by_level().items() if name != level}


@_fewer
@given(sets)
def test_limits_survive_being_written_as_overrides(limits):
    texts = {
        f"{level}/{field}": limit_text(value)
        for level, found in limits.by_level().items()
        for field, value in found
        if value is not None
    }

    assert with_overrides(LimitSet(), texts).tightened(limits) == limits


def test_a_level_on_its_own_has_its_own_totals():
    limits = LimitSet(
        account=Limits(max_daily_loss=25_000),
        strategies={"A": Limits(max_daily_loss=40_000, on_breach="REDUCING")},
    )

    assert limits.of(ACCOUNT).max_daily_loss == 25_000
    assert limits.of(strategy_level("A")).max_daily_loss == 40_000
    assert limits.of(strategy_level("B")) == limits.of(instrument_level(INFY)) == Limits()
    assert [limits.of(level).after_breach for level in (strategy_level("A"), ACCOUNT)] == [Mode.REDUCING, Mode.HALTED]


def test_the_widest_of_equal_levels_is_named():
    limits = LimitSet(account=Limits(max_slices=3), strategies={"A": Limits(max_slices=3)})

    assert limits.resolve("A", INFY).levels == {"max_slices": ACCOUNT}


def test_a_quantity_is_reduced_only_if_no_level_forbids_it():
    limits = LimitSet(account=Limits(shrink=True), strategies={"A": Limits(shrink=False)})

    assert limits.resolve("A", None).order.shrink is False
    assert limits.resolve("B", None).order.shrink is True
    assert LimitSet().resolve("A", INFY).order.shrink is None


def test_an_override_may_be_looser_and_may_take_a_limit_away():
    limits = LimitSet(strategies={"A": Limits(max_position=100, max_slices=2)})

    after = with_overrides(limits, {"strategy:A/max_position": "500", "strategy:A/max_slices": "none"})

    assert after.of("strategy:A") == Limits(max_position=500)


@pytest.mark.parametrize(
    ("key", "text", "named"),
    [
        ("max_position", "1", "strategy:STRATEGY_ID/LIMIT"),
        ("accounts/max_position", "1", "account/LIMIT"),
        ("strategy:/max_position", "1", "strategy:STRATEGY_ID/LIMIT"),
        ("A/max_position", "1", "instrument:INSTRUMENT/LIMIT"),
        ("account/max_positions", "1", "max_position, max_gross_exposure"),
        ("account/max_position", "-1", "greater than or equal to 0"),
        ("account/max_position", "many", "'none' takes the limit away"),
        ("account/max_position", "1.5", "integer"),
        ("account/max_daily_loss", "NaN", "finite"),
        ("account/max_daily_loss", "0", "greater than 0"),
        ("account/price_collar", "5", "less than or equal to 1"),
        ("account/feed_stale_s", "0.0001", "3 decimal places"),
        ("account/on_breach", "ACTIVE", "'HALTED' or 'REDUCING'"),
        ("strategy:A/feed_stale_s", "5", "only the account has it"),
        ("instrument:NSE:INFY/max_daily_loss", "5", "only the account and strategies have it"),
    ],
)
def test_an_override_that_cannot_be_says_what_is_possible(key, text, named):
    with pytest.raises(ValueError) as caught:
        with_overrides(LimitSet(), {key: text})

    assert named in str(caught.value)


def test_the_key_of_an_instrument_keeps_what_stands_in_its_name():
    assert parse_override("instrument:NSE:A/B/max_slices", "2").level == instrument_level("NSE:A/B")


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        ({"strategies": {"A": {"max_unknown_orders": 0}}}, "strategy:A cannot have max_unknown_orders"),
        ({"instruments": {INFY: {"max_drawdown": 5}}}, "instrument:NSE:INFY cannot have max_drawdown"),
    ],
)
def test_a_limit_that_nothing_would_judge_by_is_refused(limits, named):
    with pytest.raises(ValidationError, match=named):
        LimitSet.model_validate(limits)


def test_every_limit_is_of_an_order_or_of_a_total():
    assert set(OrderLimits.model_fields) | set(TotalLimits.model_fields) == set(Limits.model_fields)
    assert not set(OrderLimits.model_fields) & set(TotalLimits.model_fields)
