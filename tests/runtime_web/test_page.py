"""The page, as a person meets it: in a browser, by what it shows."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
import shutil

import pytest
from playwright.sync_api import Page, expect

from crosstune_export import Classifier
from crosstune_export.bundle.packing import pack
from crosstune_export.web.page_server import ServedFile, served_files
from tests.fixtures.edited_bundle import edited
from tests.runtime_web.page_fixtures import axe_source, serving

PHONE = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True, "device_scale_factor": 2}
TEXT = "where is my parcel"


class Visit:
    """One person's visit: the page, where it went, and what it complained of."""

    def __init__(self, page: Page, address: str) -> None:
        self.page, self.address = page, address
        page.set_default_timeout(120_000)
        self.requests: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def open(self) -> Visit:
        self.page.goto(self.address)
        return self

    def ready(self) -> Visit:
        expect(self.page.locator("#text")).to_be_enabled()
        expect(self.page.locator("#bundle-facts")).to_contain_text("Self-test in this browser")
        expect(self.page.locator("#bundle-facts")).not_to_contain_text("running")
        return self

    def refusal(self) -> str:
        expect(self.page.get_by_role("alert")).to_be_visible()
        expect(self.page.locator("#loading")).to_be_hidden()
        return self.page.get_by_role("alert").inner_text().replace(self.address, "ADDRESS/")

    def verdict(self) -> str:
        return self.page.locator("#verdict-label").inner_text()


@pytest.fixture
def visit(browser):
    """Opens a browser window on served files; all are closed at the end."""
    open_ones = []

    def visit(files, **window) -> Visit:
        server = serving(files)
        address = server.__enter__()
        context = browser.new_context(**window)
        open_ones.append((context, server))
        return Visit(context.new_page(), address)

    yield visit
    for context, server in open_ones:
        context.close()
        server.__exit__(None, None, None)


@pytest.fixture(scope="module")
def files(tiny_fp32_bundle_dir):
    return served_files(tiny_fp32_bundle_dir)


@pytest.fixture(scope="module")
def python(tiny_fp32_bundle_dir):
    return Classifier.load(tiny_fp32_bundle_dir)


def test_a_text_gets_its_label_and_nothing_leaves_the_origin(visit, files, python):
    here = visit(files).open().ready()
    page = here.page
    expect(page.locator("#text")).to_be_focused()
    expect(page.locator("#loaded")).to_have_text("tiny-fp32 is ready: 3 labels.")
    expect(page.locator("#bundle-facts")).to_contain_text("passed, ")
    page.keyboard.type(TEXT)
    answer = python.classify([TEXT])[0]
    expect(page.locator("#verdict-label")).to_have_text(answer.label)
    expect(page.locator("#tokens")).to_have_text(f"{len(python.token_ids([TEXT])[0])} of 64")
    expect(page.locator("#time")).to_have_text(re.compile(r"^[\d.]+ ms$"))
    expect(page.locator("#nearness")).to_have_text(re.compile(r"^-?[01]\.\d\d$"))
    names, percents = page.locator("#bars .name").all_inner_texts(), page.locator("#bars .percent").all_inner_texts()
    assert tuple(names) == python.labels
    assert [float(percent.removesuffix(" %")) for percent in percents] == pytest.approx(100 * answer.probs, abs=0.6)
    expect(page.locator("#bars .best .name")).to_have_text(answer.label)
    expect(page.locator("#truncated")).to_be_hidden()
    expect(page.locator("#spoken")).to_have_text(re.compile(f"^{answer.label}: "))
    page.locator("#text").fill("")
    expect(page.locator("#verdict-label")).to_have_text("\u2013")
    assert all(url.startswith(here.address) for url in here.requests)
    assert {f"{here.address}bundle/{name}" for name in ("manifest.json", "model.onnx", "README.md")} <= set(
        here.requests
    )
    assert here.complaints == []


def test_each_key_moves_the_bars(visit, files, python):
    page = visit(files).open().ready().page
    page.locator("#text").focus()
    for end in range(1, len(TEXT) + 1):
        page.keyboard.type(TEXT[end - 1])
        probs = python.predict_proba([TEXT[:end]])[0]
        bar = page.locator("#bars li").nth(int(probs.argmax()))
        expect(bar).to_have_class("best")
        expect(page.locator("#tokens")).to_have_text(f"{len(python.token_ids([TEXT[:end]])[0])} of 64")


def test_a_long_text_says_what_was_read(visit, files):
    page = visit(files).open().ready().page
    page.locator("#text").fill("parcel " * 100)
    expect(page.locator("#truncated")).to_have_text("Too long: the first 64 of 102 tokens are read, the rest is not.")
    page.locator("#text").fill("parcel")
    expect(page.locator("#truncated")).to_be_hidden()


