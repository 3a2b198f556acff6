"""What trading in India costs at Zerodha: each rate, the date from which it holds, and the document that sets it."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from typing import Literal

from panda_streams.domain.values import Value

__all__ = ["COMMODITIES", "FUTURES_AND_OPTIONS", "SCHEDULE", "SHARES", "Rate", "Rates", "Segment", "rates_on"]


class Segment(StrEnum):
    """A part of a market whose trades are charged alike."""

    NSE_INTRADAY = "NSE intraday"
    NSE_DELIVERY = "NSE delivery"
    BSE_INTRADAY = "BSE intraday"
    BSE_DELIVERY = "BSE delivery"
    NFO_FUTURES = "NFO futures"
    NFO_OPTIONS = "NFO options"
    BFO_FUTURES = "BFO futures"
    BFO_SENSEX_BANKEX_OPTIONS = "BFO Sensex and Bankex options"
    BFO_OTHER_OPTIONS = "BFO other options"
    MCX_FUTURES = "MCX futures"
    MCX_OPTIONS = "MCX options"


SHARES = (Segment.NSE_INTRADAY, Segment.NSE_DELIVERY, Segment.BSE_INTRADAY, Segment.BSE_DELIVERY)
FUTURES_AND_OPTIONS = (
    Segment.NFO_FUTURES,
    Segment.NFO_OPTIONS,
    Segment.BFO_FUTURES,
    Segment.BFO_SENSEX_BANKEX_OPTIONS,
    Segment.BFO_OTHER_OPTIONS,
)
COMMODITIES = (Segment.MCX_FUTURES, Segment.MCX_OPTIONS)

_NSE_CASH = (Segment.NSE_INTRADAY, Segment.NSE_DELIVERY)
_BSE_CASH = (Segment.BSE_INTRADAY, Segment.BSE_DELIVERY)
_INTRADAY = (Segment.NSE_INTRADAY, Segment.BSE_INTRADAY)
_DELIVERY = (Segment.NSE_DELIVERY, Segment.BSE_DELIVERY)
_FUTURES = (Segment.NFO_FUTURES, Segment.BFO_FUTURES)
_OPTIONS = (Segment.NFO_OPTIONS, Segment.BFO_SENSEX_BANKEX_OPTIONS, Segment.BFO_OTHER_OPTIONS)
_NSE = (*_NSE_CASH, Segment.NFO_FUTURES, Segment.NFO_OPTIONS)
_ALL = tuple(Segment)

ZERO = Decimal(0)


class Rates(Value):
    """The rates of one segment on one day: shares of a turnover, of a premium turnover for options, and rupees."""

    brokerage: Decimal = ZERO
    """Brokerage, as a share of an order's turnover."""
    brokerage_cap: Decimal = ZERO
    """The most that an order pays as brokerage, rupees."""
    order_fee: Decimal = ZERO
    """Brokerage of an executed order, whatever its size, rupees."""
    tax_buy: Decimal = ZERO
    """Securities transaction tax (STT) of a purchase."""
    tax_sell: Decimal = ZERO
    """Securities transaction tax (STT) of a sale; on MCX, commodities transaction tax (CTT)."""
    tax_exercise: Decimal = ZERO
    """STT that the holder of an exercised option pays on its intrinsic value."""
    transaction: Decimal = ZERO
    """The exchange's transaction charge."""
    ipft: Decimal = ZERO
    """NSE's levy for its investor protection fund (IPFT); a contract note prints it with the transaction charge."""
    sebi: Decimal = ZERO
    """SEBI's turnover fee."""
    stamp: Decimal = ZERO
    """Stamp duty of a purchase."""
    gst: Decimal = ZERO
    """Goods and services tax on brokerage, transaction charge, SEBI fee and DP charge."""
    gst_on_ipft: Decimal = ZERO
    """Goods and services tax on the levy for the investor protection fund."""
    dp: Decimal = ZERO
    """The depository's and its participant's charge for a scrip sold from delivery on a day, rupees before GST."""


