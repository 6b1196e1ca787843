"""A hook of MkDocs: a link to a file outside the site becomes its text, which names the file."""

from __future__ import annotations

import posixpath
import re
from typing import Any


def on_page_markdown(markdown: str, *, page: Any, files: Any, **_: object) -> str:  # noqa: ANN401
    """Return the page without links that lead out of the site."""

    def kept(match: re.Match[str]) -> str:
        text, target = match.groups()
        path = target.partition("#")[0]
        if not path or ":" in path:
            return match[0]
        file = files.get_file_from_path(posixpath.normpath(posixpath.join(posixpath.dirname(page.file.src_uri), path)))
        return match[0] if file is not None and not file.inclusion.is_excluded() else text

    return re.sub(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)", kept, markdown)
