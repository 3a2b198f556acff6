"""Benchmarks: each compares a part of the code with a reference in the same run."""
