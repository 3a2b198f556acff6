"""What the commands of Kite are tried on."""

from tests.unit.brokers.zerodha.conftest import fake, settings, world

__all__ = ["fake", "settings", "world"]
