"""Benchmarks: one module per table of docs/benchmarks.md."""
