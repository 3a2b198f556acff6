"""Draws measured numbers as an SVG: lines over a number, both axes from zero."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from math import floor, log10
from pathlib import Path
from typing import NamedTuple

__all__ = ["Line", "draw"]

_WIDTH, _HEIGHT = 640, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 150, 40, 50
_COLOURS = ("#1f77b4", "#888888", "#d62728")


class Line(NamedTuple):
    label: str
    points: Sequence[tuple[float, float]]


def draw(path: Path, title: str, across: str, up: str, lines: Sequence[Line]) -> None:
    """Write the lines to `path`; `across` and `up` say what the axes count."""
    most_x = max(x for line in lines for x, _ in line.points)
    most_y = max(y for line in lines for _, y in line.points)
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(_elements(title, across, up, lines, most_x, most_y)) + "\n")


def _elements(title: str, across: str, up: str, lines: Sequence[Line], most_x: float, most_y: float) -> Iterator[str]:
    def at(x: float, y: float) -> tuple[float, float]:
        wide, high = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
        return _LEFT + wide * x / most_x, _HEIGHT - _BOTTOM - high * y / most_y

    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif">'
    yield '<rect width="100%" height="100%" fill="white"/>'
    yield _text(_LEFT, _TOP / 2, title, size=15)
    for mark in _marks(most_y):
        left, y = at(0, mark)
        right, _ = at(most_x, mark)
        yield f'<path d="M{left:.1f} {y:.1f}H{right:.1f}" stroke="#dddddd"/>'
        yield _text(left - 6, y + 4, f"{mark:,g}", anchor="end")
    for mark in _marks(most_x):
        x, y = at(mark, 0)
        yield _text(x, y + 18, f"{mark:,g}", anchor="middle")
    yield _text(at(most_x / 2, 0)[0], _HEIGHT - 12, across, anchor="middle")
    yield _text(_LEFT, _TOP - 4, up)
    for line, colour in zip(lines, _COLOURS, strict=False):
        places = [at(x, y) for x, y in line.points]
        drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        yield f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="2"/>'
        yield from (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places)
        yield _text(places[-1][0] + 8, places[-1][1] + 4, line.label, fill=colour)
    yield "</svg>"


def _marks(most: float) -> list[float]:
    """Four to ten round numbers from zero to `most`."""
    step = 10.0 ** floor(log10(most))
    step = next(step * share for share in (1, 0.5, 0.2) if most / (step * share) >= 4)
    return [step * number for number in range(int(most / step) + 1)]


def _text(x: float, y: float, said: str, *, anchor: str = "start", size: int = 12, fill: str = "#333333") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} font-size="{size}" fill="{fill}">{escape(said)}</text>'
