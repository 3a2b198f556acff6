"""What is told of an order names where each price, quantity and charge comes from."""

from __future__ import annotations

from decimal import Decimal

import pytest

from panda_streams.domain.bookings import BookingKind
from panda_streams.domain.matching import QueueModel
from panda_streams.domain.orders import Reason
from panda_streams.domain.signals import Intent, OrderType, Terms
from panda_streams.explain import WORDS, Explanation, Part, explain
from panda_streams.rerun import Facts, began, rerun
from tests.unit.builders import T0, a_booking
from tests.unit.story import INSTRUMENT, Story, a_trader, moments_of


def told(story: Story, number: int = 0) -> Explanation:
    """What is told of one of the story's orders."""
    updates = story.orders()[number]
    facts = Facts(tuple(updates), story.fills(), story.verdict_of(updates[0]))
    order = began(facts, story.moments, INSTRUMENT, story.trader)
    assert order is not None
    again = rerun(facts, order, story.moments, INSTRUMENT, story.trader, None)
    return explain(facts, again, INSTRUMENT, story.trader.market, None, ())


def text(explanation: Explanation, part: Part) -> str:
    lines = [line for line in explanation.lines if line.part is part]
    return "\n".join("\n".join((line.text, *line.details)) for line in lines)


def an_entry(prices: list[int], *, terms: Terms | None = None, quantity: int = 10, **market: object) -> Story:
    volumes = market.pop("volumes", None)
    books = bool(market.pop("books", False))
    story = Story(moments_of(prices, volumes=volumes, books=books), a_trader(**market))  # type: ignore[arg-type]
    story.say(0, Intent.ENTRY, quantity=quantity, terms=terms)
    story.run()
    return story


def test_slippage_is_shown_with_the_last_price_and_the_rounding() -> None:
    fill = text(told(an_entry([1400, 1401])), Part.FILL)

    assert "BUY 10 at 1401.15: the last price 1401.00 + 0.01 % of slippage, rounded to the 0.05 above" in fill


def test_each_charge_is_shown_with_its_rate_and_the_turnover() -> None:
    fill = text(told(an_entry([1400, 1401])), Part.FILL)

    assert "brokerage 4.2034: 0.03 % of 14,011.5, at most 20 an order" in fill
    assert "stamp 0.4203: 0.003 % of 14,011.5" in fill
    assert "stt" not in fill


def test_the_levels_of_the_book_are_shown_and_a_fill_for_each() -> None:
    fill = text(told(an_entry([1400, 1401], quantity=45, books=True)), Part.FILL)

    assert "BUY 20 at 1401.05: taken from the asks of the order book" in fill
    assert "BUY 25 at 1401.10" in fill
    assert "asks 20 at 1401.05, 40 at 1401.10" in fill


def test_participation_bounds_a_fill_and_what_gave_nothing_is_shown() -> None:
    explanation = told(an_entry([1400, 1401, 1402, 1402], volumes=[0, 3, 23, 63]))

    assert "25 % of 3: less than a lot" in text(explanation, Part.WAIT)
    assert "25 % of what traded is 5: the rest of 10 waits" in text(explanation, Part.FILL)


def test_a_latency_with_a_drawn_part_is_shown_in_its_parts() -> None:
    explanation = told(an_entry([1400] * 9, latency_ms=100, latency_spread_ms=200))

    assert "100 ms, and " in text(explanation, Part.ORDER)
    assert "ms drawn from its id" in text(explanation, Part.ORDER)


@pytest.mark.parametrize(
    ("prices", "queue", "words"),
    [
        ([1405, 1401, 1399], QueueModel.THROUGH, "the market traded through that, at 1399.00"),
        ([1405, 1401, 1400], QueueModel.TOUCH, "the market traded there (touch model)"),
    ],
)
def test_a_resting_order_is_filled_for_a_reason(prices: list[int], queue: QueueModel, words: str) -> None:
    limit = Terms(order_type=OrderType.LIMIT, price=Decimal(1400))

    explanation = told(an_entry(prices, terms=limit, queue=queue))

    assert f"it rested at 1400, and {words}" in text(explanation, Part.FILL)
    assert "nothing was on offer at its limit of 1400 or better" in text(explanation, Part.WAIT)


def test_a_leg_names_its_entry_and_why_it_ended() -> None:
    story = an_entry([1400, 1400, 1401, 1403], terms=Terms(target=Decimal(1402), stop=Decimal(1398)))

    stop = told(story, 2)

    assert story.updates[0].order_id in text(stop, Part.CAUSE)
    assert text(stop, Part.END) == "CANCELLED: the other leg of the bracket was filled"


def test_a_difference_is_passed_on() -> None:
    story = an_entry([1400, 1401, 1402])
    story.trader = a_trader(slippage=Decimal("0.01"))

    assert "1415.05" in told(story).difference


def test_without_its_ticks_a_fill_is_told_with_its_charges_alone() -> None:
    story = an_entry([1400, 1401])
    [updates] = story.orders()
    facts = Facts(tuple(updates), story.fills(), story.verdict_of(updates[0]))

    explanation = explain(facts, None, INSTRUMENT, story.trader.market, None, ("the ticks are gone",))

    assert explanation.missing == ("the ticks are gone",)
    fill = text(explanation, Part.FILL)
    assert fill.startswith("BUY 10 at 1401.15\ncharges 5.9674\n")


def test_the_contract_note_of_the_day_is_told_with_its_heads() -> None:
    story = an_entry([1400, 1401])
    [updates] = story.orders()
    facts = Facts(tuple(updates), story.fills(), story.verdict_of(updates[0]))
    charges = {"stt": Decimal("0.37"), "gst": Decimal("-0.04")}
    note = a_booking(BookingKind.CONTRACT_NOTE, "-0.33", time=T0, charges=charges, reason="contract note of 2021-06-08")

    explanation = explain(facts, None, INSTRUMENT, story.trader.market, note, ())

    assert "contract note of 2021-06-08: 0.33 more charges" in text(explanation, Part.NOTE)
    assert "stt 0.37, gst -0.04" in text(explanation, Part.NOTE)


def test_every_reason_has_words() -> None:
    assert set(WORDS) == set(Reason)
