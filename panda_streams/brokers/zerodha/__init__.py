"""Zerodha: an account that is traded through Kite Connect."""

from panda_streams.brokers.port import Broker
from panda_streams.brokers.zerodha.trader import ZerodhaTrader

__all__ = ["BROKER", "ZerodhaTrader"]

BROKER = Broker(
    namespace="zerodha",
    title="Zerodha (Kite Connect)",
    currency="INR",
    live=True,
    trader=ZerodhaTrader.from_settings,
)
