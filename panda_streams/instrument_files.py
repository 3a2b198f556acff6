"""Reads instruments: lists in YAML, Kite's dumps, and the freeze quantities that a dump does not have."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
import yaml

from panda_streams.domain.instruments import Instrument, InstrumentKind, Instruments
from panda_streams.errors import BadInput
from panda_streams.kite_dump import Problem, is_dump, read_dump

__all__ = ["PACKAGE", "FreezeQuantities", "Listing", "load_instruments", "read_instruments"]

_log = logging.getLogger(__name__)

PACKAGE = "package"
"""Stands for the package's own list in PANDA_INSTRUMENTS."""
_DATA = Path(str(files("panda_streams") / "data"))
_LOGGED = 5
"""Problems of the files that a process logs one by one; `panda instruments check` shows all."""


class FreezeQuantities(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Most units that one order for the derivatives of an underlying may have, by the underlying's id."""

    as_of: date
    """First day on which they apply."""
    source: str
    quantities: dict[str, int]


@dataclass(frozen=True, slots=True)
class Listing:
    """What the files of PANDA_INSTRUMENTS say together, and what is wrong with them."""

    instruments: Instruments
    problems: tuple[Problem, ...]
    unsupported: Mapping[str, int]
    """Rows of segments that cannot be traded here, as currencies and commodities."""
    replaced: tuple[str, ...]
    """Instruments that a file says something else of than one before it: the later one counts."""
    freeze: FreezeQuantities


def load_instruments(where: str | os.PathLike[str] | None = None) -> Instruments:
    """Read what PANDA_INSTRUMENTS names; log what cannot be used of it. Raises BadInput as `read_instruments` does."""
    listing = read_instruments(where)
    for problem in listing.problems[:_LOGGED]:
        _log.warning("instruments: %s", problem)
    if len(listing.problems) > _LOGGED:
        _log.warning("instruments: %d problems in all; see `panda instruments check`", len(listing.problems))
    return listing.instruments


def read_instruments(where: str | os.PathLike[str] | None = None) -> Listing:
    """Read one file, or several joined by `:`; without one the package's own list.

    A file is a list of instruments in YAML, a dump of Kite (*.csv or *.csv.gz), a mapping of freeze quantities in YAML
    (data/freeze_quantities.yaml shows the form), or the word `package` for the package's list. A later file counts
    where two of them know an instrument. Raises BadInput that names file and place if one cannot be read, or an entry
    of a YAML file is wrong; wrong rows of a dump are among the problems.
    """
    known: dict[str, Instrument] = {}
    problems: list[Problem] = []
    unsupported: Counter[str] = Counter()
    replaced: list[str] = []
    freeze = _freeze_quantities(_DATA / "freeze_quantities.yaml", _yaml(_DATA / "freeze_quantities.yaml"))
    for name in os.fspath(where or PACKAGE).split(os.pathsep):
        path = _DATA / "instruments_nse.yaml" if name == PACKAGE else Path(name).expanduser()
        if is_dump(path):
            dump = read_dump(path)
            found: Iterable[Instrument] = dump.instruments.values()
            problems += dump.problems
            unsupported += dump.unsupported
        else:
            data = _yaml(path)
            if isinstance(data, dict):
                freeze = _freeze_quantities(path, data)
                continue
            found = _list(path, data)
        for instrument in found:
            before = known.get(instrument.id)
            known[instrument.id] = instrument if before is None else _over(before, instrument)
            if before is not None and known[instrument.id] != before:
                replaced.append(instrument.id)
    try:
        instruments = Instruments(_completed(known, freeze.quantities))
    except ValueError as error:
        raise BadInput(f"freeze quantities ({freeze.source}): {error}", fix="correct the quantity") from None
    if not len(instruments):
        raise BadInput(f"{os.fspath(where or PACKAGE)} has no instrument that can be traded", fix=_FIX)
    problems += _shared_tokens(instruments)
    return Listing(instruments, tuple(problems), unsupported, tuple(replaced), freeze)


_FIX = "correct that entry; panda_streams/data/instruments_nse.yaml shows the form"


def _yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text())
    except OSError as error:
        raise BadInput(f"instruments file {path}: {error.strerror}", fix="set PANDA_INSTRUMENTS to a file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(f"instruments file {path} is not YAML: {error}", fix=_FIX) from None


def _list(path: Path, data: Any) -> Iterable[Instrument]:
    if not isinstance(data, list):
        what = f"expected a list of instruments, found {type(data).__name__}"
        raise BadInput(f"instruments file {path}: {what}", fix=_FIX)
    try:
        return Instruments(msgspec.convert(data, list[Instrument]))
    except msgspec.ValidationError as error:
        what, _, place = str(error).partition(" - at ")
        # `$[3].kind` is the field kind of entry 3, the first being 0.
        entry = place.strip("`$").replace("[", "").replace("]", "")
        raise BadInput(f"instruments file {path}, entry {entry}: {what}", fix=_FIX) from None
    except ValueError as error:
        raise BadInput(f"instruments file {path}: {error}", fix=_FIX) from None


def _freeze_quantities(path: Path, data: Any) -> FreezeQuantities:
    try:
        return msgspec.convert(data, FreezeQuantities)
    except msgspec.ValidationError as error:
        fix = "write a list of instruments, or freeze quantities as panda_streams/data/freeze_quantities.yaml has them"
        raise BadInput(f"instruments file {path}: {error}", fix=fix) from None


def _over(before: Instrument, after: Instrument) -> Instrument:
    """What a later file says, with the fields of the market simulator, which no exchange knows."""
    return msgspec.structs.replace(
        after,
        weight=after.weight or before.weight,
        reference_price=after.reference_price or before.reference_price,
    )


def _completed(known: Mapping[str, Instrument], freeze: Mapping[str, int]) -> Iterable[Instrument]:
    """Add what a dump says between its lines, on which shares there are derivatives, and freeze quantities."""
    underlyings = {one.underlying for one in known.values()}
    for name, one in known.items():
        if one.kind is InstrumentKind.EQUITY and name in underlyings and not one.has_derivatives:
            yield msgspec.structs.replace(one, has_derivatives=True)
        elif one.underlying is not None and one.underlying in freeze and one.freeze_quantity is None:
            yield msgspec.structs.replace(one, freeze_quantity=freeze[one.underlying])
        else:
            yield one


def _shared_tokens(instruments: Instruments) -> Iterable[Problem]:
    for one in instruments:
        if one.token is not None and (other := instruments.by_token(one.token)) != one:
            assert other is not None
            yield Problem(
                one.id,
                f"has the token {one.token}, and so has {other.id}, which expires later and is found by it",
                "remove the one that has expired: numbers are used again",
            )
