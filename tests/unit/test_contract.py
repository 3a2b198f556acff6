"""docs/loop.md: each numbered sentence of the loop's contract names a test that exists."""

from __future__ import annotations

import re
from pathlib import Path

_PAGE = Path(__file__).parents[2] / "docs" / "loop.md"
_CONTRACT, _, _MAP = _PAGE.read_text().partition("## Where each sentence is tested")


def test_each_sentence_is_tested() -> None:
    sentences = re.findall(r"^- \*\*(\d+)\*\*", _CONTRACT, re.MULTILINE)
    tested = [number for cell in re.findall(r"^\| ([\d, ]+) \|", _MAP, re.MULTILINE) for number in cell.split(", ")]

    assert sentences == [str(number) for number in range(1, len(sentences) + 1)]
    assert tested == sentences


def test_each_named_test_exists() -> None:
    named = re.findall(r"`([\w./]+\.py)::(\w+)`", _MAP)

    absent = [
        f"{file}::{name}"
        for file, name in named
        if f"def {name}(" not in (Path(__file__).parent / "streams" / file).read_text()
    ]

    assert named
    assert absent == []
