"""`python -m tests.orders --orders N --seed S`: random orders on every share of the recorded session."""

from __future__ import annotations

import argparse
import sys
import time

from tests.chaos.recording import session_file
from tests.orders.tape import read_tapes
from tests.orders.trial import Counts, try_share

_SHOWN = 3


def _main() -> int:
    parser = argparse.ArgumentParser(prog="make orders", description=__doc__)
    parser.add_argument("--orders", type=int, default=100_000, help="how many, over all shares")
    parser.add_argument("--shares", type=int, default=50, help="how many of the session's")
    parser.add_argument("--seed", type=int, default=1, help="of all cases")
    given = parser.parse_args()
    session = session_file()
    if session is None:
        print("error: no recording of a session\n  fix: PANDA_SHARED_DATA names the directory of the recorded data")
        return 1
    began, counts = time.monotonic(), Counts()
    tapes = read_tapes(session, given.shares)
    for tape in tapes:
        counts.add(try_share(tape, -(-given.orders // len(tapes)), given.seed))
        print(f"{tape.share.symbol}: {counts.orders:,} orders, {len(counts.violations)} violations", flush=True)
    for violation in counts.violations[:_SHOWN]:
        print(violation)
    ticks = sum(len(tape.ticks) for tape in tapes)
    print(
        f"{counts.orders:,} orders of signals and {counts.own:,} of the desk on {ticks:,} ticks of {len(tapes)} shares"
    )
    print(f"{counts.fills:,} fills; ended: {', '.join(f'{n:,} {end}' for end, n in counts.ends.most_common())}")
    print(f"{len(counts.violations)} violations, {time.monotonic() - began:.0f} s")
    return 1 if counts.violations else 0


if __name__ == "__main__":
    sys.exit(_main())
