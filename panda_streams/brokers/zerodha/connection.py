"""Opens the official client, kiteconnect, on a profile's endpoints: nothing is sent twice, nothing leaks."""

from __future__ import annotations

from kiteconnect import KiteConnect
from urllib3 import Timeout

from panda_streams.brokers.zerodha.profile import Endpoints
from panda_streams.brokers.zerodha.scrubbing import quiet_requests
from panda_streams.kite import KiteProfile

__all__ = ["open_kite"]

_NOT_PREFIXED = frozenset({"market.instruments.all", "market.instruments"})


def open_kite(at: Endpoints, api_key: str, timeout_s: float) -> KiteConnect:
    """A client without a token. `timeout_s` bounds the connecting and the wait for the answer together; an
    answer that has begun may pause as long once more.

    Its requests are never repeated: there is no pool with retries, and a redirect is an error.
    """
    quiet_requests()
    kite = KiteConnect(api_key=api_key, root=at.api_root, timeout=Timeout(total=timeout_s))
    kite._routes = {
        name: route if name in _NOT_PREFIXED else at.route_prefix + route for name, route in KiteConnect._routes.items()
    }
    # A redirect of 307 or 308 would send an order again, to wherever it points.
    kite.reqsession.max_redirects = 0
    if at.profile is KiteProfile.SIMULATOR:
        # On this machine: never by way of a proxy of the environment.
        kite.reqsession.trust_env = False
    return kite
