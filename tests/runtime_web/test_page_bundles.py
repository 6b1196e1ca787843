"""The page in a browser: which bundles it loads, and what it says when it cannot."""

from __future__ import annotations

import dataclasses
import re
import shutil

import pytest
from playwright.sync_api import Page, expect

from crosstune_export import Classifier
from crosstune_export.bundle.packing import pack
from crosstune_export.web.page_server import ServedFile
from tests.fixtures.web_page import TEXT

pytestmark = pytest.mark.slow


def changed(file: ServedFile, **fields) -> ServedFile:
    return dataclasses.replace(file, **fields)


def flipped(file: ServedFile) -> ServedFile:
    middle = len(file.data) // 2
    return changed(file, data=file.data[:middle] + bytes([file.data[middle] ^ 1]) + file.data[middle + 1 :], etag='"x"')


WHERE = "ADDRESS/bundle/"
ALL_FIVE = "expected the file of a bundle. Check the address, and that all five files are there."


@pytest.mark.parametrize(
    ("name", "fault", "message"),
    [
        ("model.onnx", flipped, r"model.onnx: sha256 \w{12}…, expected \w{12}…. Copy or build the bundle again."),
        (
            "manifest.json",
            flipped,
            "manifest.json: the digest does not match the contents, expected the file as it was built. Copy or build the bundle again.",
        ),
        (
            "tokenizer.json",
            lambda file: changed(file, data=file.data[:-1]),
            r"tokenizer.json: \d+ bytes, expected \d+. Copy or build the bundle again.",
        ),
        (
            "model.onnx",
            lambda file: changed(file, data=b"<!doctype html>", content_type="text/html"),
            f"model.onnx: the server sends an HTML page, {ALL_FIVE}",
        ),
        ("selftest.json", lambda file: None, f"selftest.json: the server answers 404, {ALL_FIVE}"),
        ("manifest.json", lambda file: None, f"manifest.json: the server answers 404, {ALL_FIVE}"),
    ],
    ids=["flipped graph", "flipped manifest", "short tokenizer", "HTML for a graph", "no self-test", "no bundle"],
)  # fmt: skip
def test_a_bad_bundle_is_refused_with_the_reason(visit, files, name, fault, message):
    broken = {**files, f"/bundle/{name}": fault(files[f"/bundle/{name}"])}
    visitor = visit({path: file for path, file in broken.items() if file is not None}).open()
    assert re.fullmatch(WHERE + message, visitor.refusal())
    expect(visitor.page.locator("#text")).to_be_disabled()
    expect(visitor.page.locator("#status")).to_have_text("No bundle is loaded.")


def test_no_network(visit, files):
    visitor = visit(files)
    visitor.page.route("**/bundle/*", lambda route: route.abort())
    message = "cannot be fetched (TypeError: Failed to fetch). Check the address and the network."
    assert visitor.open().refusal() == f"{WHERE}manifest.json: {message}"


def test_a_worker_that_does_not_start(visit, files, tiny_fp32_bundle_dir):
    """Every attempt reports the error; none waits forever."""
    visitor = visit(files)
    visitor.page.route("**/*worker*", lambda route: route.abort())
    message = "Unexpected error: the worker did not start. Reload the page."
    assert visitor.open().refusal() == message
    with visitor.page.expect_file_chooser() as chooser:
        visitor.page.get_by_role("button", name="Choose files").click()
    chooser.value.set_files(sorted(tiny_fp32_bundle_dir.iterdir()))
    assert visitor.refusal() == message
    expect(visitor.page.locator("#status")).to_have_text("No bundle is loaded.")


def test_a_loaded_page_needs_no_network(visit, files):
    page = visit(files).open().ready().page
    page.context.set_offline(True)
    page.locator("#text").fill(TEXT)
    expect(page.locator("#verdict-label")).to_have_text("shipping")


def test_a_stale_file_in_the_cache_is_fetched_again(visit, files):
    """The browser has cached the graph of an older build under the same address, with a long lifetime."""
    served = {
        **files,
        "/bundle/model.onnx": changed(flipped(files["/bundle/model.onnx"]), cache_control="max-age=3600"),
    }
    visitor = visit(served).open()
    assert "model.onnx: sha256" in visitor.refusal()
    served["/bundle/model.onnx"] = files["/bundle/model.onnx"]
    visitor.page.reload()
    visitor.ready()


