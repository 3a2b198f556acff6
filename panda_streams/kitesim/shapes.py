"""Kite's JSON: how orders, trades, quotes, positions and money are written. Decimals become floats here alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from panda_streams.domain.calendar import Calendar, market_of
from panda_streams.domain.instruments import Instrument, Instruments
from panda_streams.domain.ticks import Depth, price_of
from panda_streams.kitesim.account import Funds, Holding, Position
from panda_streams.kitesim.gtt import Gtt, GttResult
from panda_streams.kitesim.market import Candle, InstrumentState, MarketView
from panda_streams.kitesim.orders import ZERO, BookOrder, BookTrade, Status
from panda_streams.kitesim.tokens import Tokens

__all__ = ["USER", "Shapes", "clock_text", "india"]

USER = "PS0001"
_INDIA = timedelta(hours=5, minutes=30)
_FINAL = (Status.COMPLETE, Status.CANCELLED, Status.REJECTED)
_NOTHING = {"price": 0, "quantity": 0, "orders": 0}

Shape = dict[str, Any]

_PROFILE: Shape = {
    "user_type": "individual",
    "email": "kitesim@localhost",
    "user_name": "Kite Simulator",
    "user_shortname": "Kitesim",
    "broker": "ZERODHA",
    "exchanges": ["NSE", "BSE", "NFO", "BFO"],
    "products": ["CNC", "NRML", "MIS"],
    "order_types": ["MARKET", "LIMIT", "SL", "SL-M"],
    "avatar_url": None,
    "meta": {"demat_consent": "physical"},
}


def india(time_ms: int) -> datetime:
    """A moment as clocks in India show it, without a zone, as Kite writes it."""
    return (datetime.fromtimestamp(time_ms // 1000, UTC) + _INDIA).replace(tzinfo=None)


def clock_text(time_ms: int | None) -> str | None:
    return None if time_ms is None else f"{india(time_ms):%Y-%m-%d %H:%M:%S}"


def number(amount: Decimal | None) -> float | int:
    """A Decimal as Kite's JSON has it: a whole one without a point."""
    if amount is None:
        return 0
    return int(amount) if amount == amount.to_integral_value() else float(amount)


