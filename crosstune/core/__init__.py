"""What both packages stand on: errors, strict readers, labels, token layout, outputs, progress. Standard library and numpy only."""