class Rate(Value):
    """One rate as its source states it."""

    item: str
    """The field of Rates that it sets."""
    segments: tuple[Segment, ...]
    since: date
    """The first trading day on which it holds, or a day on which it already held."""
    amount: Decimal
    unit: Literal["%", "₹"]
    source: str
    """The circular, notice, act or page that sets it."""


def _rate(item: str, segments: tuple[Segment, ...], since: str, amount: str, source: str) -> Rate:
    """A row of SCHEDULE: `amount` as `0.025 %` or `20 ₹`."""
    number, unit = amount.split()
    return Rate.model_validate(
        {
            "item": item,
            "segments": segments,
            "since": since,
            "amount": number,
            "unit": unit,
            "source": source,
        }
    )


_ZERODHA = "Zerodha, zerodha.com/charges"
_STAMP_ACT = "Indian Stamp Act, section 9A and schedule I (Finance Act 2019)"
_STT_2023 = "Finance Act 2023; NSE/FATAX/56235, 1 Apr 2023"
_STT_2024 = "Finance (No. 2) Act 2024; NSE/FATAX/63809, 9 Sep 2024"
_STT_2026 = "Finance Act 2026; NSE/FATAX/73524, 31 Mar 2026"
_NSE_2021 = "NSE/FA/46730, 18 Dec 2020 (highest slab)"
_NSE_2023 = "NSE/FA/56129, 24 Mar 2023 (highest slab)"
_NSE_2024 = "NSE/FA/61137, 14 Mar 2024 (highest slab)"
_NSE_FLAT = "NSE/FA/64232, 27 Sep 2024"
_NSE_2026 = "NSE/FA/73061, 27 Feb 2026"
_BSE_WAIVED = "BSE notice 20190819-14, 19 Aug 2019 (waived)"
_BSE_FLAT = "BSE notice 20240927-37, 27 Sep 2024"
_SEBI_HALF = "SEBI press release, 27 Apr 2020 (halved to Mar 2021)"

