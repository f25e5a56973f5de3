"""Benchmarks, metrics and baselines."""
