"""A Zerodha account as the arm's trader speaks to it: the official client, with an answer for whatever comes out."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Protocol, TypeVar

import requests

from panda_streams.boot_time import boot_time
from panda_streams.brokers.zerodha.answers import judge
from panda_streams.brokers.zerodha.book import TRIGGER, read_holdings, read_order, read_trade, read_triggers
from panda_streams.brokers.zerodha.connection import open_kite
from panda_streams.brokers.zerodha.login import Sessions
from panda_streams.brokers.zerodha.profile import endpoints
from panda_streams.brokers.zerodha.scrubbing import scrubbed
from panda_streams.brokers.zerodha.session import Session
from panda_streams.domain.brokerage import (
    Answer,
    AnswerKind,
    BrokerBook,
    BrokerHolding,
    BrokerStatus,
    BrokerTrigger,
    LoggedOut,
    Modification,
    OrderRequest,
    Progress,
    Unreachable,
)
from panda_streams.domain.signals import OrderType, Side, Validity
from panda_streams.identity import World
from panda_streams.kite import KiteProfile
from panda_streams.settings import Settings

__all__ = ["KiteClient", "SessionSource"]

T = TypeVar("T")

_VARIETY = "regular"
_TIME = "X-Panda-Time"
"""Tells the simulator the event time of a call's cause."""
_ORDER_ID = re.compile(rf"(?:{TRIGGER})?[A-Za-z0-9_-]{{1,64}}")
_AT_MARKET = frozenset({OrderType.MARKET, OrderType.SL_M})
_UNPROTECTED = (
    "not sent: an order at the market needs a market protection since 1 April 2026; set market_protection in the "
    "strategy's account"
)
_LEAVES_WITHIN_S = 3.0
"""How long after it was allowed a call may leave. A worker that is suspended in between has lost its account when it
wakes up: less than the rest of its group's session that its lease leaves, 4 s."""
_NO_LAST = "not sent: a stop that rests overnight needs the last price, and none was seen"
_NONE_REST = "not sent: the sandbox has no triggers (GTT)"
_REACHED = "not sent: the last price {last} has reached the trigger {trigger}, which would wait for it to come back"
_UNREAD = "not sent: {broker_id} was not in the list of triggers when that was read last"
_FIRED = "not sent: {broker_id} has fired, and its order has no trigger any more"
_OVER = "not sent: {broker_id} rests no more, it is {status}"
_SIMULATOR_WAITS_S = 10.0
"""Longer than the simulator waits for its ticks."""


class SessionSource(Protocol):
    """Gives the session to use; login.Sessions is one."""

    def current(self) -> Session:
        """Raises LoggedOut if there is none, Unreachable if it could not be got."""

    def died(self, session: Session) -> None:
        """Be told that Kite refused it."""


