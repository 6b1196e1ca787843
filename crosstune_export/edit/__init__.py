"""Edits of a finished bundle, without torch."""
