"""Zerodha: known as a broker, so that strategies can list it and its signals are kept; its arm cannot trade yet."""

from panda_streams.brokers.port import Broker

__all__ = ["BROKER"]

BROKER = Broker(namespace="zerodha", title="Zerodha (Kite Connect)", currency="INR", live=True, trader=None)
