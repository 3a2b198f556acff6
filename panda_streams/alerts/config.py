"""Reads where alerts go and how loud each kind is: the file of PANDA_ALERTS and the addresses of PANDA_ALERT_URLS.

The addresses hold secrets: no error quotes anything of the file but the names of its fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ConfigDict, Field, SecretStr, ValidationError

from panda_streams.alerts.kinds import AlertKind, Loudness
from panda_streams.alerts.rate import Rate
from panda_streams.domain.values import Value
from panda_streams.errors import BadInput
from panda_streams.settings import Settings

__all__ = ["DEFAULTS", "AlertConfig", "load_alerts"]

DEFAULTS: Mapping[AlertKind, Loudness] = {
    **dict.fromkeys(AlertKind, Loudness.ON),
    AlertKind.RESUME: Loudness.SILENT,
    AlertKind.CONTRACT_NOTE: Loudness.SILENT,
    AlertKind.ORDER_REJECTED: Loudness.OFF,
}
_FIX = "correct it; docs/alerts.md shows the form"


@dataclass(frozen=True, slots=True)
class AlertConfig:
    """Where alerts go, how loud each kind is, and how often one is delivered."""

    targets: tuple[SecretStr, ...] = ()
    """Addresses of Apprise."""
    kinds: Mapping[AlertKind, Loudness] = field(default_factory=lambda: DEFAULTS)
    """Every kind."""
    rate: Rate = field(default_factory=Rate)


class _File(Value):
    model_config = ConfigDict(hide_input_in_errors=True)

    targets: tuple[SecretStr, ...] = ()
    kinds: dict[AlertKind, Loudness] = Field(default={})
    rate: Rate = Rate()


def load_alerts(settings: Settings) -> AlertConfig:
    """Read what the settings name; without any there are no targets. Raises BadInput that quotes no address."""
    file = _File() if settings.alerts is None else _read(settings.alerts)
    more = settings.alert_urls.get_secret_value().split() if settings.alert_urls else []
    targets = (*file.targets, *map(SecretStr, more))
    return AlertConfig(targets, {**DEFAULTS, **file.kinds}, file.rate)


def _read(path: Path) -> _File:
    try:
        # BaseLoader keeps every value a text: YAML would take `on` and `off` for true and false.
        content = yaml.load(path.read_bytes(), yaml.BaseLoader)
        return _File.model_validate({} if content is None else content)
    except OSError as error:
        raise BadInput(f"alerts file {path}: {error.strerror}", fix="set PANDA_ALERTS to a file") from None
    except yaml.MarkedYAMLError as error:
        where = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise BadInput(f"alerts file {path}{where}: it is no YAML", fix=_FIX) from None
    except yaml.YAMLError:
        raise BadInput(f"alerts file {path}: it is no YAML", fix=_FIX) from None
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        raise BadInput(f"alerts file {path}, {_place(first['loc'])}: {first['msg']}", fix=_FIX) from None


def _place(parts: Iterable[Any]) -> str:
    """The place of an entry, without keys of the user's own: an address may stand where a key was expected."""
    known = {*_File.model_fields, *Rate.model_fields, *AlertKind}
    shown = [str(part + 1) if isinstance(part, int) else part if part in known else "an unknown name" for part in parts]
    return "entry " + ".".join(shown) if shown else "the whole file"
