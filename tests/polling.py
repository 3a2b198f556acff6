"""Waits for what other processes do, with a deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

__all__ = ["eventually", "eventually_async"]

T = TypeVar("T")

_PAUSE_S = 0.05


def eventually(check: Callable[[], T], *, timeout_s: float = 15.0, what: str) -> T:
    """Call `check` until what it returns is true, and return that; fail with `what` after `timeout_s` seconds.

    An AssertionError of `check` counts as not yet, and is shown if it is the last.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        reason = ""
        try:
            if found := check():
                return found
        except AssertionError as error:
            reason = f": {error}"
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}{reason}"
        time.sleep(_PAUSE_S)


async def eventually_async(check: Callable[[], Awaitable[T]], *, timeout_s: float = 15.0, what: str) -> T:
    """As `eventually`, for a check that is awaited."""
    deadline = time.monotonic() + timeout_s
    while True:
        reason = ""
        try:
            if found := await check():
                return found
        except AssertionError as error:
            reason = f": {error}"
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}{reason}"
        await asyncio.sleep(_PAUSE_S)
