"""Historical candles and quotes, by the unmodified client."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from kiteconnect import KiteConnect
from kiteconnect.exceptions import InputException

from panda_streams.feeds.recording import Faults, SymbolMap
from panda_streams.feeds.replay import Replay
from tests.unit.builders import INDEX
from tests.unit.kitesim.bench import INSTRUMENTS, Bench, Options, a_bench

MINUTE = 60_000


def candles(kite: KiteConnect, start: str, until: str, interval: str, **fields: Any) -> list[list[Any]]:
    token = next(row["instrument_token"] for row in kite.instruments("NSE") if row["tradingsymbol"] == "INFY")
    rows = kite.historical_data(token, start, until, interval, **fields)
    return [
        [f"{row['date']:%d %H:%M}", *(row[name] for name in ("open", "high", "low", "close", "volume"))] for row in rows
    ]


def trade_three_minutes(bench: Bench) -> None:
    for second, price, volume in ((30, 150_500, 2100), (59, 149_500, 2200), (60, 149_600, 2300), (179, 149_000, 2500)):
        bench.tick(price, at=1000 * second, volume=volume)


def test_candles_are_made_of_the_ticks_that_were_seen(bench: Bench, kite: KiteConnect) -> None:
    trade_three_minutes(bench)

    assert candles(kite, "2021-06-08 09:15:00", "2021-06-08 09:17:00", "minute") == [
        ["08 09:15", 1500, 1505, 1495, 1495, 1200],
        ["08 09:16", 1496, 1496, 1496, 1496, 100],
        ["08 09:17", 1490, 1490, 1490, 1490, 200],
    ]
    assert candles(kite, "2021-06-08 09:16:00", "2021-06-08 09:16:00", "minute", oi=True) == [
        ["08 09:16", 1496, 1496, 1496, 1496, 100]
    ]
    whole = [1500, 1505, 1490, 1490, 1500]
    assert candles(kite, "2021-06-08 09:15:00", "2021-06-08 10:00:00", "3minute") == [["08 09:15", *whole]]
    assert candles(kite, "2021-06-08 09:15:00", "2021-06-08 10:00:00", "60minute") == [["08 09:15", *whole]]
    assert candles(kite, "2021-06-08", "2021-06-08", "day") == [["08 00:00", *whole]]


def test_candles_outlive_the_process(tmp_path: Path) -> None:
    with a_bench(tmp_path) as bench:
        trade_three_minutes(bench)
    with a_bench(tmp_path) as bench:
        bench.tick(149_100, at=180_000, volume=2600)
        kite = bench.client()

        rows = candles(kite, "2021-06-08 09:15:00", "2021-06-08 09:20:00", "minute")

        assert [row[0] for row in rows] == ["08 09:15", "08 09:16", "08 09:17", "08 09:18"]
        assert rows[-1][-1] == 100
        kite.reqsession.close()


@pytest.mark.parametrize(("interval", "until", "days"), [("minute", "2021-08-08", 60), ("day", "2027-01-01", 2000)])
def test_a_call_can_ask_for_so_many_days(kite: KiteConnect, interval: str, until: str, days: int) -> None:
    with pytest.raises(InputException, match=f"interval exceeds max limit: {days} days"):
        candles(kite, "2021-06-08", until, interval)


def test_what_makes_no_sense_is_refused(kite: KiteConnect) -> None:
    for token, start, interval in (
        (1, "2021-06-08", "day"),
        (2953217, "8 June", "day"),
        (2953217, "2021-06-08", "week"),
    ):
        with pytest.raises(InputException, match="Invalid"):
            kite.historical_data(token, start, "2021-06-08", interval)


def test_a_recording_gives_candles_of_days_that_were_not_seen(tmp_path: Path) -> None:
    recording = tmp_path / "monday.csv"
    recording.write_text(
        "timestamp,symbol,ltp,volume\n"
        "2021-06-07T09:15:01+05:30,INFY,1400.00,100\n"
        "2021-06-07T09:15:40+05:30,INFY,1410.00,150\n"
        "2021-06-08T09:15:01+05:30,INFY,1.00,100\n"
    )
    source = Replay([recording], SymbolMap(INSTRUMENTS), Faults(print))
    with a_bench(tmp_path, options=lambda port: Options(port=port, history=source)) as bench:
        bench.tick(150_000, at=1000, volume=1000)
        kite = bench.client()

        rows = candles(kite, "2021-06-07 09:00:00", "2021-06-08 15:30:00", "minute")

        assert rows == [["07 09:15", 1400, 1410, 1400, 1410, 50], ["08 09:15", 1500, 1500, 1500, 1500, 0]]
        kite.reqsession.close()


def test_quotes_are_of_the_last_tick_and_know_the_day_before(bench: Bench, kite: KiteConnect) -> None:
    bench.tick(152_000, at=86_400_000, volume=100)
    bench.tick(153_000, at=86_400_000 + 1000, volume=400)
    bench.tick(1_570_000, at=86_400_000 + 1000, instrument=INDEX.id)
    kite = bench.client()

    quote = kite.quote("NSE:INFY", INDEX.id, "NSE:TCS")
    share, index = quote["NSE:INFY"], quote[INDEX.id]

    assert kite.ohlc("NSE:INFY")["NSE:INFY"]["ohlc"] == share["ohlc"]
    assert quote.keys() == {"NSE:INFY", INDEX.id}, "what was never traded is left out"
    assert share["ohlc"] == {"open": 1520, "high": 1530, "low": 1520, "close": 1500}
    assert (share["net_change"], share["volume"], share["average_price"]) == (30, 400, 1530)
    assert (share["lower_circuit_limit"], share["upper_circuit_limit"]) == (1200, 1800)
    assert share["timestamp"] == datetime(2021, 6, 9, 9, 15, 1)  # noqa: DTZ001  Kite tells no zone
    assert (index["last_price"], "depth" in index) == (15_700, False)
    with pytest.raises(InputException, match="Missing"):
        kite.ltp()
