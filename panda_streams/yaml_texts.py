"""Reads YAML as texts, so that numbers stay exact and times stay times; no key may come twice."""

from __future__ import annotations

from typing import Any

import yaml

__all__ = ["read_texts"]


def read_texts(content: bytes) -> Any:
    """What a YAML document holds, every value a text and empty ones None. Raises yaml.YAMLError."""
    return yaml.load(content, _Loader)


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
