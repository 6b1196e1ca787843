"""Measures bundles on this machine."""
