"""Checks that the ports of the embedded servers are free before anything is started on them."""

from __future__ import annotations

import socket
import time

from panda_streams.errors import SettingsError

__all__ = ["await_free"]

PATIENCE_S = 8.0
"""The servers of a supervisor that was killed need a moment to write what they hold and to close."""


def await_free(ports: dict[str, int]) -> None:
    """Return once nothing listens on these ports of 127.0.0.1; raise SettingsError that names the first taken one.

    `ports` maps what needs a port to its number.
    """
    deadline = time.monotonic() + PATIENCE_S
    for what, port in ports.items():
        while not _free(port):
            if time.monotonic() > deadline:
                raise SettingsError(
                    f"port {port} on 127.0.0.1, which {what} needs, is taken by another process",
                    fix="stop that process, or set PANDA_PORT_BASE to another first port",
                )
            time.sleep(0.1)


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do: a closed connection is no user
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
