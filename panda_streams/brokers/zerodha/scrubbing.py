"""Keeps keys, tokens and secrets out of every text that is shown, logged or raised."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from urllib.parse import quote

__all__ = ["HIDDEN", "quiet_requests", "scrubbed"]

HIDDEN = "***"
_LONGEST = 400
"""Characters of a broker's text that are passed on: an error page can be long."""
_NAMED = re.compile(
    r"(?i)\b((?:access|request|refresh|public)_token|enctoken|api_key|api_secret|checksum)"
    r"(\\?[\"']?\s*[=:]\s*\\?[\"']?)[^\s&\"'\\,;})]+"
)
"""A name of Kite's secrets with its value, in a query, a form or JSON: also those that are not ours to know."""
_HEADER = re.compile(r"(?i)\btoken [^\s:\"']+:[^\s\"'\\,)]+")


def scrubbed(text: str, secrets: Iterable[str] = ()) -> str:
    """`text` on one line and cut to a bearable length, without the given secrets and whatever is named as one."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        for form in {secret, quote(secret, safe="")}:
            text = text.replace(form, HIDDEN)
    text = _NAMED.sub(rf"\1\2{HIDDEN}", text)
    text = " ".join(_HEADER.sub(f"token {HIDDEN}", text).split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


class _NoTokens(logging.Filter):
    """Drops the lines of urllib3 that tell a request's query: the one that ends a session has the token in it."""

    def filter(self, record: logging.LogRecord) -> bool:
        return _NAMED.search(record.getMessage()) is None


_NO_TOKENS = _NoTokens()


def quiet_requests() -> None:
    """Let the log of requests never tell a token, whatever level it has; safe to repeat."""
    # A filter of a logger is not asked for what its children log, so it is put on the one that does.
    logging.getLogger("urllib3.connectionpool").addFilter(_NO_TOKENS)
