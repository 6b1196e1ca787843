"""A local server for the web page and one bundle."""
