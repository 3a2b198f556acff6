"""The clock that goes on while a process, or the whole machine, is suspended."""

from __future__ import annotations

import time

__all__ = ["boot_time"]


def boot_time() -> float:
    """Seconds since the machine was started, suspended time included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
