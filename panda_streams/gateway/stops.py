"""The stops of an arm as people see them: each with what to do about it. Pure."""

from __future__ import annotations

from panda_streams.domain.risk.modes import StopReason
from panda_streams.gateway.views import StopView
from panda_streams.mirrored import StopRecord

__all__ = ["stop_view"]

_LIMITS = {
    StopReason.DAILY_LOSS.value: "max_daily_loss",
    StopReason.DRAWDOWN.value: "max_drawdown",
    StopReason.REJECTIONS.value: "max_rejections_per_day",
    StopReason.UNKNOWN_ORDERS.value: "max_unknown_orders",
}
"""Limits of stops that come again at once after a resume if what they saw is still beyond them."""


def stop_view(namespace: str, stop: StopRecord) -> StopView:
    """A stop of the arm of `namespace`, with its remedy; one of a reason that is not known here has one too."""
    resume = f"panda resume {namespace}"
    fix = resume
    if stop.reason == StopReason.FEED_STALE:
        fix = f"see that ticks come again, then {resume}"
    elif limit := _LIMITS.get(stop.reason):
        fix = f"find out why, then {resume}; beyond {stop.level}/{limit} it stops again (panda risk set)"
    return StopView(**stop.model_dump(), fix=fix, chosen=stop.reason == StopReason.FLATTENED)
