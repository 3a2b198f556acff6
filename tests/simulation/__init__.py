"""Deterministic simulation: the real agents on logs in memory, under schedules, kills and repeats drawn from a seed."""
