"""Judges what came of a call that changes orders: whether it is proved that Kite did not take it.

Kite's place has no key that makes it safe to repeat, and orders have been placed behind timeouts, gateway errors and
even a 400 (Kite forum 8124, 9602, 35732, 41029). So only what the broker itself refused in its own form, with a status
that means a refusal, is REFUSED; whatever else comes out of the client is UNSURE.
"""

from __future__ import annotations

import re

import requests
from urllib3.exceptions import MaxRetryError, NewConnectionError

from panda_streams.brokers.zerodha.connection import TooLate
from panda_streams.domain.brokerage import AnswerKind

__all__ = ["judge", "never_sent"]

_REFUSING_STATUS = frozenset({400, 403, 404, 405, 410, 428})
"""The statuses that Kite documents for a request that it will not carry out; 408 and 499 are not among them."""
_REFUSING_TYPES = frozenset(
    {
        "HoldingException",
        "InputException",
        "MarginException",
        "OrderException",
        "PermissionException",
        "UserException",
    }
)
_TIMED_OUT = re.compile(r"(?i)timed?[\s-]*out|before placing again|check the order\s?book(?! for open orders)")
"""In the text of a 400 that hides a placed order: "Order request timed out. Please check the order book and confirm
before placing again." A refusal for want of margin says "Check the orderbook for open orders", and is one."""
_NO_KEY = re.compile(r"(?i)api_key.*access_token")
_NOT_WORKING = re.compile(
    r"(?i)\balready\b|\bcomplete|not (?:open|found|pending)|could ?n.t find|cannot be (?:cancel|modif)|being processed"
    r"|does not exist|\btriggered\b"
)
"""Why an order is not modified or cancelled; Kite gives it the type GeneralException too."""


def judge(error: Exception, response: requests.Response | None, *, placing: bool) -> tuple[AnswerKind, str]:
    """What is known after `error` came out of the client; `response` is what had been received of the answer by then.

    The text is the broker's, or names the error; secrets are still in it. `placing` is False of a modification and of
    a cancellation, which name an order that may have ended.
    """
    if never_sent(error):
        return AnswerKind.THROTTLED, f"not sent, there is no connection: {error}"
    if isinstance(error, TooLate) and not error.begun:
        return AnswerKind.THROTTLED, f"not sent: {error}"
    told = f"{type(error).__name__}: {error}"
    if response is None:
        return AnswerKind.UNSURE, told
    status = response.status_code
    # An answer that broke off is not read again: that could wait once more.
    kind, message = ("", "") if isinstance(error, requests.RequestException) else _refusal(response)
    if status == 429:
        return AnswerKind.THROTTLED, message or f"HTTP 429, too many requests ({type(error).__name__})"
    told = f"HTTP {status}, {told}"
    if not kind or status not in _REFUSING_STATUS or _TIMED_OUT.search(message):
        return AnswerKind.UNSURE, told
    if _wants_login(status, kind, message):
        return AnswerKind.LOGGED_OUT, message
    if kind in _REFUSING_TYPES or (not placing and kind == "GeneralException" and _NOT_WORKING.search(message)):
        return AnswerKind.REFUSED, message
    return AnswerKind.UNSURE, told


def never_sent(error: Exception) -> bool:
    """True if no connection was made, so that not a byte of the request can have arrived."""
    cause = error.args[0] if isinstance(error, requests.ConnectionError) and error.args else None
    return isinstance(cause, MaxRetryError) and isinstance(cause.reason, NewConnectionError)


def _refusal(response: requests.Response) -> tuple[str, str]:
    """Type and message of an error in Kite's form; empty ones of anything else."""
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return "", ""
    kind, message = (body.get("error_type"), body.get("message")) if isinstance(body, dict) else (None, None)
    if not isinstance(kind, str) or not isinstance(message, str) or body.get("status") != "error":
        return "", ""
    return kind, message


def _wants_login(status: int, kind: str, message: str) -> bool:
    if kind == "TokenException":
        return True
    # A missing or wrong header can come as a 400 of another type.
    return (status == 403 and kind != "PermissionException") or (status == 400 and bool(_NO_KEY.search(message)))
