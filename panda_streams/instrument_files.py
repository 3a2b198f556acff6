"""Reads instruments from a YAML file: the user's, or the list that is part of the package."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import yaml
from pydantic import TypeAdapter, ValidationError

from panda_streams.domain.instruments import Instrument, Instruments
from panda_streams.errors import BadInput

__all__ = ["load_instruments"]

_LIST = TypeAdapter(list[Instrument])


def load_instruments(path: Path | None = None) -> Instruments:
    """Read the instruments of `path`, or of the package's own list; raise BadInput that names the entry."""
    source = path or Path(str(files("panda_streams") / "data" / "instruments_nse.yaml"))
    fix = "correct that entry; panda_streams/data/instruments_nse.yaml shows the form"
    try:
        return Instruments(_LIST.validate_python(yaml.safe_load(source.read_text())))
    except OSError as error:
        raise BadInput(f"instruments file {source}: {error.strerror}", fix="set PANDA_INSTRUMENTS to a file") from None
    except yaml.YAMLError as error:
        raise BadInput(f"instruments file {source} is not YAML: {error}", fix=fix) from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise BadInput(f"instruments file {source}, entry {place}: {first['msg']}", fix=fix) from None
    except ValueError as error:
        raise BadInput(f"instruments file {source}: {error}", fix=fix) from None
