"""Additional files for phones and for Triton."""
