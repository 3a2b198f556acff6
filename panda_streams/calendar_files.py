"""Builds the trading calendar: the holidays of a library, the corrections of the package's file, then the user's."""

from __future__ import annotations

from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from holidays import financial_holidays
from pydantic import Field, model_validator

from panda_streams.domain.calendar import Calendar, Hours, Market, SpecialSession
from panda_streams.domain.values import Value
from panda_streams.errors import BadInput
from panda_streams.identity import World
from panda_streams.yaml_texts import TextFile

__all__ = ["CalendarFile", "calendar_of", "load_calendar"]

V = TypeVar("V")

_PACKAGED = Path(str(files("panda_streams") / "data" / "calendar_nse.yaml"))
_FIX = "correct that entry; panda_streams/data/calendar_nse.yaml shows the form"


class CalendarFile(Value):
    """What a calendar file holds; an entry without a value takes that of the package's file away."""

    years: frozenset[int] = frozenset()
    holidays: dict[date, str | None] = Field(default_factory=dict)
    sessions: dict[date, SpecialSession | None] = Field(default_factory=dict)
    hours: dict[Market, dict[date, Hours | None]] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _drop_empty_sections(cls, content: Any) -> Any:
        if isinstance(content, dict):
            return {section: entries for section, entries in content.items() if entries is not None}
        return {} if content is None else content


def calendar_of(world: World, path: Path | None) -> Calendar:
    """The calendar of a world: the simulator's market keeps hours of its own, every other world has the exchanges'.

    Raises BadInput as `load_calendar` does.
    """
    return Calendar.simulated() if world.name == "sim" else load_calendar(path)


def load_calendar(path: Path | None = None) -> Calendar:
    """Read the package's calendar and, on top of it, the file `path`; raise BadInput that names the entry."""
    ours = _read(_PACKAGED)
    users = CalendarFile() if path is None else _read(path)
    # Only for the years that were compared with the circulars: beyond them the library guesses moon dates.
    listed = dict(financial_holidays("XNSE", years=ours.years, language="en_IN"))
    try:
        return Calendar(
            {market: _merge(ours.hours.get(market, {}), users.hours.get(market, {})) for market in Market},
            _merge(listed, ours.holidays, users.holidays),
            _merge(ours.sessions, users.sessions),
            ours.years | users.years,
        )
    except ValueError as error:
        raise BadInput(f"calendar file {path or _PACKAGED}: {error}", fix=_FIX) from None


def _merge(*layers: dict[date, V | None]) -> dict[date, V]:
    """The entries of all layers, each from the last one that has it."""
    merged: dict[date, V | None] = {}
    for layer in layers:
        merged.update(layer)
    return {on: entry for on, entry in merged.items() if entry is not None}


def _read(path: Path) -> CalendarFile:
    return TextFile(path, "calendar file", "PANDA_CALENDAR", _FIX).read(CalendarFile.model_validate)
