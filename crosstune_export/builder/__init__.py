"""Builds a bundle from a checkpoint: one graph, one folder."""
