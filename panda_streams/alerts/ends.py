"""What a supervisor tells of a process that has ended."""

from __future__ import annotations

from panda_streams.alerts.kinds import Alert, AlertKind
from panda_streams.embedded.supervisor import Ended

__all__ = ["alert_of"]


def alert_of(end: Ended) -> Alert:
    """Say that a process has ended and what happens now; nothing of its output, which may hold anything."""
    kind = AlertKind.WORKER_STALLED if end.hung else AlertKind.WORKER_DIED
    if end.again_in_s is None:
        then = "A restart cannot mend that, so it is not started again; `panda status` and its log say more."
    else:
        then = f"It starts again in {end.again_in_s:g} s."
    title = f"{end.name} {'hung' if end.hung else 'died'}"
    return Alert(kind, title, f"{end.name} {end.how} after {end.ran_s:.1f} s. {then}")
