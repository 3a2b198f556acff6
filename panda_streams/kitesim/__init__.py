"""A local Kite: REST and websocket on one port, on which Zerodha's unmodified client works."""
