"""Large rows are stored compressed, and nobody who reads them sees a difference."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from panda_streams.streams.agent import Rows
from panda_streams.streams.packing import pack, unpack

SMALL = orjson.dumps({"positions": {f"NSE:SHARE{n}": n for n in range(10)}})
LARGE = orjson.dumps({"positions": {f"NSE:SHARE{n}": n for n in range(5000)}})


def test_a_small_row_is_stored_as_it_is() -> None:
    assert pack(SMALL) == SMALL


def test_a_large_row_takes_a_part_of_its_length() -> None:
    assert len(pack(LARGE)) < len(LARGE) / 3


@given(st.recursive(st.none() | st.integers(-9, 9) | st.text(), st.lists, max_leaves=5), st.sampled_from([1, 5_000]))
def test_any_json_comes_back(value: object, times: int) -> None:
    data = orjson.dumps([value] * times)

    assert unpack(pack(data)) == data


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
def test_an_agent_reads_the_row_that_it_put(data: bytes) -> None:
    stored: dict[bytes, bytes] = {}
    rows = Rows(stored.get, lambda key, read: orjson.loads(read), orjson.dumps)
    rows.put("paper", orjson.loads(data))
    stored.update(rows.encoded())

    again = Rows(stored.get, lambda key, read: orjson.loads(read), orjson.dumps)

    assert again.get("paper") == orjson.loads(data)
