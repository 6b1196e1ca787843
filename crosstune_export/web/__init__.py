"""Serves the web page and one bundle."""
