"""What benchmarks measure is what they say: the account of risk is a whole one, and their plot is a picture."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from benchmarks.plot import Line, draw
from benchmarks.risk import ROW_BYTES, busy_row
from panda_streams.streams.packing import pack, unpack
from tables import read_row
from tables.risk import RiskRow


def test_the_row_of_a_large_account_keeps_to_its_bound_and_comes_back() -> None:
    row = busy_row(strategies=100, instruments=50)

    stored = pack(row.model_dump_json().encode())

    assert sum(len(book.positions) for book in row.account.books.values()) == 5_000
    assert len(stored) < ROW_BYTES
    assert read_row(RiskRow, unpack(stored)) == row


def test_a_plot_shows_each_point_of_each_line(tmp_path: Path) -> None:
    lines = [Line("ours", [(1, 10), (50, 40), (100, 90)]), Line("theirs & others", [(1, 2), (100, 2)])]

    draw(tmp_path / "plot.svg", "Cost", "strategies", "microseconds", lines)

    root = ElementTree.parse(tmp_path / "plot.svg").getroot()
    assert len(root.findall("{*}circle")) == 5
    assert {"ours", "theirs & others", "Cost"} < {text.text for text in root.findall("{*}text")}
