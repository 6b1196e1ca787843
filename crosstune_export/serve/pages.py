"""The pages for people: one to try the bundle, and one that documents the routes. They load nothing from other hosts."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from fastapi import Response

from crosstune.core.reports.page import html_page, plain, table
from crosstune_export.bundle.manifest import BundleManifest

_SCRIPT = """
"use strict";
const form = document.querySelector("form"), result = document.querySelector("#result");
const cell = (row, text) => { row.insertCell().textContent = text; };
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const fields = [...form.querySelectorAll("textarea")].map((field) => field.value);
  const body = JSON.stringify({ text: fields.length === 1 ? fields[0] : fields, top_k: 5 });
  const headers = { "content-type": "application/json" };
  try {
    const response = await fetch("v1/classify", { method: "POST", headers, body });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error);
    const { label, probs, similarity } = answer.answers[0];
    const tableElement = document.createElement("table");
    for (const [name, prob] of Object.entries(probs)) {
      const row = tableElement.insertRow();
      cell(row, name);
      cell(row, (100 * prob).toFixed(1) + "%");
    }
    const title = document.createElement("h3");
    title.textContent = (label ?? "no label") + (similarity === null ? "" : ` (similarity ${similarity.toFixed(2)})`);
    result.replaceChildren(title, tableElement);
  } catch (error) {
    result.textContent = error.message;
  }
});
"""
_STYLE = "textarea{width:100%;box-sizing:border-box;font:inherit;margin:.3rem 0}button{font:inherit;padding:.3rem 1rem}"
_HASH = base64.b64encode(hashlib.sha256(_SCRIPT.encode("utf-8")).digest()).decode("ascii")
_HEADERS = {
    "content-security-policy": f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{_HASH}'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
}


def try_page(manifest: BundleManifest) -> Response:
    """The page at ``/``: a box to try the bundle, and its labels."""
    field = '<textarea rows="3" aria-label="{}" placeholder="{}" required></textarea>'
    names = ("First text", "Second text") if manifest.text_pair else ("Text",)
    boxes = "".join(field.format(name, name) for name in names)
    labels = [[label.name, " / ".join(label.descriptions)] for label in manifest.labels]
    return _page(
        f"CrossTune: {manifest.name}",
        f"<style>{_STYLE}</style><h1>{plain(manifest.name)}</h1>"
        f'<p>{len(labels)} labels. Programs use <code>POST /v1/classify</code>, see <a href="docs">the documentation</a>.</p>'
        f'<form>{boxes}<button>Classify</button></form><div id="result" aria-live="polite"></div>'
        f"<h2>Labels</h2>{table(['label', 'description'], labels)}<script>{_SCRIPT}</script>",
    )


def docs_page(openapi: dict[str, Any], example: dict[str, Any]) -> Response:
    """The page at ``/docs``: every route of the OpenAPI description, and a request to copy."""
    routes = [
        [f"{method.upper()} {path}", route.get("description") or route.get("summary", "")]
        for path, methods in openapi["paths"].items()
        for method, route in methods.items()
    ]
    shown = json.dumps(example, ensure_ascii=False).replace("'", "'\\''")
    call = f"curl localhost:8080/v1/classify -H 'content-type: application/json' -d '{shown}'"
    title = openapi["info"]["title"]
    return _page(
        f"{title}: HTTP",
        f'<h1>{plain(title)}</h1><p><a href="./">Try it</a> · <a href="openapi.json">OpenAPI description</a></p>'
        f"<h2>Example</h2><pre style='white-space:pre-wrap;overflow-wrap:anywhere'>{plain(call)}</pre>"
        f"<h2>Routes</h2>{table(['route', 'answer'], routes)}",
    )


def _page(title: str, body: str) -> Response:
    return Response(html_page(title, [body]), media_type="text/html", headers=_HEADERS)
