"""Strategies: pure classes that turn ticks into decisions, and the YAML files that configure them."""
