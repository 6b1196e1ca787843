"""Copy the page of ``make web`` and a bundle into one folder, which any web server can serve.

python examples/web_demo/make_site.py out/support.bundle site
python -m http.server --directory site --bind 127.0.0.1
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from crosstune.core.errors import CrossTuneError
from crosstune_export import unpack, verify
from crosstune_export.web.page_server import PAGE_FOLDER


def make_site(bundle: Path, site: Path) -> Path:
    """Check a bundle, and write the page with it.

    Args:
        bundle: Bundle folder or packed bundle.
        site: Folder to write; it must be new, or have been written by this function.

    Returns:
        ``site``.
    """
    if not (PAGE_FOLDER / "index.html").is_file():
        raise SystemExit(f"{PAGE_FOLDER}: no page, expected a built one. Run: make web")
    if site.exists() and not (site / "bundle" / "manifest.json").is_file():
        raise SystemExit(f"{site}: is already there, expected a new folder. Choose another.")
    verify(bundle).check()
    shutil.copytree(PAGE_FOLDER, site, dirs_exist_ok=True)
    unpack(bundle, site / "bundle", force=True)
    return site


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write a static web site that classifies with a bundle.")
    parser.add_argument("bundle", type=Path, help="bundle folder or packed bundle")
    parser.add_argument("site", type=Path, help="folder to write")
    arguments = parser.parse_args()
    try:
        print(make_site(arguments.bundle, arguments.site))
    except CrossTuneError as error:
        raise SystemExit(str(error)) from error
