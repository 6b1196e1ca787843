"""The bundles of the page: served, damaged, stale, chosen and dropped."""

from __future__ import annotations

import dataclasses
import re
import shutil

import pytest
from playwright.sync_api import Page, expect

from crosstune_export import Classifier
from crosstune_export.bundle.packing import pack
from crosstune_export.web.page_server import ServedFile

TEXT = "where is my parcel"


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
            "manifest.json: the digest does not match the bytes, expected them as they were built. Copy or build the bundle again.",
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
def test_a_bad_bundle_says_why(visit, files, name, fault, message):
    broken = {**files, f"/bundle/{name}": fault(files[f"/bundle/{name}"])}
    here = visit({path: file for path, file in broken.items() if file is not None}).open()
    assert re.fullmatch(WHERE + message, here.refusal())
    expect(here.page.locator("#text")).to_be_disabled()
    expect(here.page.locator("#loaded")).to_have_text("No bundle is loaded.")


def test_no_network(visit, files):
    here = visit(files)
    here.page.route("**/bundle/*", lambda route: route.abort())
    message = "cannot be fetched (TypeError: Failed to fetch). Check the address and the network."
    assert here.open().refusal() == f"{WHERE}manifest.json: {message}"


def test_a_worker_that_does_not_start(visit, files, tiny_fp32_bundle_dir):
    """Each try says so; none waits for an answer that nobody gives."""
    here = visit(files)
    here.page.route("**/*worker*", lambda route: route.abort())
    message = "Something is wrong with this page: Error: the worker did not start. Reload it."
    assert here.open().refusal() == message
    with here.page.expect_file_chooser() as chooser:
        here.page.get_by_role("button", name="Choose its files").click()
    chooser.value.set_files(sorted(tiny_fp32_bundle_dir.iterdir()))
    assert here.refusal() == message
    expect(here.page.locator("#loaded")).to_have_text("No bundle is loaded.")


def test_a_loaded_page_needs_no_network(visit, files):
    page = visit(files).open().ready().page
    page.context.set_offline(True)
    page.locator("#text").fill(TEXT)
    expect(page.locator("#verdict-label")).to_have_text("shipping")


def test_a_stale_file_in_the_cache_is_fetched_again(visit, files):
    """The browser kept the graph of another build under the same address, and is told that it stays good."""
    served = {
        **files,
        "/bundle/model.onnx": changed(flipped(files["/bundle/model.onnx"]), cache_control="max-age=3600"),
    }
    here = visit(served).open()
    assert "model.onnx: sha256" in here.refusal()
    served["/bundle/model.onnx"] = files["/bundle/model.onnx"]
    here.page.reload()
    here.ready()


def test_a_folder_that_a_person_chooses(visit, files, tiny_paper_bundle_dir, tmp_path):
    here = visit(files).open().ready()
    page = here.page
    page.locator("#text").fill(TEXT)
    shutil.copytree(tiny_paper_bundle_dir, tmp_path / "mine.bundle")
    expect(page.locator("#served")).to_be_hidden()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose a folder").click()
    chooser.value.set_files(tmp_path / "mine.bundle")
    digest = Classifier.load(tiny_paper_bundle_dir).manifest.digest
    expect(page.locator("#bundle-facts")).to_contain_text(digest[:12])
    expect(page.locator("#nearness-fact")).to_be_hidden()
    expect(page.locator("#verdict-label")).to_have_text(
        Classifier.load(tiny_paper_bundle_dir).classify([TEXT])[0].label
    )

    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose its files").click()
    chooser.value.set_files([tmp_path / "mine.bundle" / "manifest.json"])
    assert (
        here.refusal()
        == "README.md: missing, expected in every bundle. Choose the folder of a bundle, or its five files."
    )
    expect(page.locator("#bundle-facts")).to_contain_text(digest[:12])  # the one before stays

    page.get_by_role("button", name="Back to the served one").click()
    expect(page.get_by_role("alert")).to_be_hidden()
    expect(page.locator("#served")).to_be_hidden()


def drop(page: Page, *paths) -> None:
    """Drop files of this machine onto the page, as a person does from a file manager."""
    session = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": 200, "y": 200, "data": data})


def test_the_packed_file_that_a_person_chooses_or_drops(visit, files, tiny_paper_bundle_dir, tmp_path):
    packed = tmp_path / "mine.bundle.zip"
    digest = pack(tiny_paper_bundle_dir, packed).manifest.digest
    here = visit(files).open().ready()
    with here.page.expect_file_chooser() as chooser:
        here.page.get_by_role("button", name="Choose its files").click()
    chooser.value.set_files([packed])
    expect(here.page.locator("#bundle-facts")).to_contain_text(digest[:12])
    here.page.get_by_role("button", name="Back to the served one").click()
    expect(here.page.locator("#bundle-facts")).not_to_contain_text(digest[:12])
    drop(here.page, packed)
    expect(here.page.locator("#bundle-facts")).to_contain_text(digest[:12])
    (tmp_path / "notes.txt").write_text("no bundle", "utf-8")
    drop(here.page, tmp_path / "notes.txt")
    assert here.refusal() == (
        "notes.txt: no manifest.json at its place, expected what crosstune-export pack writes. Copy or pack the bundle again."
    )
    expect(here.page.locator("#bundle-facts")).to_contain_text(digest[:12])  # the one before stays


def test_a_folder_that_a_person_drops(visit, files, tiny_paper_bundle_dir, tmp_path):
    shutil.copytree(tiny_paper_bundle_dir, tmp_path / "mine.bundle")
    here = visit(files).open().ready()
    drop(here.page, tmp_path / "mine.bundle")
    digest = Classifier.load(tiny_paper_bundle_dir).manifest.digest
    expect(here.page.locator("#bundle-facts")).to_contain_text(digest[:12])
    (tmp_path / "mine.bundle" / "notes.txt").touch()
    drop(here.page, tmp_path / "mine.bundle")
    assert here.refusal() == (
        "notes.txt: a foreign file, expected only README.md, manifest.json, model.onnx, selftest.json, tokenizer.json. "
        "Choose the files of one bundle."
    )
