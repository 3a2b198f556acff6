"""Brokers: one package each, found by the entry point group `panda_streams.brokers`."""
