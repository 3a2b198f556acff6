"""`python -m tests.chaos --kills N --seed S`: kills as often as wished, and says how to repeat it.

`python -m tests.chaos kite --orders N --seed S` tortures the Zerodha arm at a broker whose answers cannot be trusted.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys

from tests.chaos.harness import RESULTS, torture
from tests.chaos.kite.harness import torture_kite
from tests.chaos.recording import session_file
from tests.servers import free_port_base, project_home


def _main() -> int:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=40, help="how many; 40 take each crash point once")
    parser.add_argument("--seed", type=int, default=1, help="of all that is drawn: which process dies where")
    kite = parser.add_subparsers(dest="arm").add_parser("kite", help="the Zerodha arm and kitesim")
    kite.add_argument("--orders", type=int, default=500, help="how many at least")
    kite.add_argument("--seed", type=int, default=1, help="of all that is drawn: faults, deaths and prices")
    given = parser.parse_args()
    # Topics that were just made have no leader for a moment, which the client logs with every try.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    return _kite(given.orders, given.seed) if given.arm == "kite" else _paper(given.kills, given.seed)


def _paper(kills: int, seed: int) -> int:
    session = session_file()
    if session is None:
        print("error: no recording of a session\n  fix: PANDA_SHARED_DATA names the directory of the recorded data")
        return 2
    home = project_home()
    results = torture(
        session=session,
        directory=home.path / "chaos",
        jars=home.jars,
        port_base=_port_base(),
        kills=kills,
        seed=seed,
        say=_say,
    )
    path = home.path / RESULTS
    results.write(path)
    print(results.summary())
    print(f"results: {path}\nrepeat: {results.command}")
    return 1 if results.refold or results.identity else 0


def _kite(orders: int, seed: int) -> int:
    home = project_home()
    results = torture_kite(
        directory=home.path / "chaos-kite",
        jars=home.jars,
        port_base=_port_base(),
        orders=orders,
        seed=seed,
        say=_say,
    )
    path = home.path / RESULTS
    results.write(path)
    print(results.summary())
    print(f"results: {path}\nrepeat: {results.command}")
    return 1 if results.findings or results.wanting else 0


def _port_base() -> int:
    return int(os.environ.get("PANDA_PORT_BASE") or free_port_base())


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(_main())
