"""The errors of panda_streams: each says what was expected, what was found and what to do."""

from __future__ import annotations

__all__ = [
    "AlreadyRunning",
    "BadEvent",
    "BadInput",
    "PandaError",
    "ServerUnreachable",
    "SettingsError",
    "StampMismatch",
    "TopicsError",
]


class PandaError(Exception):
    """Base of every error that a user can mend.

    `fix` is one sentence that says how; it is printed after the message.
    """

    exit_code = 1

    def __init__(self, message: str, *, fix: str = "") -> None:
        super().__init__(message)
        self.fix = fix

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message}\n  fix: {self.fix}" if self.fix else message


class SettingsError(PandaError):
    """A setting, an environment variable or a command line is not usable."""

    exit_code = 2


class BadInput(PandaError):
    """A file that the user wrote or recorded cannot be read: names the file and the place."""

    exit_code = 2


class ServerUnreachable(PandaError):
    """Kafka or Redis does not answer: names the address and the setting it came from."""

    exit_code = 3


class TopicsError(PandaError):
    """A topic is missing or has the wrong partition count."""

    exit_code = 4


class StampMismatch(PandaError):
    """A server or a data directory belongs to another world."""

    exit_code = 5


class AlreadyRunning(PandaError):
    """Another process holds the lock of this identity."""

    exit_code = 6


class BadEvent(ValueError):
    """A record on a topic cannot be decoded; it goes to the dead-letter topic with this reason."""
