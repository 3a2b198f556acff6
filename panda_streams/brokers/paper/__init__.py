"""Paper: an account that trades every strategy all the time, filled from the tick log."""

from panda_streams.brokers.paper.trader import PaperTrader
from panda_streams.brokers.port import Broker

__all__ = ["BROKER", "PaperTrader"]

BROKER = Broker(namespace="paper", title="Paper", currency="INR", live=False, trader=PaperTrader.from_settings)
