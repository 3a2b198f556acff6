"""What kitesim refuses, in Kite's words: an error type, an HTTP status and a message."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["ErrorType", "Refused"]


class ErrorType(StrEnum):
    """Kite's error types."""

    GENERAL = "GeneralException"
    TOKEN = "TokenException"
    PERMISSION = "PermissionException"
    ORDER = "OrderException"
    INPUT = "InputException"
    MARGIN = "MarginException"
    HOLDING = "HoldingException"
    NETWORK = "NetworkException"


class Refused(Exception):
    """A call that changed nothing; the answer says so."""

    def __init__(self, kind: ErrorType, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.status = status
