"""Benchmarks of bundles on this machine."""