def test_the_line_below_which_there_is_no_label(visit, files, python):
    page = visit(files).open().ready().page
    page.locator("#text").fill(TEXT)
    answer = python.classify([TEXT])[0]
    expect(page.locator("#verdict-label")).to_have_text(answer.label)
    expect(page.locator("#threshold-value")).to_have_text("never")
    page.get_by_label("No label below").focus()
    page.keyboard.press("End")
    expect(page.locator("#threshold-value")).to_have_text("100.0 %")
    expect(page.locator("#bars")).to_have_attribute("data-limit", "")
    expect(page.locator("#verdict-label")).to_have_text("no label")
    expect(page.locator("#verdict-why")).to_have_text(
        re.compile(rf"^the best one, {answer.label}, has [\d.]+ %, below the line at 100.0 %$")
    )
    page.keyboard.press("Home")
    expect(page.locator("#verdict-label")).to_have_text(answer.label)


def test_the_bundles_own_rule(visit, tiny_fp32_bundle_dir, tmp_path, python):
    scope = python.classify([TEXT])[0].scope
    decision = {"threshold": 0.25, "scope_threshold": scope + 0.01}
    path = edited(tiny_fp32_bundle_dir, tmp_path / "x.bundle", lambda body: body.update(decision=decision))
    page = visit(served_files(path)).open().ready().page
    expect(page.locator("#threshold-value")).to_have_text("25 %")
    page.locator("#text").fill(TEXT)
    expect(page.locator("#verdict-label")).to_have_text("no label")
    expect(page.locator("#verdict-why")).to_have_text(re.compile("^far from every label; the best one would be "))
    expect(page.locator("#nearness")).to_have_text(f"{scope:.2f}, line at {scope + 0.01:.2f}")


def test_the_words_that_decide(visit, files, runtime, tiny_fp32_bundle_dir):
    page = visit(files).open().ready().page
    text = "my box is late again, thanks <b>"
    page.locator("#text").fill(text)
    page.get_by_text("Which words decide?").click()
    expect(page.locator("#marked")).to_have_text(text)
    found = runtime.load(tiny_fp32_bundle_dir)
    answer, words = found.classify([text])[0], found.explain(text)["words"]
    best = found.labels.index(answer["label"])
    evidence = {word["text"]: word["evidence"][best] for word in words}
    strong = [word for word, value in evidence.items() if abs(value) > max(map(abs, evidence.values())) / 4]
    assert page.locator("#marked mark").all_inner_texts() == strong
    assert page.locator("#marked mark.for").all_inner_texts() == [word for word in strong if evidence[word] > 0]
    strongest = max(evidence, key=lambda word: abs(evidence[word]))
    expect(page.locator("#figures")).to_contain_text(
        f"the log-odds of {answer['label']} lose without the word: {strongest} "
    )
    page.locator("#text").fill("")
    expect(page.locator("#marked")).to_have_text("")


LINES = [TEXT, "the money was charged", "=SUM(A1)", 'so "kind", thanks', "ΟΔΥΣΣΕΥΣ 商 😀"]


def test_many_texts_become_a_table_and_files(visit, files, python):
    page = visit(files).open().ready().page
    expect(page.locator("#run")).to_be_disabled()
    page.get_by_role("textbox", name="Many texts").fill("\n\n".join(LINES) + "\r\n")
    page.get_by_role("button", name="Classify 5 texts").click()
    expect(page.locator("#many-status")).to_have_text(re.compile(r"^5 of 5 texts classified in [\d.]+ s\.$"))
    answers = python.classify(LINES, batch_size=1)
    rows = [row.locator("td").all_inner_texts() for row in page.locator("#rows tr").all()]
    assert [row[:2] for row in rows] == [[text, answer.label] for text, answer in zip(LINES, answers, strict=True)]

    with page.expect_download() as download:
        page.get_by_role("button", name="Download JSON Lines").click()
    assert download.value.suggested_filename == "labels.jsonl"
    found = [json.loads(line) for line in download.value.path().read_text("utf-8").splitlines()]
    assert [list(row) for row in found] == [["text", "label", "prob", "probs", "truncated"]] * 5
    assert [row["text"] for row in found] == LINES
    for row, answer in zip(found, answers, strict=True):
        assert (row["label"], row["truncated"]) == (answer.label, False)
        assert tuple(row["probs"]) == python.labels
        assert list(row["probs"].values()) == pytest.approx(answer.probs, abs=1e-4)
        assert row["prob"] == max(row["probs"].values())

    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    with download.value.path().open(encoding="utf-8", newline="") as stream:
        table = list(csv.reader(stream))
    assert table[0] == ["text", "label", "prob", *python.labels]
    assert [row[0] for row in table[1:]] == [*LINES[:2], "'=SUM(A1)", *LINES[3:]]
    assert [row[1] for row in table[1:]] == [answer.label for answer in answers]


