"""A Zerodha account as the arm's trader speaks to it: the official client, with an answer for whatever comes out."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Protocol, TypeVar

import requests

from panda_streams.brokers.zerodha.answers import judge
from panda_streams.brokers.zerodha.book import read_holdings, read_order, read_trade
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
    LoggedOut,
    Modification,
    OrderRequest,
    Progress,
    Unreachable,
)
from panda_streams.domain.signals import OrderType, Validity
from panda_streams.identity import World
from panda_streams.kite import KiteProfile
from panda_streams.settings import Settings

__all__ = ["KiteClient", "SessionSource"]

T = TypeVar("T")

_VARIETY = "regular"
_TIME = "X-Panda-Time"
"""Tells the simulator the event time of a call's cause."""
_ORDER_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_AT_MARKET = frozenset({OrderType.MARKET, OrderType.SL_M})
_UNPROTECTED = (
    "not sent: an order at the market needs a market protection since 1 April 2026; set market_protection in the "
    "strategy's account"
)
_LEAVES_WITHIN_S = 3.0
"""How long after it was allowed a call may leave. A worker that is suspended in between has lost its account when it
wakes up: less than the rest of its group's session that its lease leaves, 4 s."""
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
        return self._change(lambda: self._kite.cancel_order(_VARIETY, broker_id), at, expected=broker_id)

    def book(self) -> BrokerBook:
        """Orders first, so that no trade is missing of an order that is read as filled."""

        def read() -> BrokerBook:
            orders = tuple(read_order(row) for row in self._kite.orders())
            return BrokerBook(orders=orders, trades=tuple(read_trade(row) for row in self._kite.trades()))

        return self._ask(read)

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

    def _change(self, call: Callable[[], object], at: int, *, placing: bool = False, expected: str = "") -> Answer:
        """Make a call once and say what is known of it; never raises for what Kite or the network does."""
        self._leave_by = _boot_time() + _LEAVES_WITHIN_S
        try:
            return self._call(call, at, placing=placing, expected=expected)
        finally:
            self._leave_by = None

    def _may_leave(self) -> bool:
        return self._leave_by is None or _boot_time() <= self._leave_by

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


def _boot_time() -> float:
    """Seconds since the machine was started, suspended time included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _amount(value: Decimal | None) -> str | None:
    """Without an exponent: Kite does not read 1E+2."""
    return None if value is None else f"{value:f}"


def _protection(order_type: OrderType | None, value: Decimal | None) -> str | None:
    """Only orders at the market have one; it means nothing to the others."""
    return _amount(value) if order_type in _AT_MARKET else None
