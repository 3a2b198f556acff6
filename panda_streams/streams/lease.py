"""The lease of a worker: proof from the group's heartbeats that it still owns its partitions.

A process that was suspended for longer than the group's session wakes up with records in hand, and would write old
rows over those of its successor. So it writes only while the group's last word is young. The clock counts the time
in which the machine was asleep, too.

Relies on `GroupCoordinator._do_heartbeat` and `_rejoin_needed_fut` of aiokafka 0.14.0. Not needed any more once Faust
or aiokafka tells when the last heartbeat that the group accepted was sent.
"""

from __future__ import annotations

from typing import Any

from aiokafka.consumer.group_coordinator import GroupCoordinator

from panda_streams.boot_time import boot_time

__all__ = ["Lease"]

_SESSION_SHARE = 0.6
_REBALANCE_SHARE = 0.5


class Lease:
    """Whether this worker may write now.

    `session_s` and `rebalance_s` are the timeouts of its group.
    """

    def __init__(self, session_s: float, rebalance_s: float) -> None:
        self._session_s = session_s
        self._rebalance_s = rebalance_s
        self._renewed = -session_s
        self._revoked: float | None = None

    def renew(self, sent: float) -> None:
        """A heartbeat that was sent at `sent` (boot time) was accepted: from its sending on, not its answer."""
        self._renewed = max(self._renewed, sent)

    def assigned(self) -> None:
        """The group has just handed out partitions to this worker."""
        self._revoked = None
        self.renew(boot_time())

    def revoked(self) -> None:
        """A rebalance has begun: what is in hand may be finished, while the group waits for this worker."""
        if self._revoked is None:
            self._revoked = boot_time()

    def valid(self) -> bool:
        now = boot_time()
        if self._revoked is not None and now - self._revoked > self._rebalance_s * _REBALANCE_SHARE:
            return False
        return now - self._renewed <= self._session_s * _SESSION_SHARE

    def follow(self) -> None:
        """Renew with every heartbeat of this process's group member from now on."""
        heartbeat = GroupCoordinator._do_heartbeat
        lease = self

        async def _do_heartbeat(coordinator: Any) -> Any:
            sent = boot_time()
            accepted = await heartbeat(coordinator)
            if accepted:
                lease.renew(sent)
                if coordinator._rejoin_needed_fut.done():
                    # The group is rebalancing, and waits for this member only so long: an event loop that is blocked
                    # hears of it here, in the consumer's thread, before it hears of it by itself.
                    lease.revoked()
            return accepted

        GroupCoordinator._do_heartbeat = _do_heartbeat
