"""Signatures, a software bill of materials, and the differences between two releases."""
