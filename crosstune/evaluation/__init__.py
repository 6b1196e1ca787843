"""Metrics on labelled data and the report page that shows them."""
