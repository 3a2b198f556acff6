"""How fast a broker lets an account place orders: counted before each call, so that a restart forgets nothing.

Zerodha's limits: 10 order calls a second of its clock, 400 orders a minute, 5,000 a day (Kite Connect documentation,
"Exceptions": rate limits). What only reduces has a reserve of each.
"""

from __future__ import annotations

from panda_streams.domain.calendar import trading_date
from panda_streams.domain.values import Value

__all__ = ["PER_DAY", "PER_MINUTE", "PER_SECOND", "Rates"]

PER_SECOND = 10
PER_MINUTE = 400
PER_DAY = 5000
_RESERVE = {PER_SECOND: 2, PER_MINUTE: 40, PER_DAY: 200}
"""Of each limit, what entries leave to orders that only reduce, and to cancellations and changes."""
_MINUTE = 60
_WINDOW_MS = 1100
"""The broker counts by the seconds of its own clock, which differs from ours: no span of that length has more calls
than the limit, so no second of any clock has. A tenth of it is for calls that are longer under way than others."""


class Rates(Value):
    """Calls of an account so far. Times are the broker's, in milliseconds since the epoch."""

    recent: tuple[int, ...] = ()
    """When the last calls left, as many as a second may have."""
    placed: dict[str, int] = {}  # noqa: RUF012  pydantic copies defaults
    """Orders placed by second since the epoch, of the last minute."""
    date: str = ""
    day: int = 0
    """Orders placed on that trading date."""

    def allows(self, now: int, *, placing: bool, reserve: bool) -> bool:
        """Whether a call may leave now; `reserve` lets it use what is kept for those that only reduce."""
        if sum(now - at < _WINDOW_MS for at in self.recent) >= _limit(PER_SECOND, reserve):
            return False
        if not placing:
            return True
        second = now // 1000
        minute = sum(count for at, count in self.placed.items() if second - _MINUTE <= int(at) <= second)
        return minute < _limit(PER_MINUTE, reserve) and not self.spent(now, reserve=reserve)

    def spent(self, now: int, *, reserve: bool) -> bool:
        """Whether the day's orders are used up."""
        return self.date == trading_date(now).isoformat() and self.day >= _limit(PER_DAY, reserve)

    def counted(self, now: int, *, placing: bool) -> Rates:
        """These with a call more."""
        second, today = now // 1000, trading_date(now).isoformat()
        placed = {at: count for at, count in self.placed.items() if int(at) >= second - _MINUTE}
        if placing:
            placed[str(second)] = placed.get(str(second), 0) + 1
        day = (self.day if self.date == today else 0) + placing
        return Rates(recent=(*self.recent, now)[-PER_SECOND:], placed=placed, date=today, day=day)


def _limit(limit: int, reserve: bool) -> int:
    return limit if reserve else limit - _RESERVE[limit]