def test_a_run_that_is_stopped_leaves_nothing_to_the_next(visit, files):
    """Three clicks in a row are one start and two stops: never two runs at once."""
    page = visit(files).open().ready().page
    page.get_by_role("textbox", name="Many texts").fill("\n".join(LINES))
    page.evaluate("() => { for (let i = 0; i < 3; i += 1) document.getElementById('run').click(); }")
    expect(page.locator("#many-status")).to_have_text(re.compile(r"^1 of 5 texts classified in [\d.]+ s\.$"))
    assert page.locator("#rows tr").count() == 1
    page.get_by_role("button", name="Classify 5 texts").click()
    expect(page.locator("#many-status")).to_have_text(re.compile(r"^5 of 5 texts classified in [\d.]+ s\.$"))
    assert page.locator("#rows tr").count() == 5


def test_pairs_have_two_fields(visit, tiny_pair_bundle_dir):
    page = visit(served_files(tiny_pair_bundle_dir)).open().ready().page
    page.locator("#text").fill("where is it")
    page.get_by_label("The second text of the pair").fill("the box")
    python = Classifier.load(tiny_pair_bundle_dir)
    expect(page.locator("#verdict-label")).to_have_text(python.classify([("where is it", "the box")])[0].label)
    expect(page.locator("#tokens")).to_have_text(f"{len(python.token_ids([('where is it', 'the box')])[0])} of 64")
    page.get_by_role("textbox", name="Many texts").fill("where is it\tthe box")
    page.get_by_role("button", name="Classify 1 text").click()
    expect(page.locator("#rows td").first).to_have_text("where is it | the box")


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


def test_more_labels_than_fit_are_shown_best_first(visit, tiny_fp32_bundle_dir, tmp_path):
    import numpy as np
    import onnx

    model = onnx.load_from_string((tiny_fp32_bundle_dir / "model.onnx").read_bytes())
    weights = {value.name: value for value in model.graph.initializer}
    for name, axis in (("label_keys", 0), ("label_bias", 0), ("scope_keys", 1)):
        array = onnx.numpy_helper.to_array(weights[name])
        weights[name].CopyFrom(onnx.numpy_helper.from_array(np.repeat(array, 5, axis), name))
    for output in model.graph.output:
        if output.name == "probs":
            output.type.tensor_type.shape.dim[1].dim_value = 15
    del model.graph.value_info[:]

    def edit(body):
        body["labels"] = [
            {"name": f"{entry['name']} {i}", "descriptions": ["x"]} for entry in body["labels"] for i in range(5)
        ]

    path = edited(tiny_fp32_bundle_dir, tmp_path / "x.bundle", edit, {"model.onnx": model.SerializeToString()})
    page = visit(served_files(path)).open().page
    expect(page.locator("#text")).to_be_enabled()
    page.locator("#text").fill(TEXT)
    expect(page.locator("#bars .name").first).to_have_text("shipping 0")
    expect(page.locator("#bars li")).to_have_count(12)
    expect(page.locator("#others")).to_have_text(re.compile(r"^and 3 more labels, [\d.]+ % in all$"))


@pytest.mark.parametrize("window", [PHONE, {"color_scheme": "dark"}, {}], ids=["phone", "dark", "light"])
def test_anyone_can_use_it(visit, files, package, window):
    """No violation that axe finds, nothing wider than the window; with an answer, a table and an error on the page."""
    here = visit(files, **window).open().ready()
    page = here.page
    page.locator("#text").fill("my box is late " * 30)
    page.get_by_text("Which words decide?").click()
    expect(page.locator("#marked mark").first).to_be_visible()
    page.get_by_role("textbox", name="Many texts").fill("\n".join([*LINES, "x" * 300]))
    page.locator("#run").click()
    expect(page.locator("#many-status")).to_contain_text("classified in")
    page.locator("#threshold").fill("40")
    page.locator("#files").set_input_files({"name": "notes.txt", "mimeType": "text/plain", "buffer": b"x"})
    here.refusal()
    expect(page.locator("#truncated")).to_be_visible()
    page.evaluate(axe_source(package))
    violations = page.evaluate("axe.run().then((found) => found.violations)")
    assert [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in violations] == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_keyboard_reaches_everything(visit, files):
    page = visit(files).open().ready().page
    page.locator("#many").fill("a\nb")
    page.locator("#run").click()
    expect(page.locator("#many-status")).to_contain_text("classified in")
    page.locator("#text").focus()
    reached = []
    for _ in range(10):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.textContent"))
    many = ["many", "run", "download-csv", "download-jsonl", "table-scroll"]
    assert reached == ["Which words decide?", "threshold", *many, "choose-folder", "choose-files", "Licences"]
