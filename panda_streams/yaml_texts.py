"""Reads YAML files as texts, so that numbers stay exact and times stay times; no key may come twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from panda_streams.errors import BadInput

__all__ = ["TextFile"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TextFile:
    """A YAML file whose errors name the file, the entry and the fix."""

    path: Path
    kind: str
    """What it is, as in "calendar file"."""
    setting: str
    """The setting that names it."""
    fix: str
    """What to do about a wrong entry."""

    def read(self, validate: Callable[[Any], T]) -> T:
        """What `validate`, which raises pydantic's ValidationError, makes of the file: every value a text, empty ones
        None. Raises BadInput."""
        try:
            return validate(yaml.load(self.path.read_bytes(), _Loader))
        except OSError as error:
            raise BadInput(f"{self.kind} {self.path}: {error.strerror}", fix=f"set {self.setting} to a file") from None
        except yaml.YAMLError as error:
            raise BadInput(f"{self.kind} {self.path} cannot be read as YAML: {error}", fix=self.fix) from None
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"] if part != "[key]") or "the whole file"
            unknown = first["type"] == "extra_forbidden"
            wrong = "there is no such entry" if unknown else first["msg"].removeprefix("Value error, ")
            raise self.wrong(place, wrong) from None

    def wrong(self, place: str, message: str) -> BadInput:
        """The error that an entry of the file is."""
        return BadInput(f"{self.kind} {self.path}, entry {place}: {message}", fix=self.fix)


class _Loader(yaml.BaseLoader):
    """YAML would take 15:30 for a number, and round 0.1."""

    def construct_scalar(self, node: yaml.ScalarNode) -> Any:
        value = super().construct_scalar(node)
        return None if node.style is None and value in ("", "~", "null") else value

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            name = str(key.value)
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{name} is there twice", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)