def test_choosing_a_folder(visit, files, tiny_paper_bundle_dir, tmp_path):
    visitor = visit(files).open().ready()
    page = visitor.page
    page.locator("#text").fill(TEXT)
    shutil.copytree(tiny_paper_bundle_dir, tmp_path / "mine.bundle")
    expect(page.locator("#served")).to_be_hidden()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose a folder").click()
    chooser.value.set_files(tmp_path / "mine.bundle")
    digest = Classifier.load(tiny_paper_bundle_dir).manifest.digest
    expect(page.locator("#bundle-facts")).to_contain_text(digest[:12])
    expect(page.locator("#similarity-fact")).to_be_hidden()
    expect(page.locator("#verdict-label")).to_have_text(
        Classifier.load(tiny_paper_bundle_dir).classify([TEXT])[0].label
    )

    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose files").click()
    chooser.value.set_files([tmp_path / "mine.bundle" / "manifest.json"])
    assert (
        visitor.refusal()
        == "README.md: missing, expected in every bundle. Choose the folder of a bundle, or its five files."
    )
    expect(page.locator("#bundle-facts")).to_contain_text(digest[:12])  # the previous bundle stays

    page.get_by_role("button", name="Back to the first bundle").click()
    expect(page.get_by_role("alert")).to_be_hidden()
    expect(page.locator("#served")).to_be_hidden()


def drop(page: Page, *paths) -> None:
    """Drop files onto the page, as from a file manager."""
    session = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": 200, "y": 200, "data": data})


def test_choosing_or_dropping_a_packed_bundle(visit, files, tiny_paper_bundle_dir, tmp_path):
    packed = tmp_path / "mine.bundle.zip"
    digest = pack(tiny_paper_bundle_dir, packed).manifest.digest
    visitor = visit(files).open().ready()
    with visitor.page.expect_file_chooser() as chooser:
        visitor.page.get_by_role("button", name="Choose files").click()
    chooser.value.set_files([packed])
    expect(visitor.page.locator("#bundle-facts")).to_contain_text(digest[:12])
    visitor.page.get_by_role("button", name="Back to the first bundle").click()
    expect(visitor.page.locator("#bundle-facts")).not_to_contain_text(digest[:12])
    drop(visitor.page, packed)
    expect(visitor.page.locator("#bundle-facts")).to_contain_text(digest[:12])
    (tmp_path / "notes.md").write_text("no bundle", "utf-8")
    drop(visitor.page, tmp_path / "notes.md")
    assert visitor.refusal() == (
        "notes.md: manifest.json is missing or misplaced, expected a file written by crosstune-export pack. Copy or pack the bundle again."
    )
    expect(visitor.page.locator("#bundle-facts")).to_contain_text(digest[:12])  # the previous bundle stays


def test_dropping_a_folder(visit, files, tiny_paper_bundle_dir, tmp_path):
    shutil.copytree(tiny_paper_bundle_dir, tmp_path / "mine.bundle")
    visitor = visit(files).open().ready()
    drop(visitor.page, tmp_path / "mine.bundle")
    digest = Classifier.load(tiny_paper_bundle_dir).manifest.digest
    expect(visitor.page.locator("#bundle-facts")).to_contain_text(digest[:12])
    (tmp_path / "mine.bundle" / "notes.md").touch()
    drop(visitor.page, tmp_path / "mine.bundle")
    assert visitor.refusal() == (
        "notes.md: a foreign file, expected only README.md, manifest.json, model.onnx, selftest.json, tokenizer.json. "
        "Choose the files of one bundle."
    )


def test_a_file_of_texts_is_dropped_and_an_example_is_chosen(visit, files, python, tmp_path):
    page = visit(files).open().ready().page
    (tmp_path / "mails.csv").write_text("id;text\n1;where is my parcel\n2;so kind\n", "utf-8")
    drop(page, tmp_path / "mails.csv")
    expect(page.locator("#run")).to_have_text("Classify 2 texts")
    expect(page.get_by_role("textbox", name="Many texts")).to_have_value("where is my parcel\nso kind")
    (tmp_path / "mails.csv").write_text("body\na\n", "utf-8")
    drop(page, tmp_path / "mails.csv")
    expect(page.locator("#many-status")).to_have_text(
        'mails.csv: has no column "text". Rename the column of the texts.'
    )

    example = python.manifest.labels[1].descriptions[0]
    page.get_by_role("button", name=example).click()
    expect(page.locator("#text")).to_have_value(example)
    expect(page.locator("#verdict-label")).to_have_text(python.classify([example])[0].label)
