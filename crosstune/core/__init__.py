"""Code that both packages share: errors, strict parsers, labels, token layout, outputs, progress. Needs only numpy."""
