"""The levels in force: modes of arms and pauses of strategies, as the control topics say."""

from __future__ import annotations

import logging

from panda_streams.codec import decode
from panda_streams.errors import BadEvent
from panda_streams.events import Level, Mode
from panda_streams.topics import level_key

__all__ = ["ALL", "Levels", "MODE", "STRATEGY_STATE", "strategy_scope"]

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

    def apply(self, topic: str, key: bytes, value: bytes) -> None:
        """Take in a record of a control topic; one that cannot be read leaves the level as it was, and says so."""
        try:
            self._levels[key] = decode(Level, value)
            self.revision += 1
        except BadEvent as error:
            _log.error("ignoring a record of %s with key %r: %s", topic, key, error)

    def halted(self, namespace: str) -> Level | None:
        """The level that halts an arm, if one does: its own or that of all arms."""
        for scope in (namespace, ALL):
            level = self._levels.get(level_key(scope, MODE))
            if level is not None and level.value != Mode.ACTIVE:
                return level
        return None

    def paused(self, strategy_id: str) -> Level | None:
        """The level that pauses a strategy, if one does."""
        level = self._levels.get(level_key(strategy_scope(strategy_id), STRATEGY_STATE))
        return level if level is not None and level.value == "PAUSED" else None

    def last(self, scope: str, setting: str) -> Level | None:
        """What was set last, whether it changes anything or not."""
        return self._levels.get(level_key(scope, setting))
