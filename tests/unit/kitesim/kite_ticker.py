"""Runs the unmodified KiteTicker, whose reactor is one of a process, and prints a line of JSON for all it is told.

Arguments: root, api_key, access_token, and the tokens to subscribe to in the mode full.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from kiteconnect import KiteTicker


def say(kind: str, data: Any) -> None:
    print(json.dumps([kind, data], default=str), flush=True)


def main() -> None:
    root, api_key, access_token, *tokens = sys.argv[1:]
    ticker = KiteTicker(api_key, access_token, root=root)

    def on_connect(ws: KiteTicker, response: Any) -> None:
        say("connect", None)
        ws.subscribe([int(token) for token in tokens])
        ws.set_mode(ws.MODE_FULL, [int(token) for token in tokens])

    ticker.on_connect = on_connect
    ticker.on_ticks = lambda ws, ticks: say("ticks", ticks)
    ticker.on_order_update = lambda ws, order: say("order", order)
    ticker.on_error = lambda ws, code, reason: say("error", str(reason))
    ticker.on_close = lambda ws, code, reason: say("close", str(reason))
    ticker.connect()


if __name__ == "__main__":
    main()
