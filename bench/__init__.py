"""Benchmarks: programs for a desk, not part of what is installed."""