class Shapes:
    """Writes what Kite would write of these instruments."""

    def __init__(self, instruments: Instruments, tokens: Tokens, view: MarketView, calendar: Calendar) -> None:
        self._instruments = instruments
        self._tokens = tokens
        self._view = view
        self._calendar = calendar

    @staticmethod
    def profile() -> Shape:
        return {"user_id": USER, **_PROFILE}

    @staticmethod
    def session(api_key: str, token: str, login_at: int) -> Shape:
        return {
            **_PROFILE,
            "user_id": USER,
            "api_key": api_key,
            "access_token": token,
            "public_token": token[::-1],
            "enctoken": "",
            "refresh_token": "",
            "silo": "",
            "login_time": clock_text(login_at),
            "avatar_url": "",
        }

    def _place(self, instrument_id: str) -> Shape:
        instrument = self._instruments[instrument_id]
        return {
            "exchange": instrument.exchange,
            "tradingsymbol": instrument.symbol,
            "instrument_token": self._tokens[instrument_id],
        }

    # Orders

    def order(self, order: BookOrder) -> Shape:
        """A row of the order book, or of an order's history."""
        average = order.turnover / order.filled if order.filled else ZERO
        meta: Shape = {}
        tags = [order.tag] if order.tag is not None else []
        if order.sliced is not None:
            tags += ["autoslice", f"autoslice:{order.sliced}"]
        if order.iceberg is not None:
            ice = order.iceberg
            meta["iceberg"] = {
                "leg": ice.leg,
                "legs": ice.legs,
                "leg_quantity": ice.leg_quantity,
                "total_quantity": ice.total_quantity,
                "remaining_quantity": ice.remaining_quantity - order.filled,
            }
        if order.gtt is not None:
            meta["gtt"] = order.gtt
        return {
            "placed_by": USER,
            "account_id": USER,
            "order_id": order.order_id,
            "exchange_order_id": order.exchange_order_id,
            "parent_order_id": order.parent_id,
            "status": order.status.value,
            "status_message": order.message,
            "status_message_raw": order.message_raw,
            "order_timestamp": clock_text(order.changed_at),
            "exchange_update_timestamp": clock_text(order.changed_at) if order.exchange_at is not None else None,
            "exchange_timestamp": clock_text(order.exchange_at),
            "variety": order.variety.value,
            "modified": order.modified,
            **self._place(order.instrument),
            "order_type": order.order_type.value,
            "transaction_type": order.side.value,
            "validity": order.validity.value,
            "validity_ttl": order.ttl_minutes or 0,
            "product": order.product.value,
            "quantity": order.quantity,
            "disclosed_quantity": order.disclosed,
            "price": number(order.price),
            "trigger_price": number(order.trigger),
            "average_price": number(average.quantize(Decimal("0.0001"))),
            "filled_quantity": order.filled,
            "pending_quantity": 0 if order.status is Status.REJECTED else order.remaining,
            "cancelled_quantity": order.remaining if order.status is Status.CANCELLED else 0,
            "market_protection": number(order.protection),
            "auction_number": None,
            "meta": meta,
            "tag": order.tag,
            "tags": tags,
            "guid": f"kitesim{order.number}",
        }

    def update(self, order: BookOrder) -> Shape:
        """What the websocket says of an order: as the book, but that it knows four states."""
        shape = self.order(order)
        return {
            **shape,
            "user_id": USER,
            "app_id": 1,
            "checksum": "",
            "unfilled_quantity": order.remaining,
            "status": order.status.value if order.status in _FINAL else "UPDATE",
        }

    def trade(self, trade: BookTrade) -> Shape:
        return {
            "trade_id": trade.trade_id,
            "order_id": trade.order_id,
            **self._place(trade.instrument),
            "product": trade.product.value,
            "average_price": number(trade.price),
            "quantity": trade.quantity,
            "exchange_order_id": trade.exchange_order_id,
            "transaction_type": trade.side.value,
            "fill_timestamp": clock_text(trade.at),
            "order_timestamp": f"{india(trade.order_at):%H:%M:%S}",
            "exchange_timestamp": clock_text(trade.at),
        }

    # Portfolio

    def positions(self, positions: Iterable[Position]) -> Shape:
        """Net positions, and what today's trades alone make."""
        positions = list(positions)
        net = [self._position(one, one.overnight, one.overnight_price) for one in positions]
        day = [self._position(one, 0, ZERO) for one in positions if one.bought or one.sold]
        return {"net": net, "day": day}

    def _position(self, one: Position, overnight: int, overnight_price: Decimal) -> Shape:
        instrument = self._instruments[one.instrument]
        state = self._view.state(one.instrument)
        last = price_of(state.price, instrument.decimals) if state is not None else one.average
        close = price_of(state.close, instrument.decimals) if state is not None else ZERO
        carried = overnight * overnight_price
        marked = overnight * (close or overnight_price)
        buying, selling = max(overnight, 0) + one.bought, max(-overnight, 0) + one.sold
        buy_value = max(carried, ZERO) + one.bought_value
        sell_value = max(-carried, ZERO) + one.sold_value
        buy_m2m = max(marked, ZERO) + one.bought_value
        sell_m2m = max(-marked, ZERO) + one.sold_value
        quantity = buying - selling
        value = sell_value - buy_value
        pnl = value + quantity * last
        average = one.average
        if quantity != one.quantity:
            average = abs(value / quantity) if quantity else ZERO
        amounts = {
            "average_price": average if quantity else ZERO,
            "close_price": close,
            "last_price": last,
            "value": value,
            "pnl": pnl,
            "m2m": sell_m2m - buy_m2m + quantity * last,
            "unrealised": pnl,
            "realised": ZERO,
            "buy_price": buy_value / buying if buying else ZERO,
            "buy_value": buy_value,
            "buy_m2m": buy_m2m,
            "sell_price": sell_value / selling if selling else ZERO,
            "sell_value": sell_value,
            "sell_m2m": sell_m2m,
            "day_buy_price": one.bought_value / one.bought if one.bought else ZERO,
            "day_buy_value": one.bought_value,
            "day_sell_price": one.sold_value / one.sold if one.sold else ZERO,
            "day_sell_value": one.sold_value,
        }
        return {
            **self._place(one.instrument),
            "product": one.product.value,
            "quantity": quantity,
            "overnight_quantity": overnight,
            "multiplier": 1,
            **{name: number(amount) for name, amount in amounts.items()},
            "buy_quantity": buying,
            "sell_quantity": selling,
            "day_buy_quantity": one.bought,
            "day_sell_quantity": one.sold,
        }

    def holding(self, one: Holding, sold_today: int, on: str) -> Shape:
        """Shares in the demat account; what was sold from them today is used."""
        state = self._view.state(one.instrument)
        instrument = self._instruments[one.instrument]
        last = price_of(state.price, instrument.decimals) if state is not None else one.average
        close = price_of(state.close, instrument.decimals) if state is not None and state.close else last
        change = last - close
        used = min(sold_today, one.quantity)
        return {
            **self._place(one.instrument),
            "isin": "",
            "product": "CNC",
            "price": 0,
            "quantity": one.quantity - used,
            "used_quantity": used,
            "t1_quantity": 0,
            "realised_quantity": one.quantity,
            "authorised_quantity": 0,
            "authorised_date": on,
            "authorisation": {},
            "opening_quantity": one.quantity,
            "short_quantity": 0,
            "collateral_quantity": 0,
            "collateral_type": "",
            "discrepancy": False,
            "average_price": number(one.average),
            "last_price": number(last),
            "close_price": number(close),
            "pnl": number((last - one.average) * one.quantity),
            "day_change": number(change),
            "day_change_percentage": number(change * 100 / close) if close else 0,
            "mtf": {"quantity": 0, "used_quantity": 0, "average_price": 0, "value": 0, "initial_margin": 0},
        }

    @staticmethod
    def funds(funds: Funds) -> Shape:
        used = funds.blocked + funds.ordered
        return {
            "enabled": True,
            "net": number(funds.free),
            "available": {
                "adhoc_margin": 0,
                "cash": number(funds.cash),
                "opening_balance": number(funds.cash),
                "live_balance": number(funds.free),
                "collateral": 0,
                "intraday_payin": 0,
            },
            "utilised": {
                "debits": number(used),
                "exposure": number(used - funds.premium - funds.delivery),
                "m2m_realised": number(funds.realised),
                "m2m_unrealised": 0,
                "option_premium": number(funds.premium),
                "payout": 0,
                "span": 0,
                "holding_sales": 0,
                "turnover": 0,
                "liquid_collateral": 0,
                "stock_collateral": 0,
                "delivery": number(funds.delivery),
            },
        }

    @classmethod
    def no_funds(cls) -> Shape:
        """Of a segment in which nothing is traded here."""
        return cls.funds(Funds(ZERO, ZERO, ZERO, ZERO, ZERO, ZERO))

    # Market

    def ltp(self, instrument: Instrument, state: InstrumentState) -> Shape:
        return {
            "instrument_token": self._tokens[instrument.id],
            "last_price": number(price_of(state.price, instrument.decimals)),
        }

    def ohlc(self, instrument: Instrument, state: InstrumentState) -> Shape:
        prices = {"open": state.open, "high": state.high, "low": state.low, "close": state.close}
        ohlc = {name: number(price_of(price, instrument.decimals)) for name, price in prices.items()}
        return {**self.ltp(instrument, state), "ohlc": ohlc}

    def quote(self, instrument: Instrument, state: InstrumentState, now: int) -> Shape:
        shape = self.ohlc(instrument, state)
        last, close = price_of(state.price, instrument.decimals), price_of(state.close, instrument.decimals)
        shape |= {
            "timestamp": clock_text(state.time),
            "net_change": number(last - close) if close else 0,
        }
        if not instrument.tradable:
            return shape
        depth = self.depth(instrument, state, now)
        band = self._view.band(instrument)
        return shape | {
            "last_trade_time": clock_text(state.time),
            "last_quantity": state.quantity,
            "buy_quantity": sum(level.quantity for level in depth.bids),
            "sell_quantity": sum(level.quantity for level in depth.asks),
            "volume": state.volume or 0,
            "average_price": number(price_of(state.average, instrument.decimals)),
            "oi": 0,
            "oi_day_high": 0,
            "oi_day_low": 0,
            "lower_circuit_limit": number(band[0]) if band is not None else 0,
            "upper_circuit_limit": number(band[1]) if band is not None else 0,
            "depth": {
                "buy": self._levels(depth.bids, instrument),
                "sell": self._levels(depth.asks, instrument),
            },
        }

    def depth(self, instrument: Instrument, state: InstrumentState, now: int) -> Depth:
        """The order book as it is shown: empty once the market has closed."""
        depth = self._view.depth(instrument.id)
        if depth is None or not self._calendar.is_open(market_of(instrument), now):
            return Depth((), ())
        return depth

    @staticmethod
    def _levels(levels: Iterable[Any], instrument: Instrument) -> list[Shape]:
        shown = [
            {"price": number(price_of(level.price, instrument.decimals)), "quantity": level.quantity, "orders": 1}
            for level in levels
        ][:5]
        return shown + [_NOTHING] * (5 - len(shown))

    @staticmethod
    def candle(candle: Candle, decimals: int, *, daily: bool, oi: bool) -> list[Any]:
        opened = india(candle.start)
        if daily:
            opened = opened.replace(hour=0, minute=0, second=0)
        prices = [candle.open, candle.high, candle.low, candle.close]
        row: list[Any] = [f"{opened:%Y-%m-%dT%H:%M:%S}+0530"]
        row += [number(price_of(price, decimals)) for price in prices]
        return [*row, candle.volume, *([0] if oi else [])]

    # Triggers

    def gtt(self, gtt: Gtt) -> Shape:
        place = self._place(gtt.instrument)
        orders = []
        for order in gtt.orders:
            shape: Shape = {
                "exchange": place["exchange"],
                "tradingsymbol": place["tradingsymbol"],
                "product": order.product.value,
                "order_type": order.order_type.value,
                "transaction_type": order.side.value,
                "quantity": order.quantity,
                "price": number(order.price),
            }
            orders.append({**shape, "result": self._result(order.result, shape, gtt) if order.result else None})
        return {
            "id": gtt.number,
            "user_id": USER,
            "parent_trigger": None,
            "type": gtt.kind.value,
            "created_at": clock_text(gtt.created_at),
            "updated_at": clock_text(gtt.updated_at),
            "expires_at": clock_text(gtt.expires_at),
            "status": gtt.state.value,
            "condition": {
                "exchange": place["exchange"],
                "last_price": number(gtt.last),
                "tradingsymbol": place["tradingsymbol"],
                "trigger_values": [number(trigger) for trigger in gtt.triggers],
                "instrument_token": place["instrument_token"],
            },
            "orders": orders,
            "meta": {},
        }

    @staticmethod
    def _result(result: GttResult, order: Mapping[str, Any], gtt: Gtt) -> Shape:
        return {
            "account_id": USER,
            **order,
            "validity": "DAY",
            "meta": f'{{"app_id":1,"gtt":{gtt.number}}}',
            "timestamp": clock_text(result.at),
            "triggered_at": number(result.price),
            "order_result": {
                "status": "failed" if result.rejection else "success",
                "order_id": result.order_id,
                "rejection_reason": result.rejection,
            },
        }
