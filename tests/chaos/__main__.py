"""`python -m tests.chaos --kills N --seed S`: kills as often as wished, and says how to repeat it."""

from __future__ import annotations

import argparse
import logging
import os
import sys

from tests.chaos.harness import RESULTS, project_home, torture
from tests.chaos.recording import session_file
from tests.servers import free_port_base


def _main() -> int:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=40, help="how many; 40 take each crash point once")
    parser.add_argument("--seed", type=int, default=1, help="of all that is drawn: which process dies where")
    given = parser.parse_args()
    # Topics that were just made have no leader for a moment, which the client logs with every try.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    session = session_file()
    if session is None:
        print("error: no recording of a session\n  fix: PANDA_SHARED_DATA names the directory of the recorded data")
        return 2
    home = project_home()
    results = torture(
        session=session,
        directory=home.path / "chaos",
        jars=home.jars,
        port_base=int(os.environ.get("PANDA_PORT_BASE") or free_port_base()),
        kills=given.kills,
        seed=given.seed,
        say=lambda line: print(line, flush=True),
    )
    path = home.path / RESULTS
    results.write(path)
    print(results.summary())
    print(f"results: {path}\nrepeat: {results.command}")
    return 1 if results.refold or results.identity else 0


if __name__ == "__main__":
    sys.exit(_main())
