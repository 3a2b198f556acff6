from __future__ import annotations

import json
import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

STATIC = Path(str(files("panda_streams.gateway") / "static"))
NODE = shutil.which("node")


@pytest.mark.parametrize("name", ["page.js", "amounts.js"])
def test_the_page_never_makes_html_or_code_of_text(name: str) -> None:
    source = (STATIC / name).read_text()

    ways = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|srcdoc|DOMParser|createContextualFragment"
    assert re.findall(ways + r"|\beval\b|new Function|setHTML", source) == []


def test_the_page_needs_nothing_from_elsewhere() -> None:
    for file in STATIC.iterdir():
        assert re.findall(r"https?://|@import|url\(", file.read_text()) == [], file.name


def test_no_amount_becomes_a_floating_point_number() -> None:
    assert re.findall(r"parseFloat|toFixed|Number\(", (STATIC / "amounts.js").read_text()) == []


AMOUNTS = [
    ('money("1234567.891", "INR")', "₹12,34,567.89"),
    ('money("123456789012345678.995", "INR")', "₹1,23,45,67,89,01,23,45,679.00"),
    ('money("100", "INR")', "₹100.00"),
    ('money("1000", "INR")', "₹1,000.00"),
    ('money("99999.999", "INR")', "₹1,00,000.00"),
    ('money("-0.004", "INR", {signed: true})', "₹0.00"),
    ('money("-3321.155", "INR", {signed: true})', "\u2212₹3,321.16"),
    ('money("15940.25", "INR", {signed: true})', "+₹15,940.25"),
    ('money("1234567.5", "USD")', "$1,234,567.50"),
    ('money("1234.5", "CHF")', "CHF 1,234.50"),
    ('money("nonsense", "INR")', "nonsense"),
    ("count(1204311)", "12,04,311"),
    ("ago(59999)", "59 s"),
    ("ago(7500000)", "2 h 05 min"),
    ("marketTime(1623815100000)", "16 Jun 2021, 09:15:00 IST"),
    ("clockTime(1623815100000)", "09:15:00"),
]


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the page's own code makes of each call."""
    if NODE is None:
        pytest.skip("needs node to run the page's own code")
    module = tmp_path_factory.mktemp("page") / "amounts.mjs"
    calls = ", ".join(call for call, _ in AMOUNTS)
    module.write_text((STATIC / "amounts.js").read_text() + f"\nconsole.log(JSON.stringify([{calls}]));\n")

    done = subprocess.run([NODE, str(module)], capture_output=True, text=True, check=True, timeout=30)

    return dict(zip((call for call, _ in AMOUNTS), json.loads(done.stdout), strict=True))


@pytest.mark.parametrize(("call", "shown"), AMOUNTS)
def test_amounts_are_shown_the_indian_way(said: dict[str, str], call: str, shown: str) -> None:
    assert said[call] == shown
