"""``crosstune-export``: build a bundle, classify with it, inspect it. Only ``build`` needs torch."""

from __future__ import annotations

from crosstune_cli.bench import bench
from crosstune_cli.build import build
from crosstune_cli.classify import classify
from crosstune_cli.diff import diff
from crosstune_cli.doctor import doctor
from crosstune_cli.evaluate_bundle import evaluate_bundle
from crosstune_cli.inspect import inspect
from crosstune_cli.labels import labels_app
from crosstune_cli.options import Version
from crosstune_cli.pack import pack
from crosstune_cli.program import EVERYDAY, INSPECT, RELEASE, add, make_app
from crosstune_cli.pull import pull
from crosstune_cli.push import push
from crosstune_cli.run import run
from crosstune_cli.sbom import sbom
from crosstune_cli.serve import serve
from crosstune_cli.sign import sign
from crosstune_cli.unpack import unpack
from crosstune_cli.verify import verify
from crosstune_cli.web import web

app = make_app("crosstune-export", "Build one ONNX graph from a checkpoint, and classify with it without torch.")


@app.callback()
def _root(_: Version = False) -> None:
    """Build one ONNX graph from a checkpoint, and classify with it without torch."""


add(
    app, build,
    "crosstune-export build news.ckpt -o news.bundle",
    "crosstune-export build news.ckpt -o news.bundle --precision int8 --max-size-mb 20 --report build.html",
    panel=EVERYDAY,
)  # fmt: skip
add(
    app, classify,
    'crosstune-export classify news.bundle --text "where is my parcel"',
    "crosstune-export classify news.bundle mails.csv -o labelled.csv",
    "tail -f mails.txt | crosstune-export classify news.bundle - --min-similarity 0.5",
    panel=EVERYDAY,
)  # fmt: skip
add(
    app, evaluate_bundle,
    "crosstune-export evaluate news.bundle --data test.jsonl --report news.html",
    name="evaluate", panel=EVERYDAY,
)  # fmt: skip
app.add_typer(labels_app, rich_help_panel=EVERYDAY)
add(app, serve, "crosstune-export serve news.bundle --port 8080", panel=RELEASE)
add(app, web, "crosstune-export web news.bundle", panel=RELEASE)
add(app, pack, "crosstune-export pack news.bundle -o news.bundle.zip", panel=RELEASE)
add(app, unpack, "crosstune-export unpack news.bundle.zip -o news.bundle", panel=RELEASE)
add(app, push, "crosstune-export push news.bundle my-team/news", panel=RELEASE)
add(
    app, pull,
    "crosstune-export pull my-team/news -o news.bundle",
    "crosstune-export pull my-team/news -o news.bundle --revision v2",
    panel=RELEASE,
)  # fmt: skip
add(app, sign, "crosstune-export sign news.bundle --key private.pem", panel=RELEASE)
add(app, sbom, "crosstune-export sbom news.bundle > news.cdx.json", panel=RELEASE)
add(
    app, verify,
    "crosstune-export verify news.bundle",
    "crosstune-export verify news.bundle --checkpoint news.ckpt --data test.jsonl",
    panel=INSPECT,
)  # fmt: skip
add(app, inspect, "crosstune-export inspect news.bundle --json", panel=INSPECT)
add(app, bench, "crosstune-export bench news.bundle --lengths 16,64 --threads 1,2", panel=INSPECT)
add(app, diff, "crosstune-export diff old.bundle new.bundle --data test.jsonl", panel=INSPECT)
add(app, doctor, "crosstune-export doctor news.bundle", panel=INSPECT)


def main() -> None:
    """Entry point."""
    run(app, "crosstune-export")
