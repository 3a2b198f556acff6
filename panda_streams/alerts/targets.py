"""Delivers messages to the services that Apprise knows, each by its address, which is never shown."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from panda_streams.alerts.kinds import AlertKind
from panda_streams.errors import SettingsError

if TYPE_CHECKING:
    from apprise import Apprise

__all__ = ["DELIVERY_THREAD", "Message", "Target", "open_targets"]

DELIVERY_THREAD = "alerts-"
"""How the names of the threads begin in which messages are delivered: there, network libraries log nothing."""

_LOGGERS = (
    "requests_oauthlib.oauth1_auth",
    "requests_oauthlib.oauth1_session",
    "requests_oauthlib.oauth2_session",
    "oauthlib.oauth1.rfc5849",
    "oauthlib.oauth1.rfc5849.signature",
    "urllib3.connection",
    "urllib3.connectionpool",
    "urllib3.util.retry",
)
"""Log paths, headers or keys, at DEBUG or with a warning."""

_TYPES: Mapping[AlertKind, str] = {
    **dict.fromkeys(AlertKind, "failure"),
    AlertKind.STRATEGY_PAUSED: "warning",
    AlertKind.DEAD_LETTER: "warning",
    AlertKind.ORDER_REJECTED: "warning",
    AlertKind.FEED_STALE: "warning",
    AlertKind.RESUME: "success",
    AlertKind.CONTRACT_NOTE: "info",
    AlertKind.TEST: "info",
}
"""Apprise's notification type of each kind that is on: services show a colour or sign for it."""

_QUIET: Mapping[str, Mapping[str, Any]] = {
    "tgram": {"silent": True},
    "nctalk": {"silent": True},
    "nctalks": {"silent": True},
    # SUPPRESS_NOTIFICATIONS, https://discord.com/developers/docs/resources/message#message-object-message-flags
    "discord": {"flags": 4096},
    # "No long vibration or sound", https://docs.ntfy.sh/publish/#message-priority
    "ntfy": {"priority": "low"},
    "ntfys": {"priority": "low"},
    # -1: no sound or vibration, https://pushover.net/api#priority
    "pover": {"priority": "moderate"},
    # 1 to 3: an icon and no sound, https://github.com/gotify/android#message-priorities
    "gotify": {"priority": "moderate"},
    "gotifys": {"priority": "moderate"},
}
"""What makes a message silent, by the scheme of Apprise's address: parameters of that address."""


@dataclass(frozen=True, slots=True)
class Message:
    """What a service is given."""

    kind: AlertKind
    title: str
    body: str
    silent: bool = False


class Target:
    """One service at one address. `name` shows which: its number in the configuration and the service."""

    def __init__(self, name: str, loud: Apprise, quiet: Apprise) -> None:
        self.name = name
        self._loud = loud
        self._quiet = quiet

    def deliver(self, message: Message) -> str:
        """Hand a message to the service; returns why that failed, empty if it did not.

        Blocks for as long as the service takes: 4 s to connect and 4 s between two answers at the most, unless its
        address says otherwise.
        """
        service = self._quiet if message.silent else self._loud
        try:
            taken = service.notify(
                title=message.title,
                body=message.body,
                notify_type="info" if message.silent else _TYPES[message.kind],
                body_format="text",
            )
        except Exception as error:  # noqa: BLE001  any service's own; its words may hold the address
            return f"it raised {type(error).__name__}"
        return "" if taken else "it does not answer, or has refused the message"


def open_targets(addresses: Sequence[SecretStr]) -> list[Target]:
    """The services at these addresses; connects to none. Raises SettingsError for one that Apprise cannot use."""
    if not addresses:
        return []
    _silence_loggers()
    # It takes half a second and 25 MB, which a process without targets need not spend.
    from apprise import Apprise, AppriseAsset, PersistentStoreMode
    from apprise.plugins import url_to_dict

    asset = AppriseAsset(
        app_id="panda",
        app_desc="panda_streams",
        storage_mode=PersistentStoreMode.MEMORY,
        # Both keep deliveries in the thread that asks for them: Apprise's own threads log, and hold up a process's end.
        async_mode=False,
        service_timeout=0,
    )
    targets = []
    for number, address in enumerate(addresses, 1):
        parts = url_to_dict(address.get_secret_value())  # type: ignore[no-untyped-call]
        scheme = str(parts["schema"]) if parts else ""
        loud = Apprise.instantiate(parts, asset) if parts else None
        quiet = Apprise.instantiate({**parts, **_QUIET.get(scheme, {})}, asset) if parts else None
        if loud is None or quiet is None:
            raise SettingsError(
                f"alert target {number} is no address that Apprise can use",
                fix="correct it in the file of PANDA_ALERTS, or in PANDA_ALERT_URLS, whose addresses are counted after "
                "the file's; the addresses of each service: https://appriseit.com/services/",
            )
        targets.append(Target(f"target {number} ({loud.service_name})", Apprise(loud), Apprise(quiet)))
    return targets


def _silence_loggers() -> None:
    """Keep addresses out of the logs: Apprise and the libraries below it log hosts, paths and keys."""
    logging.getLogger("apprise").addFilter(_nothing)
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_not_of_a_delivery)


def _nothing(record: logging.LogRecord) -> bool:
    return False


def _not_of_a_delivery(record: logging.LogRecord) -> bool:
    return not threading.current_thread().name.startswith(DELIVERY_THREAD)
