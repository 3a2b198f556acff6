"""The ticks of a torture: a part of a real session."""

from __future__ import annotations

import gzip
import itertools
import os
from pathlib import Path

__all__ = ["SESSION", "cut_recording", "session_file"]

SESSION = Path("nse_ticks_2021") / "nse_ticks_2021-06-08.csv.gz"
"""Within the directory of the shared data."""


def session_file() -> Path | None:
    """The recording of a whole session in PANDA_SHARED_DATA, else ../shared/data; None where it is absent."""
    data = Path(os.environ.get("PANDA_SHARED_DATA") or Path(__file__).parents[3] / "shared" / "data")
    return data / SESSION if (data / SESSION).is_file() else None


def cut_recording(session: Path, ticks: int, part: Path) -> Path:
    """Write the session's first ticks to `part`."""
    with gzip.open(session, "rt") as whole, gzip.open(part, "wt", compresslevel=1) as file:
        file.writelines(itertools.islice(whole, ticks + 1))
    return part
