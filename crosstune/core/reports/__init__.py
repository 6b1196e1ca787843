"""Report pages: one HTML file each, without scripts or network."""
