from __future__ import annotations

from datetime import datetime
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from msgspec.structs import replace

from panda_streams.domain.instruments import Instruments
from panda_streams.domain.ticks import Depth, Tick
from panda_streams.errors import BadInput
from panda_streams.feeds.batching import Frame
from panda_streams.feeds.simulator import FRAMES_A_DAY, Simulator, session_start
from panda_streams.instrument_files import load_instruments

INSTRUMENTS = load_instruments()
INDIA = ZoneInfo("Asia/Kolkata")


def frames(count: int, *, seed: int = 1, rate: float = 0.5, after: int | None = None) -> list[Frame]:
    return list(islice(Simulator(INSTRUMENTS, seed, rate).frames(after), count))


def ticks(count: int, **options: float) -> list[Tick]:
    return [tick for frame in frames(count, **options) for tick in frame.ticks]  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def day() -> list[Frame]:
    """Day 0, with the depth of its last minute."""
    return frames(FRAMES_A_DAY, after=session_start(0) + (FRAMES_A_DAY - 60) * 1000)


def test_the_same_seed_and_rate_give_the_same_frames_and_others_give_others() -> None:
    assert frames(200) == frames(200)
    assert frames(200) != frames(200, seed=2)
    assert frames(200) != frames(200, rate=0.6)


def test_a_frame_is_the_same_on_every_machine() -> None:
    frame = frames(3000)[-1]
    tick = frame.ticks[0]

    assert tick == Tick("NSE:SBIN", 47925, 1051, 791121, 47920, 47925, 1767587699250, 29990000)
    assert [level.quantity for level in frame.depth[tick.row].asks] == [1280, 151, 726, 929, 1390]


def test_a_day_can_be_entered_without_those_before_it_and_without_the_depth_of_what_is_known() -> None:
    known = session_start(1) + 100 * 1000
    whole = frames(FRAMES_A_DAY + 200, rate=0.05)[FRAMES_A_DAY:]

    entered = frames(200, rate=0.05, after=known)

    assert entered[100:] == whole[100:]
    assert [frame.ticks for frame in entered] == [frame.ticks for frame in whole]
    assert not any(frame.depth for frame in entered[:100])
    assert any(frame.depth for frame in entered[100:])


def test_sessions_are_weekdays_from_quarter_past_nine_to_half_past_three(day: list[Frame]) -> None:
    opens = [datetime.fromtimestamp(session_start(number) / 1000, INDIA) for number in range(6)]

    assert [f"{moment:%a %Y-%m-%d %H:%M:%S}" for moment in (opens[0], opens[4], opens[5])] == [
        "Mon 2026-01-05 09:15:00",
        "Fri 2026-01-09 09:15:00",
        "Mon 2026-01-12 09:15:00",
    ]
    assert f"{datetime.fromtimestamp(day[-1].time / 1000, INDIA):%a %H:%M:%S}" == "Mon 15:30:00"
    assert [frame.time - session_start(0) for frame in day] == [1000 * (k + 1) for k in range(FRAMES_A_DAY)]


def test_ticks_are_in_their_second_in_the_order_of_their_rows_which_are_never_used_twice(day: list[Frame]) -> None:
    for frame in day:
        assert all(frame.time - 1000 < tick.time <= frame.time for tick in frame.ticks)
        assert list(frame.ticks) == sorted(frame.ticks, key=lambda tick: (tick.time, tick.row))
    rows = [tick.row for frame in day for tick in frame.ticks]
    assert rows == sorted(set(rows))


def test_prices_keep_to_the_tick_size_between_bid_and_ask(day: list[Frame]) -> None:
    for tick in (tick for frame in day for tick in frame.ticks):
        assert tick.price > 0
        assert tick.price % 5 == 0
        if INSTRUMENTS[tick.instrument].tradable:
            assert tick.bid is not None
            assert tick.ask is not None
            assert tick.bid < tick.ask
            assert tick.price in (tick.bid, tick.ask)
            assert (tick.bid % 5, tick.ask % 5) == (0, 0)
        else:
            assert (tick.bid, tick.ask, tick.volume, tick.quantity) == (None, None, None, None)


def test_volume_grows_over_the_day_by_at_least_the_last_quantity(day: list[Frame]) -> None:
    volume: dict[str, int] = {}
    for tick in (tick for frame in day for tick in frame.ticks if tick.volume is not None):
        assert tick.volume is not None
        assert tick.quantity is not None
        assert 0 < tick.quantity <= tick.volume - volume.get(tick.instrument, 0)
        volume[tick.instrument] = tick.volume
    assert len(volume) == 21


def test_depth_has_five_sorted_levels_a_side_that_begin_at_bid_and_ask(day: list[Frame]) -> None:
    books: list[tuple[Tick, Depth]] = [
        (tick, frame.depth[tick.row]) for frame in day for tick in frame.ticks if tick.row in frame.depth
    ]

    assert len(books) > 300
    for tick, book in books:
        bids, asks = [level.price for level in book.bids], [level.price for level in book.asks]
        assert (len(bids), len(asks)) == (5, 5)
        assert bids == sorted(set(bids), reverse=True)
        assert asks == sorted(set(asks))
        assert (bids[0], asks[0]) == (tick.bid, tick.ask)
        assert all(level.quantity > 0 for level in (*book.bids, *book.asks))


def test_trade_is_brisk_at_both_ends_of_the_day(day: list[Frame]) -> None:
    def traded(first: int, last: int) -> int:
        volumes = [
            tick.volume for frame in day[first:last] for tick in frame.ticks if tick.instrument == "NSE:HDFCBANK"
        ]
        assert volumes[0] is not None
        assert volumes[-1] is not None
        return volumes[-1] - volumes[0]

    half_hour = 1800
    middle = traded(FRAMES_A_DAY // 2, FRAMES_A_DAY // 2 + half_hour)
    assert traded(0, half_hour) > 2 * middle
    assert traded(FRAMES_A_DAY - half_hour, FRAMES_A_DAY) > 2 * middle


def test_prices_move_as_a_market_does_and_stay_near_their_reference(day: list[Frame]) -> None:
    prices = [tick.price for frame in day for tick in frame.ticks if tick.instrument == "NSE:NIFTY 50"]

    assert 0.003 < (max(prices) - min(prices)) / prices[0] < 0.10
    assert all(1_570_000 * 0.8 < price < 1_570_000 * 1.2 for price in prices)


@pytest.mark.parametrize("rate", [0.25, 1.0, 3.5])
def test_the_rate_is_ticks_of_an_instrument_a_second_on_average(rate: float) -> None:
    assert len(ticks(2000, rate=rate)) / (23 * 2000) == pytest.approx(rate, rel=0.03)


def test_instruments_without_weights_are_refused() -> None:
    bare = Instruments(replace(share, weight=None) for share in INSTRUMENTS)

    with pytest.raises(BadInput, match="no instrument can be simulated"):
        Simulator(bare, 1, 0.5)
