"""The levels in force: modes of arms, pauses of strategies and limits set at run time, as the control topics say."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from panda_streams.codec import decode
from panda_streams.domain.risk.limits import parse_override
from panda_streams.events import Level, Mode
from panda_streams.topics import level_key

__all__ = ["ALL", "Levels", "MODE", "STRATEGY_STATE", "UNSET", "limit_setting", "strategy_scope"]

_log = logging.getLogger(__name__)

MODE = "mode"
"""Setting of an arm (scope: its namespace) or of every arm (scope `all`)."""
STRATEGY_STATE = "state"
"""Setting of a strategy: ACTIVE or PAUSED."""
ALL = "all"
_LIMIT = "limit:"
UNSET = ""
"""Value of a limit's level that takes it back: what the files say is in force again."""


def strategy_scope(strategy_id: str) -> str:
    return f"strategy:{strategy_id}"


def limit_setting(key: str) -> str:
    """The setting of an arm for one of its limits: `key` as `strategy:Momentum_NIFTY_1/max_position`."""
    return f"{_LIMIT}{key}"


class Levels:
    """The last level of each (topic, key)."""

    def __init__(self) -> None:
        self._levels: dict[bytes, Level] = {}
        self.revision = 0
        """Counts the changes."""
        self._modes: tuple[int, dict[str, tuple[Mode, Level | None]]] = -1, {}
        """A revision, and what was found in it: execution asks at every tick. The thread that sends orders asks, too:
        what it finds while a level changes is kept where nobody looks any more."""

    def apply(self, topic: str, key: bytes, value: bytes) -> None:
        """Take in a record of a control topic; one that cannot be read leaves the level as it was, and says so."""
        try:
            level = decode(Level, value)
            if level.setting.startswith(_LIMIT) and level.value != UNSET:
                parse_override(level.setting.removeprefix(_LIMIT), level.value)
        except ValueError as error:  # BadEvent, or a limit that this version does not know
            _log.error("ignoring a record of %s with key %r: %s", topic, key, error)
            return
        self._levels[key] = level
        self.revision += 1

    def mode(self, namespace: str) -> tuple[Mode, Level | None]:
        """The mode that operators have set an arm to, the stricter of its own and that of all arms; and the level that
        says so, None for ACTIVE."""
        revision, modes = self._modes
        if revision != self.revision:
            self._modes = _, modes = self.revision, {}
        known = modes.get(namespace)
        if known is None:
            known = modes[namespace] = self._mode(namespace)
        return known

    def _mode(self, namespace: str) -> tuple[Mode, Level | None]:
        found: tuple[Mode, Level | None] = (Mode.ACTIVE, None)
        for scope in (namespace, ALL):
            level = self._levels.get(level_key(scope, MODE))
            if level is not None and (mode := _mode(level.value)).rank > found[0].rank:
                found = mode, level
        return found

    def modes_set(self, namespace: str) -> dict[str, int]:
        """Wall time at which the modes of an arm and of all arms were set last, by scope: what a worker has heard."""
        levels = {scope: self.last(scope, MODE) for scope in (namespace, ALL)}
        return {scope: level.at for scope, level in levels.items() if level is not None}

    def paused(self, strategy_id: str) -> Level | None:
        """The level that pauses a strategy, if one does."""
        level = self._levels.get(level_key(strategy_scope(strategy_id), STRATEGY_STATE))
        return level if level is not None and level.value == "PAUSED" else None

    def last(self, scope: str, setting: str) -> Level | None:
        """What was set last, whether it changes anything or not."""
        return self._levels.get(level_key(scope, setting))

    def limits(self, namespace: str) -> Mapping[str, str]:
        """The limits of an arm that are set at run time, by key, as text: what `with_overrides` takes."""
        return {key: level.value for key, level in self.limit_levels(namespace).items()}

    def limit_levels(self, namespace: str) -> Mapping[str, Level]:
        """The levels that set them: with who, when and why."""
        return {
            level.setting.removeprefix(_LIMIT): level
            for level in self._levels.values()
            if level.scope == namespace and level.setting.startswith(_LIMIT) and level.value != UNSET
        }


def _mode(value: str) -> Mode:
    """A mode as it stands in a level; one that this version does not know forbids all that a halt does."""
    try:
        return Mode(value)
    except ValueError:
        return Mode.HALTED