class KiteClient:
    """One account at Kite. Blocking, for one thread at a time; see BrokerClient.

    The session is asked for before each call, so that a new login is taken up at once.
    """

    def __init__(self, settings: Settings, sessions: SessionSource) -> None:
        self._at = endpoints(settings)
        self._settings = settings
        self._sessions = sessions
        self._simulated = self._at.profile is KiteProfile.SIMULATOR
        self._leave_by: float | None = None
        self._kite = open_kite(self._at, settings.kite_api_key, settings.kite_timeout_s, self._may_leave)
        self._has_triggers = self._at.profile is not KiteProfile.SANDBOX
        self._triggers: dict[str, BrokerTrigger] = {}
        """What rested overnight when that was read last, by id."""
        self._response: requests.Response | None = None
        self._kite.reqsession.hooks["response"].append(self._note)

    @classmethod
    def from_settings(cls, settings: Settings, world: World) -> KiteClient:
        """The account of a world's stored session."""
        return cls(settings, Sessions(settings, world))

    def close(self) -> None:
        """Close its connections."""
        self._kite.reqsession.close()

    def place(self, request: OrderRequest, at: int) -> Answer:
        if request.overnight:
            return self._place_trigger(request, at)
        if request.order_type in _AT_MARKET and not request.market_protection:
            return Answer(kind=AnswerKind.REFUSED, text=_UNPROTECTED)
        exchange, _, symbol = request.instrument.partition(":")
        fields = {
            "variety": _VARIETY,
            "exchange": exchange,
            "tradingsymbol": symbol,
            "transaction_type": request.side.value,
            "quantity": request.quantity,
            "product": request.product.value,
            "order_type": request.order_type.value,
            "price": _amount(request.price),
            "validity": request.validity.value,
            "validity_ttl": request.ttl_minutes if request.validity is Validity.TTL else None,
            "trigger_price": _amount(request.trigger),
            "tag": request.tag,
            "market_protection": _protection(request.order_type, request.market_protection),
        }
        return self._change(lambda: self._kite.place_order(**fields), at, placing=True)

    def modify(self, broker_id: str, change: Modification, at: int) -> Answer:
        if broker_id.startswith(TRIGGER):
            return self._modify_trigger(broker_id, change, at)
        if change.order_type in _AT_MARKET and not change.market_protection:
            return Answer(kind=AnswerKind.REFUSED, text=_UNPROTECTED)
        fields = {
            "variety": _VARIETY,
            "order_id": broker_id,
            "quantity": change.quantity,
            "price": _amount(change.price),
            "order_type": change.order_type and change.order_type.value,
            "trigger_price": _amount(change.trigger),
            "market_protection": _protection(change.order_type, change.market_protection),
        }
        return self._change(lambda: self._kite.modify_order(**fields), at, expected=broker_id)

    def cancel(self, broker_id: str, at: int) -> Answer:
        if broker_id.startswith(TRIGGER):
            return self._cancel_trigger(broker_id, at)
        return self._change(lambda: self._kite.cancel_order(_VARIETY, broker_id), at, expected=broker_id)

    def book(self, *, overnight: bool) -> BrokerBook:
        """Orders before trades, so that no trade is missing of an order that is read as filled; and before triggers,
        so that no order is read whose trigger has not fired yet."""

        def read() -> BrokerBook:
            orders = tuple(read_order(row) for row in self._kite.orders())
            listed = self._kite.get_gtts() if overnight and self._has_triggers else ()
            triggers = read_triggers(listed) if overnight else None
            trades = tuple(read_trade(row) for row in self._kite.trades())
            return BrokerBook(orders=orders, trades=trades, triggers=triggers)

        book = self._ask(read)
        if book.triggers is not None:
            self._triggers = {trigger.broker_id: trigger for trigger in book.triggers}
        return book

    def holdings(self) -> tuple[BrokerHolding, ...]:
        """As `read_holdings` of book.py adds them up."""
        return self._ask(lambda: read_holdings(self._kite.positions(), self._kite.holdings()))

    def user(self) -> str:
        """The user that Kite takes the session for; raises as the other questions do."""
        return self._ask(lambda: str(self._kite.profile()["user_id"]))

    def advance(self, until: int) -> Progress:
        if not self._simulated:
            return Progress(time=time.time_ns() // 1_000_000, version=0)
        url, timeout = f"{self._at.api_root}/sim/clock", self._settings.kite_timeout_s + _SIMULATOR_WAITS_S
        try:
            answer = self._kite.reqsession.post(url, json={"until": until}, timeout=timeout)
            answer.raise_for_status()
            reached = answer.json()
            return Progress(time=reached["time"], version=reached["version"])
        except Exception as error:  # noqa: BLE001  whatever it is, the simulator has not said how far it came
            raise Unreachable(self._told(error, f"the simulator at {self._at.api_root} did not advance")) from None

    def _place_trigger(self, request: OrderRequest, at: int) -> Answer:
        """Place a stop as a trigger of Kite's own (GTT). Kite keeps no label with it."""
        if not self._has_triggers:
            return Answer(kind=AnswerKind.REFUSED, text=_NONE_REST)
        last, trigger, price = request.last_price, request.trigger, request.price
        if last is None or trigger is None or price is None:
            return Answer(kind=AnswerKind.REFUSED, text=_NO_LAST)
        if _is_reached(request.side, trigger, last):
            return Answer(kind=AnswerKind.REFUSED, text=_REACHED.format(last=last, trigger=trigger))
        order = _triggered(request.side, request.quantity, request.product.value, price)
        terms = _terms(request.instrument, trigger, last, order)
        return self._change(lambda: _trigger_id(self._kite.place_gtt(*terms)), at, placing=True)

    def _modify_trigger(self, broker_id: str, change: Modification, at: int) -> Answer:
        """Give a trigger other terms, or the order that it has placed another quantity. Kite wants all terms again."""
        found = self._triggers.get(broker_id)
        if found is None:
            return Answer(kind=AnswerKind.THROTTLED, text=_UNREAD.format(broker_id=broker_id))
        if found.placed is not None:
            if change.quantity is None:
                return Answer(kind=AnswerKind.REFUSED, text=_FIRED.format(broker_id=broker_id))
            return self.modify(found.placed, Modification(quantity=change.quantity), at)
        if found.status is not BrokerStatus.TRIGGER_PENDING:
            return Answer(kind=AnswerKind.REFUSED, text=_OVER.format(broker_id=broker_id, status=found.status))
        trigger, last = found.trigger, found.last_price
        if change.trigger is not None:
            trigger, last = change.trigger, change.last_price or last
            if _is_reached(found.side, trigger, last):
                return Answer(kind=AnswerKind.REFUSED, text=_REACHED.format(last=last, trigger=trigger))
        order = _triggered(found.side, change.quantity or found.quantity, found.product, change.price or found.price)
        number, terms = broker_id.removeprefix(TRIGGER), _terms(found.instrument, trigger, last, order)
        return self._change(lambda: _trigger_id(self._kite.modify_gtt(number, *terms)), at, expected=broker_id)

    def _cancel_trigger(self, broker_id: str, at: int) -> Answer:
        """Delete a trigger, or cancel the order that it has placed."""
        found = self._triggers.get(broker_id)
        if found is not None and found.placed is not None:
            return self.cancel(found.placed, at)
        number = broker_id.removeprefix(TRIGGER)
        return self._change(lambda: _trigger_id(self._kite.delete_gtt(number)), at, expected=broker_id)

    def _change(self, call: Callable[[], object], at: int, *, placing: bool = False, expected: str = "") -> Answer:
        """Make a call once and say what is known of it; never raises for what Kite or the network does."""
        self._leave_by = boot_time() + _LEAVES_WITHIN_S
        try:
            return self._call(call, at, placing=placing, expected=expected)
        finally:
            self._leave_by = None

    def _may_leave(self) -> bool:
        return self._leave_by is None or boot_time() <= self._leave_by

    def _call(self, call: Callable[[], object], at: int, *, placing: bool, expected: str) -> Answer:
        try:
            session = self._enter()
        except LoggedOut as error:
            return Answer(kind=AnswerKind.LOGGED_OUT, text=str(error))
        except Unreachable as error:
            return Answer(kind=AnswerKind.THROTTLED, text=f"not sent: {error}")
        headers = self._kite.reqsession.headers
        if self._simulated:
            headers[_TIME] = str(at)
        try:
            order_id = call()
        except Exception as error:  # noqa: BLE001  any class comes out of the client, and each must have an answer
            kind, text = judge(error, self._response, placing=placing)
            if kind is AnswerKind.LOGGED_OUT:
                self._sessions.died(session)
            return Answer(kind=kind, text=self._scrub(text, session))
        finally:
            headers.pop(_TIME, None)
        status = self._response.status_code if self._response is not None else None
        clean = status == 200 and isinstance(order_id, str) and _ORDER_ID.fullmatch(order_id)
        if clean and isinstance(order_id, str) and expected in ("", order_id):
            return Answer(kind=AnswerKind.TAKEN, broker_id=order_id)
        odd = f"HTTP {status}, and instead of an order's id: {order_id!r}"
        return Answer(kind=AnswerKind.UNSURE, text=self._scrub(odd, session))

    def _ask(self, question: Callable[[], T]) -> T:
        """What Kite says to a question; raises LoggedOut or Unreachable, free of secrets."""
        session = self._enter()
        try:
            return question()
        except Exception as error:  # noqa: BLE001  the client and the reading raise anything
            kind, text = judge(error, self._response, placing=False)
            if kind is AnswerKind.LOGGED_OUT:
                self._sessions.died(session)
                raise LoggedOut(self._scrub(text, session)) from None
            raise Unreachable(self._told(error, f"Kite at {self._at.api_root} gave no answer", session)) from None

    def _enter(self) -> Session:
        session = self._sessions.current()
        self._kite.set_access_token(session.access_token.get_secret_value())
        self._response = None
        return session

    def _note(self, response: requests.Response, *_: Any, **__: Any) -> None:
        self._response = response

    def _told(self, error: Exception, what: str, session: Session | None = None) -> str:
        return self._scrub(f"{what}: {type(error).__name__}: {error}", session)

    def _scrub(self, text: str, session: Session | None = None) -> str:
        secrets = [self._settings.kite_api_key, self._settings.kite_api_secret.get_secret_value()]
        if session is not None:
            secrets.append(session.access_token.get_secret_value())
        return scrubbed(text, secrets)


def _is_reached(side: Side, trigger: Decimal, last: Decimal) -> bool:
    """Whether a stop's trigger is reached: Kite would take it for one that is reached from the other side."""
    return last <= trigger if side is Side.SELL else last >= trigger


def _triggered(side: Side, quantity: int, product: str, price: Decimal) -> dict[str, object]:
    """The order that a trigger places. Kite takes prices as numbers of JSON: a float's text is the decimal's."""
    return {
        "transaction_type": side.value,
        "quantity": quantity,
        "order_type": OrderType.LIMIT.value,
        "product": product,
        "price": float(price),
    }


def _terms(
    instrument: str, trigger: Decimal, last: Decimal, order: dict[str, object]
) -> tuple[str, str, str, list[float], float, list[dict[str, object]]]:
    """The terms of a trigger, in the order of the client's arguments."""
    exchange, _, symbol = instrument.partition(":")
    return "single", symbol, exchange, [float(trigger)], float(last), [order]


def _trigger_id(data: object) -> str:
    """Our id of the trigger that an answer names; raises ValueError if it names none."""
    number = data.get("trigger_id") if isinstance(data, dict) else None
    if isinstance(number, bool) or not isinstance(number, int) or number <= 0:
        raise ValueError(f"instead of a trigger's id: {data!r}")
    return f"{TRIGGER}{number}"


def _amount(value: Decimal | None) -> str | None:
    """Without an exponent: Kite does not read 1E+2."""
    return None if value is None else f"{value:f}"


def _protection(order_type: OrderType | None, value: Decimal | None) -> str | None:
    """Only orders at the market have one; it means nothing to the others."""
    return _amount(value) if order_type in _AT_MARKET else None
