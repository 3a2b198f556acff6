"""docs/kitesim.md names what there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from panda_streams.kitesim.faults import Fault

PAGE = (Path(__file__).parents[3] / "docs" / "kitesim.md").read_text()
LEFT_OUT = [
    "refresh_token",
    "profile/full",
    "auctions",
    "authorise",
    "compact",
    "summary",
    "trigger_range",
    "alerts",
    "mf",
]


@pytest.mark.parametrize("kind", Fault)
def test_every_fault_is_told(kind: Fault) -> None:
    assert f"`{kind}`" in PAGE


@pytest.mark.parametrize("route", LEFT_OUT)
def test_what_is_left_out_is_told(route: str) -> None:
    assert f"{route}`" in PAGE.partition("**Left out**")[2]
