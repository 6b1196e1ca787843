"""The page in a browser: texts, labels, explanations, tables, accessibility."""

from __future__ import annotations

import csv
import json
import re

import pytest
from playwright.sync_api import expect

from crosstune_export import Classifier
from crosstune_export.web.page_server import served_files
from tests.fixtures.edited_bundle import edited
from tests.fixtures.web_page import TEXT, axe_source

PHONE = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True, "device_scale_factor": 2}


def test_a_text_gets_its_label_and_no_request_leaves_the_origin(visit, files, python):
    visitor = visit(files).open().ready()
    page = visitor.page
    expect(page.locator("#text")).to_be_focused()
    expect(page.locator("#status")).to_have_text("tiny-fp32 is loaded, with 3 labels.")
    expect(page.locator("#bundle-facts")).to_contain_text("passed on ")
    page.keyboard.type(TEXT)
    answer = python.classify([TEXT])[0]
    expect(page.locator("#verdict-label")).to_have_text(answer.label)
    expect(page.locator("#tokens")).to_have_text(f"{len(python.token_ids([TEXT])[0])} of 64")
    expect(page.locator("#time")).to_have_text(re.compile(r"^[\d.]+ ms$"))
    expect(page.locator("#similarity")).to_have_text(re.compile(r"^-?[01]\.\d\d$"))
    names, percents = page.locator("#bars .name").all_inner_texts(), page.locator("#bars .percent").all_inner_texts()
    shares = [float(percent.removesuffix("%")) for percent in percents]
    assert list(zip(names, shares, strict=True)) == [
        (name, pytest.approx(100 * prob, abs=0.6)) for name, prob in answer.top(3)
    ]
    expect(page.locator("#bars .best .name")).to_have_text(answer.label)
    expect(page.locator("#truncated")).to_be_hidden()
    expect(page.locator("#announcement")).to_have_text(re.compile(f"^{answer.label}: "))
    page.locator("#text").fill("")
    expect(page.locator("#verdict-label")).to_have_text("\u2013")
    assert all(url.startswith(visitor.address) for url in visitor.requests)
    assert {f"{visitor.address}bundle/{name}" for name in ("manifest.json", "model.onnx", "README.md")} <= set(
        visitor.requests
    )
    assert visitor.console == []


def test_every_key_updates_the_bars(visit, files, python):
    page = visit(files).open().ready().page
    page.locator("#text").focus()
    for end in range(1, len(TEXT) + 1):
        page.keyboard.type(TEXT[end - 1])
        probs = python.predict_proba([TEXT[:end]])[0]
        expect(page.locator("#bars li").first).to_have_class("best")
        expect(page.locator("#bars .name").first).to_have_text(python.labels[int(probs.argmax())])
        expect(page.locator("#tokens")).to_have_text(f"{len(python.token_ids([TEXT[:end]])[0])} of 64")


def test_a_notice_says_that_a_text_is_truncated(visit, files):
    page = visit(files).open().ready().page
    page.locator("#text").fill("parcel " * 100)
    expect(page.locator("#truncated")).to_have_text("The text is too long: only the first 64 of 102 tokens count.")
    page.locator("#text").fill("parcel")
    expect(page.locator("#truncated")).to_be_hidden()


def test_a_threshold_from_the_slider(visit, files, python):
    page = visit(files).open().ready().page
    page.locator("#text").fill(TEXT)
    answer = python.classify([TEXT])[0]
    expect(page.locator("#verdict-label")).to_have_text(answer.label)
    expect(page.locator("#threshold-value")).to_have_text("off")
    page.get_by_label("Threshold").focus()
    page.keyboard.press("End")
    expect(page.locator("#threshold-value")).to_have_text("100.0%")
    expect(page.locator("#bars")).to_have_attribute("data-threshold", "")
    expect(page.locator("#verdict-label")).to_have_text("No label")
    expect(page.locator("#verdict-reason")).to_have_text(
        re.compile(rf"^Most probable is {answer.label} with [\d.]+%, below the threshold of 100\.0%\.$")
    )
    page.keyboard.press("Home")
    expect(page.locator("#verdict-label")).to_have_text(answer.label)


def test_the_thresholds_of_the_bundle(visit, tiny_fp32_bundle_dir, tmp_path, python):
    similarity = python.classify([TEXT])[0].similarity
    decision = {"threshold": 0.25, "scope_threshold": similarity + 0.01}
    path = edited(tiny_fp32_bundle_dir, tmp_path / "x.bundle", lambda body: body.update(decision=decision))
    page = visit(served_files(path)).open().ready().page
    expect(page.locator("#threshold-value")).to_have_text("25%")
    page.locator("#text").fill(TEXT)
    expect(page.locator("#verdict-label")).to_have_text("No label")
    expect(page.locator("#verdict-reason")).to_have_text(
        re.compile("^The text is not similar to any label. Most probable is ")
    )
    expect(page.locator("#similarity")).to_have_text(f"{similarity:.2f} (threshold {similarity + 0.01:.2f})")


