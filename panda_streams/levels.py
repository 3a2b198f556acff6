"""The levels in force: modes of arms and pauses of strategies, as the control topics say."""

from __future__ import annotations

import logging

from panda_streams.codec import decode
from panda_streams.errors import BadEvent
from panda_streams.events import Level, Mode
from panda_streams.topics import level_key

__all__ = ["Levels", "MODE", "STRATEGY_STATE", "strategy_scope"]

_log = logging.getLogger(__name__)

MODE = "mode"
"""Setting of an arm (scope: its namespace) or of every arm (scope `all`)."""
STRATEGY_STATE = "state"
"""Setting of a strategy: ACTIVE or PAUSED."""
ALL = "all"


def strategy_scope(strategy_id: str) -> str:
    return f"strategy:{strategy_id}"


class Levels:
    """The last level of each (topic, key)."""

    def __init__(self) -> None:
        self._levels: dict[bytes, Level] = {}
        self.revision = 0
        """Counts the changes."""
        self._modes: dict[str, tuple[Mode, Level | None]] = {}
        self._modes_of = -1
        """The revision that these were found in: execution asks at every tick."""

    def apply(self, topic: str, key: bytes, value: bytes) -> None:
        """Take in a record of a control topic; one that cannot be read leaves the level as it was, and says so."""
        try:
            self._levels[key] = decode(Level, value)
            self.revision += 1
        except BadEvent as error:
            _log.error("ignoring a record of %s with key %r: %s", topic, key, error)

    def mode(self, namespace: str) -> tuple[Mode, Level | None]:
        """The mode that operators have set an arm to, the stricter of its own and that of all arms; and the level that
        says so, None for ACTIVE."""
        if self._modes_of != self.revision:
            self._modes, self._modes_of = {}, self.revision
        known = self._modes.get(namespace)
        if known is None:
            known = self._modes[namespace] = self._mode(namespace)
        return known

    def _mode(self, namespace: str) -> tuple[Mode, Level | None]:
        found: tuple[Mode, Level | None] = (Mode.ACTIVE, None)
        for scope in (namespace, ALL):
            level = self._levels.get(level_key(scope, MODE))
            if level is not None and (mode := _mode(level.value)).rank > found[0].rank:
                found = mode, level
        return found

    def paused(self, strategy_id: str) -> Level | None:
        """The level that pauses a strategy, if one does."""
        level = self._levels.get(level_key(strategy_scope(strategy_id), STRATEGY_STATE))
        return level if level is not None and level.value == "PAUSED" else None


def _mode(value: str) -> Mode:
    """A mode as it stands in a level; one that this version does not know forbids all that a halt does."""
    try:
        return Mode(value)
    except ValueError:
        return Mode.HALTED
