"""The bytes of a large row: JSON, compressed where that pays."""

from __future__ import annotations

import zlib

__all__ = ["pack", "unpack"]

_LARGE_BYTES = 32 << 10
"""What is smaller is read as it is in a changelog by anybody, and costs less to write than to compress."""
_LEVEL = 1
"""Rows are written far more often than read, and repeat the same names: level 6 saves a little more for three times
the time."""
_ZLIB = b"\x78"
"""How what is compressed begins (RFC 1950, a window of 32 KiB); JSON never begins so."""


def pack(data: bytes) -> bytes:
    """Compress the JSON of a row above 32 KiB."""
    return zlib.compress(data, _LEVEL) if len(data) > _LARGE_BYTES else data


def unpack(data: bytes) -> bytes:
    """The JSON of a row that was stored as `pack` gives it."""
    return zlib.decompress(data) if data.startswith(_ZLIB) else data
