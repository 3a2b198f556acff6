"""Opens the official client, kiteconnect, on a profile's endpoints: nothing is sent twice or late, nothing leaks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kiteconnect import KiteConnect
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection

from panda_streams.brokers.zerodha.profile import Endpoints
from panda_streams.brokers.zerodha.scrubbing import quiet_requests
from panda_streams.kite import KiteProfile

__all__ = ["TooLate", "open_kite"]

_NOT_PREFIXED = frozenset({"market.instruments.all", "market.instruments"})


class TooLate(Exception):
    """A request was not sent, or not all of it if it has `begun`, since it may not leave any more."""

    def __init__(self, *, begun: bool) -> None:
        super().__init__("it was held up for too long on its way out")
        self.begun = begun


def open_kite(
    at: Endpoints, api_key: str, timeout_s: float, may_leave: Callable[[], bool] = lambda: True
) -> KiteConnect:
    """A client without a token. `timeout_s` bounds the connecting and the wait for the answer together; an
    answer that has begun may pause as long once more.

    `may_leave` is asked once a connection stands, right before bytes of a request leave; if not, TooLate is raised. Its
    requests are never repeated: there is no pool with retries, and a redirect is an error.
    """
    quiet_requests()
    kite = KiteConnect(api_key=api_key, root=at.api_root, timeout=Timeout(total=timeout_s))
    kite._routes = {
        name: route if name in _NOT_PREFIXED else at.route_prefix + route for name, route in KiteConnect._routes.items()
    }
    for scheme in ("https://", "http://"):
        kite.reqsession.mount(scheme, _Adapter(may_leave))
    # A redirect of 307 or 308 would send an order again, to wherever it points.
    kite.reqsession.max_redirects = 0
    if at.profile is KiteProfile.SIMULATOR:
        # On this machine: never by way of a proxy of the environment.
        kite.reqsession.trust_env = False
    return kite


class _Adapter(HTTPAdapter):
    """As that of requests, with connections that ask before they send."""

    def __init__(self, may_leave: Callable[[], bool]) -> None:
        self._pools = _pools(may_leave)
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> PoolManager:
        manager: PoolManager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = self._pools
        return manager


def _pools(may_leave: Callable[[], bool]) -> dict[str, Any]:
    class Asking(HTTPConnection):
        begun = False

        def putrequest(self, *args: Any, **kwargs: Any) -> None:
            self.begun = False
            super().putrequest(*args, **kwargs)

        def send(self, data: Any) -> None:
            """A request leaves in two pieces, its head and its fields."""
            if self.sock is None:
                self.connect()
            if not may_leave():
                raise TooLate(begun=self.begun)
            self.begun = True
            super().send(data)

    class AskingSecurely(Asking, HTTPSConnection):
        pass

    class Pool(HTTPConnectionPool):
        ConnectionCls = Asking

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = AskingSecurely

    return {"http": Pool, "https": SecurePool}