SCHEDULE: tuple[Rate, ...] = (
    _rate("brokerage", (*_INTRADAY, *_FUTURES, Segment.MCX_FUTURES), "2021-01-01", "0.03 %", _ZERODHA),
    _rate("brokerage_cap", (*_INTRADAY, *_FUTURES, Segment.MCX_FUTURES), "2021-01-01", "20 ₹", _ZERODHA),
    _rate("order_fee", (*_OPTIONS, Segment.MCX_OPTIONS), "2021-01-01", "20 ₹", _ZERODHA),
    _rate("brokerage", _DELIVERY, "2015-12-01", "0 %", _ZERODHA),
    _rate("tax_buy", _DELIVERY, "2012-07-01", "0.1 %", "Finance Act 2012; NSE/FATAX/73524 (unchanged)"),
    _rate("tax_sell", _DELIVERY, "2012-07-01", "0.1 %", "Finance Act 2012; NSE/FATAX/73524 (unchanged)"),
    _rate("tax_sell", _INTRADAY, "2021-01-01", "0.025 %", "NSE/FATAX/73524, 31 Mar 2026 (unchanged)"),
    _rate("tax_sell", _FUTURES, "2013-06-01", "0.01 %", "Finance Act 2013; NSE/FATAX/23500, 24 May 2013"),
    _rate("tax_sell", _FUTURES, "2023-04-01", "0.0125 %", _STT_2023),
    _rate("tax_sell", _FUTURES, "2024-10-01", "0.02 %", _STT_2024),
    _rate("tax_sell", _FUTURES, "2026-04-01", "0.05 %", _STT_2026),
    _rate("tax_sell", _OPTIONS, "2016-06-01", "0.05 %", "Finance Act 2016; NSE/FATAX/32385, 16 May 2016"),
    _rate("tax_sell", _OPTIONS, "2023-04-01", "0.0625 %", _STT_2023),
    _rate("tax_sell", _OPTIONS, "2024-10-01", "0.1 %", _STT_2024),
    _rate("tax_sell", _OPTIONS, "2026-04-01", "0.15 %", _STT_2026),
    _rate("tax_exercise", _OPTIONS, "2021-01-01", "0.125 %", "NSE/FATAX/73524, 31 Mar 2026 (rate until then)"),
    _rate("tax_exercise", _OPTIONS, "2026-04-01", "0.15 %", _STT_2026),
    _rate("tax_sell", (Segment.MCX_FUTURES,), "2021-01-01", "0.01 %", "Finance Act 2013 (CTT, not on farm products)"),
    _rate("tax_sell", (Segment.MCX_OPTIONS,), "2021-01-01", "0.05 %", "Finance Act 2018 (CTT)"),
    _rate("transaction", _NSE_CASH, "2021-01-01", "0.00345 %", _NSE_2021),
    _rate("transaction", _NSE_CASH, "2023-04-01", "0.00325 %", _NSE_2023),
    _rate("transaction", _NSE_CASH, "2024-04-01", "0.00322 %", _NSE_2024),
    _rate("transaction", _NSE_CASH, "2024-10-01", "0.00297 %", _NSE_FLAT),
    _rate("transaction", _NSE_CASH, "2026-03-01", "0.0030699 %", _NSE_2026),
    _rate("transaction", (Segment.NFO_FUTURES,), "2021-01-01", "0.00200 %", _NSE_2021),
    _rate("transaction", (Segment.NFO_FUTURES,), "2023-04-01", "0.00190 %", _NSE_2023),
    _rate("transaction", (Segment.NFO_FUTURES,), "2024-04-01", "0.00188 %", _NSE_2024),
    _rate("transaction", (Segment.NFO_FUTURES,), "2024-10-01", "0.00173 %", _NSE_FLAT),
    _rate("transaction", (Segment.NFO_FUTURES,), "2026-03-01", "0.0018299 %", _NSE_2026),
    _rate("transaction", (Segment.NFO_OPTIONS,), "2021-01-01", "0.05300 %", _NSE_2021),
    _rate("transaction", (Segment.NFO_OPTIONS,), "2023-04-01", "0.05000 %", _NSE_2023),
    _rate("transaction", (Segment.NFO_OPTIONS,), "2024-04-01", "0.04950 %", _NSE_2024),
    _rate("transaction", (Segment.NFO_OPTIONS,), "2024-10-01", "0.03503 %", _NSE_FLAT),
    _rate("transaction", (Segment.NFO_OPTIONS,), "2026-03-01", "0.0355299 %", _NSE_2026),
    _rate("transaction", _BSE_CASH, "2021-03-01", "0.00345 %", "BSE notice 20210210-42, 10 Feb 2021 (highest slab)"),
    _rate("transaction", _BSE_CASH, "2022-12-01", "0.00375 %", "BSE notice 20221109-7, 9 Nov 2022 (groups A and B)"),
    _rate("transaction", (Segment.BFO_FUTURES,), "2019-08-20", "0 %", _BSE_WAIVED),
    _rate("transaction", (Segment.BFO_FUTURES,), "2024-10-01", "0 %", _BSE_FLAT),
    _rate("transaction", (Segment.BFO_SENSEX_BANKEX_OPTIONS,), "2019-08-20", "0 %", _BSE_WAIVED),
    _rate(
        "transaction",
        (Segment.BFO_SENSEX_BANKEX_OPTIONS,),
        "2022-05-02",
        "0.005 %",
        "BSE notice 20220425-2, 25 Apr 2022",
    ),
    _rate(
        "transaction",
        (Segment.BFO_SENSEX_BANKEX_OPTIONS,),
        "2023-11-01",
        "0.0375 %",
        "BSE notice 20231020-46, 20 Oct 2023 (Sensex, nearest expiry, highest slab)",
    ),
    _rate(
        "transaction",
        (Segment.BFO_SENSEX_BANKEX_OPTIONS,),
        "2024-05-13",
        "0.0495 %",
        "BSE notice 20240430-42, 30 Apr 2024 (highest slab)",
    ),
    _rate("transaction", (Segment.BFO_SENSEX_BANKEX_OPTIONS,), "2024-10-01", "0.0325 %", _BSE_FLAT),
    _rate("transaction", (Segment.BFO_OTHER_OPTIONS,), "2019-08-20", "0 %", _BSE_WAIVED),
    _rate("transaction", (Segment.BFO_OTHER_OPTIONS,), "2022-05-02", "0.005 %", "BSE notice 20220425-2, 25 Apr 2022"),
    _rate("transaction", (Segment.BFO_OTHER_OPTIONS,), "2024-10-01", "0.005 %", _BSE_FLAT),
    _rate("transaction", (Segment.MCX_FUTURES,), "2021-01-01", "0.0026 %", "Zerodha support, MCX charges (group A)"),
    _rate("transaction", (Segment.MCX_FUTURES,), "2024-10-01", "0.0021 %", "MCX/F&A/631/2024, 1 Oct 2024"),
    _rate("transaction", (Segment.MCX_OPTIONS,), "2021-10-01", "0.05 %", "MCX, announced 26 Jul 2021 (highest slab)"),
    _rate("transaction", (Segment.MCX_OPTIONS,), "2024-10-01", "0.0418 %", "MCX/F&A/631/2024, 1 Oct 2024"),
    _rate("ipft", _NSE, "2021-01-01", "0.0000001 %", "NSE/FA/56129, 24 Mar 2023 (rate until then)"),
    _rate("ipft", (*_NSE_CASH, Segment.NFO_FUTURES), "2023-04-01", "0.0001 %", "NSE/FA/56129, 24 Mar 2023"),
    _rate("ipft", (Segment.NFO_OPTIONS,), "2023-04-01", "0.0005 %", "NSE/FA/56129, 24 Mar 2023"),
    _rate("ipft", _NSE, "2026-03-01", "0.0000001 %", _NSE_2026),
    _rate("sebi", (*SHARES, *FUTURES_AND_OPTIONS), "2020-06-01", "0.00005 %", _SEBI_HALF),
    _rate("sebi", (*SHARES, *FUTURES_AND_OPTIONS), "2021-04-01", "0.0001 %", _SEBI_HALF),
    _rate("sebi", COMMODITIES, "2021-04-01", "0.0001 %", _ZERODHA),
    _rate("stamp", _DELIVERY, "2020-07-01", "0.015 %", _STAMP_ACT),
    _rate("stamp", _INTRADAY, "2020-07-01", "0.003 %", _STAMP_ACT),
    _rate("stamp", (*_FUTURES, Segment.MCX_FUTURES), "2020-07-01", "0.002 %", _STAMP_ACT),
    _rate("stamp", (*_OPTIONS, Segment.MCX_OPTIONS), "2020-07-01", "0.003 %", _STAMP_ACT),
    _rate("gst", _ALL, "2017-07-01", "18 %", "Notification 11/2017-Central Tax (Rate), 28 Jun 2017"),
    _rate("gst_on_ipft", _NSE, "2021-01-01", "0 %", "Kite Connect v3, sample of /charges/orders, Jul 2023"),
    _rate("gst_on_ipft", _NSE, "2024-10-01", "18 %", "Zerodha support, IPFT charges (date of the flat tariff)"),
    _rate("dp", _DELIVERY, "2021-01-01", "13.50 ₹", _ZERODHA),
    _rate("dp", _DELIVERY, "2024-10-01", "13 ₹", "CDSL, 26 Sep 2024; Zerodha support, DP charges"),
)
"""Every rate; of one item and segment, oldest first.

Before October 2024 NSE and BSE charged brokers by slabs of their monthly turnover, and brokers billed the highest.
"""


@lru_cache(maxsize=256)
def rates_on(segment: Segment, on: date) -> Rates:
    """Find the rates of a trading day in Indian time.

    A date before an item's first row takes that row: old recordings are charged by the oldest rates known, and
    never refused.
    """
    in_force: dict[str, Decimal] = {}
    for rate in SCHEDULE:
        if segment in rate.segments and (rate.since <= on or rate.item not in in_force):
            in_force[rate.item] = rate.amount.scaleb(-2) if rate.unit == "%" else rate.amount
    return Rates.model_validate(in_force)