def test_the_explanation_highlights_words(visit, files, runtime, tiny_fp32_bundle_dir):
    page = visit(files).open().ready().page
    text = "my box is late again, thanks <b>"
    page.locator("#text").fill(text)
    page.get_by_text("Why this label?").click()
    expect(page.locator("#highlighted")).to_have_text(text)
    classifier = runtime.load(tiny_fp32_bundle_dir)
    answer, words = classifier.classify([text])[0], classifier.explain(text)["words"]
    best = classifier.labels.index(answer["label"])
    evidence = {word["text"]: word["evidence"][best] for word in words}
    strong = [word for word, value in evidence.items() if abs(value) > max(map(abs, evidence.values())) / 4]
    assert page.locator("#highlighted mark").all_inner_texts() == strong
    assert page.locator("#highlighted mark.for").all_inner_texts() == [word for word in strong if evidence[word] > 0]
    strongest = max(evidence, key=lambda word: abs(evidence[word]))
    expect(page.locator("#evidence")).to_contain_text(f"Evidence for {answer['label']}, in log-odds: {strongest} ")
    page.locator("#text").fill("")
    expect(page.locator("#highlighted")).to_have_text("")


LINES = [TEXT, "the money was charged", "=SUM(A1)", 'so "kind", thanks', "ΟΔΥΣΣΕΥΣ 商 😀"]


def test_many_texts_become_a_table_and_downloads(visit, files, python):
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
    rows = [json.loads(line) for line in download.value.path().read_text("utf-8").splitlines()]
    assert [list(row) for row in rows] == [["text", "label", "prob", "probs", "truncated", "similarity"]] * 5
    assert [row["text"] for row in rows] == LINES
    for row, answer in zip(rows, answers, strict=True):
        assert (row["label"], row["truncated"]) == (answer.label, False)
        assert tuple(row["probs"]) == python.labels
        assert list(row["probs"].values()) == pytest.approx(answer.probs, abs=1e-4)
        assert row["prob"] == max(row["probs"].values())

    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    with download.value.path().open(encoding="utf-8", newline="") as stream:
        table = list(csv.reader(stream))
    probs = [f"prob_{label}" for label in python.labels]
    assert table[0] == ["text", "label", "prob", *probs, "truncated", "similarity"]
    assert [row[0] for row in table[1:]] == [*LINES[:2], "'=SUM(A1)", *LINES[3:]]
    assert [row[1] for row in table[1:]] == [answer.label for answer in answers]


def test_a_refused_text_is_named_and_the_answers_before_it_are_kept(visit, files):
    page = visit(files).open().ready().page
    page.get_by_role("textbox", name="Many texts").fill(f"{TEXT}\n\nso\x07 kind\nthanks")
    page.get_by_role("button", name="Classify 3 texts").click()
    expect(page.locator("#many-status")).to_have_text(
        "Text 2: has the control character U+0007 at position 2. Remove it."
    )
    assert page.locator("#rows tr").count() == 1
    expect(page.get_by_role("button", name="Download CSV")).to_be_enabled()


def test_a_stopped_run_does_not_affect_the_next(visit, files):
    """Three clicks in a row start one run and stop it twice; two runs never overlap."""
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
    page.get_by_label("Second text of the pair").fill("the box")
    python = Classifier.load(tiny_pair_bundle_dir)
    expect(page.locator("#verdict-label")).to_have_text(python.classify([("where is it", "the box")])[0].label)
    expect(page.locator("#tokens")).to_have_text(f"{len(python.token_ids([('where is it', 'the box')])[0])} of 64")
    page.get_by_role("textbox", name="Many texts").fill("where is it\tthe box")
    page.get_by_role("button", name="Classify 1 text").click()
    expect(page.locator("#rows td").first).to_have_text("where is it | the box")


def test_many_labels_show_the_most_probable_first(visit, tiny_fp32_bundle_dir, tmp_path):
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
    expect(page.locator("#hidden-labels")).to_have_text(re.compile(r"^3 more labels, [\d.]+% in total$"))


@pytest.mark.parametrize("window", [PHONE, {"color_scheme": "dark"}, {}], ids=["phone", "dark", "light"])
def test_accessibility(visit, files, package, window):
    """axe finds no violation and nothing is wider than the window, with an answer, a table and an error on the page."""
    visitor = visit(files, **window).open().ready()
    page = visitor.page
    page.locator("#text").fill("my box is late " * 30)
    page.get_by_text("Why this label?").click()
    expect(page.locator("#highlighted mark").first).to_be_visible()
    page.get_by_role("textbox", name="Many texts").fill("\n".join([*LINES, "x" * 300]))
    page.locator("#run").click()
    expect(page.locator("#many-status")).to_contain_text("classified in")
    page.locator("#threshold").fill("40")
    page.locator("#files").set_input_files({"name": "notes.txt", "mimeType": "text/plain", "buffer": b"x"})
    visitor.refusal()
    expect(page.locator("#truncated")).to_be_visible()
    page.evaluate(axe_source(package))
    violations = page.evaluate("axe.run().then((results) => results.violations)")
    assert [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in violations] == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_tab_key_reaches_every_control(visit, files, python):
    page = visit(files).open().ready().page
    page.locator("#many").fill("a\nb")
    page.locator("#run").click()
    expect(page.locator("#many-status")).to_contain_text("classified in")
    page.locator("#text").focus()
    reached = []
    for _ in range(14):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.textContent"))
    many = ["many", "run", "download-csv", "download-jsonl", "table-scroll"]
    examples = [label.descriptions[0] for label in python.manifest.labels[:3]]
    assert reached == [
        *examples, "Why this label?", "threshold", *many, "What do these words mean?",
        "choose-folder", "choose-files", "Licenses",
    ]  # fmt: skip
