"""The responses of the routes, and that the OpenAPI page describes them."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from http.client import HTTPConnection
from urllib.parse import urlsplit

import jsonschema
import pytest

from crosstune_export import Classifier
from tests.crosstune_export.serve.conftest import fetch, post, read_all, socket_to

TEXTS = ["where is my parcel", "", "i was charged twice", "thanks, this is great", "unseen zebra 商 words"]


@pytest.fixture(scope="module")
def classifier(tiny_bundle_dir) -> Classifier:
    return Classifier.load(tiny_bundle_dir)


@pytest.fixture(scope="module")
def pair_bundle_dir(tmp_path_factory, tiny_pair_checkpoint_dir):
    from crosstune_export.builder.pipeline import BuildConfig, build

    folder = tmp_path_factory.mktemp("pairs") / "pairs.bundle"
    build(tiny_pair_checkpoint_dir, folder, BuildConfig(precision="fp32", max_flips_percent=100))
    return folder


def test_classify_answers_as_the_classifier_does(program, classifier):
    status, headers, response = fetch(program.url, "POST", "/v1/classify", {"texts": TEXTS})
    assert (status, headers["content-type"]) == (200, "application/json")
    expected = [answer.to_json(classifier.labels) for answer in classifier.classify(TEXTS)]
    assert response == {"digest": classifier.manifest.digest, "answers": expected}
    assert list(response["answers"][0]["probs"]) == list(classifier.labels)


def test_other_texts_of_a_request_do_not_change_an_answer(program):
    together = fetch(program.url, "POST", "/v1/classify", {"texts": TEXTS})[2]["answers"]
    alone = [fetch(program.url, "POST", "/v1/classify", {"texts": [text]})[2]["answers"][0] for text in TEXTS]
    for one, other in zip(together, alone, strict=True):
        assert one["label"] == other["label"]
        assert one["probs"] == pytest.approx(other["probs"], abs=1e-6)


def test_explain(program, classifier):
    answers = fetch(program.url, "POST", "/v1/classify", {"texts": TEXTS[:1], "top_k": 2, "explain": True})[2][
        "answers"
    ]
    assert answers == [classifier.explain(TEXTS[0]).to_json(classifier.labels, 2)]
    assert [word["word"] for word in answers[0]["words"]] == TEXTS[0].split()


def test_top_k_gives_the_best_first(program, classifier):
    answer = fetch(program.url, "POST", "/v1/classify", {"texts": TEXTS[:1], "top_k": 2})[2]["answers"][0]
    probs = classifier.predict_proba(TEXTS[:1])[0]
    best = [classifier.labels[i] for i in (-probs).argsort()[:2]]
    assert list(answer["probs"]) == best


def test_a_threshold_of_one_abstains(program):
    answers = fetch(program.url, "POST", "/v1/classify", {"texts": TEXTS, "threshold": 1})[2]["answers"]
    assert [answer["label"] for answer in answers] == [None] * len(TEXTS)


@pytest.mark.fault("H1")
def test_no_texts_and_empty_texts(program, classifier):
    assert fetch(program.url, "POST", "/v1/classify", {"texts": []})[2] == {
        "digest": classifier.manifest.digest,
        "answers": [],
    }
    answers = fetch(program.url, "POST", "/v1/classify", {"texts": ["", "\u200b"]})[2]["answers"]
    assert [answer["label"] for answer in answers] == [row.label for row in classifier.classify(["", "\u200b"])]


def test_pairs_of_texts(pair_bundle_dir, start_program):
    server = start_program(pair_bundle_dir)
    classifier = Classifier.load(pair_bundle_dir)
    pairs = [["where is my parcel", "when will the box come"], ["i love it", ""]]
    response = fetch(server.url, "POST", "/v1/classify", {"texts": pairs})[2]
    expected = classifier.classify([tuple(pair) for pair in pairs])
    assert response["answers"] == [answer.to_json(classifier.labels) for answer in expected]
    for wrong, message in (
        (["alone"], "texts[0]: input should be a valid array."),
        ([["alone"]], "texts[0]: list should have at least 2 items after validation, not 1."),
        ([["a", "b", "c"]], "texts[0]: list should have at most 2 items after validation, not 3."),
    ):
        status, _, body = fetch(server.url, "POST", "/v1/classify", {"texts": wrong})
        assert (status, body["error"], body["field"]) == (422, message, "texts[0]")
    page = fetch(server.url, "GET", "/openapi.json")[2]
    assert_examples_hold(server.url, page)


def test_labels(program, classifier):
    assert fetch(program.url, "GET", "/v1/labels")[2] == {
        "digest": classifier.manifest.digest,
        "labels": [
            {"name": entry.name, "descriptions": list(entry.descriptions)} for entry in classifier.manifest.labels
        ],
    }


def test_health_and_readiness(program, classifier):
    health = {"status": "ok", "digest": classifier.manifest.digest, "refused": None}
    assert fetch(program.url, "GET", "/health")[::2] == (200, health)
    assert fetch(program.url, "GET", "/ready")[::2] == (200, {"status": "ready"})


def metric(page: bytes, name: str) -> float:
    line = re.search(rf"^{re.escape(name)} (\S+)$", page.decode(), re.MULTILINE)
    return float(line[1]) if line else 0.0


def test_metrics_count_requests_and_texts(program, classifier):
    names = {
        'crosstune_requests_total{endpoint="/v1/classify",status="200"}': 1,
        'crosstune_requests_total{endpoint="other",status="404"}': 1,
        'crosstune_request_seconds_count{endpoint="/v1/classify"}': 1,
        "crosstune_texts_total": 3,
        "crosstune_truncated_texts_total": 1,
        "crosstune_texts_without_label_total": 3,
        "crosstune_pending_texts": 0,
    }
    before = fetch(program.url, "GET", "/metrics")[2]
    fetch(program.url, "POST", "/v1/classify", {"texts": ["a", "b", "parcel " * 100], "threshold": 1})
    fetch(program.url, "GET", "/secret-path-7")
    status, headers, after = fetch(program.url, "GET", "/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain; version=")
    assert {name: metric(after, name) - metric(before, name) for name in names} == names
    assert f'crosstune_bundle_info{{digest="{classifier.manifest.digest}",precision="int8"}} 1.0' in after.decode()
    assert b"secret" not in after


def assert_examples_hold(url: str, page: dict[str, object]) -> None:
    """The example request fits its schema and gives the example response."""
    operation = page["paths"]["/v1/classify"]["post"]
    request = operation["requestBody"]["content"]["application/json"]
    jsonschema.validate(request["example"], request["schema"])
    response = operation["responses"]["200"]["content"]["application/json"]
    jsonschema.validate(response["example"], response["schema"] | {"components": page["components"]})
    assert fetch(url, "POST", "/v1/classify", request["example"])[2] == response["example"]


def test_the_openapi_page(program):
    status, _, page = fetch(program.url, "GET", "/openapi.json")
    assert status == 200
    assert set(page["paths"]) == {"/v1/classify", "/v1/labels", "/health", "/ready", "/metrics"}
    assert_examples_hold(program.url, page)
    documented = set(page["paths"]["/v1/classify"]["post"]["responses"])
    assert documented == {"200", "400", "408", "413", "415", "421", "422", "431", "503"}


def test_a_request_id_is_returned_and_logged(program):
    headers = fetch(program.url, "POST", "/v1/classify", {"texts": []}, x_request_id="order-7.b_C")[1]
    assert headers["x-request-id"] == "order-7.b_C"
    for invalid in ("a b", "x" * 65, "ä", ""):
        given = fetch(program.url, "GET", "/health", x_request_id=invalid)[1]["x-request-id"]
        assert re.fullmatch("[0-9a-f]{32}", given)
    assert any(json.loads(line).get("request") == "order-7.b_C" for line in program.lines)


def test_many_requests_on_one_connection(program):
    with socket_to(program.url) as connection:
        connection.sendall(post({"texts": ["a"]}) * 3 + post({"texts": []}, headers="connection: close\r\n"))
        assert read_all(connection).count(b"HTTP/1.1 200 OK\r\n") == 4


@pytest.mark.fault("J7")
def test_it_listens_on_this_machine_only_by_default(program):
    assert program.url.startswith("http://127.0.0.1:")
    page = fetch(program.url, "GET", "/openapi.json")[2]
    methods = {(path, method) for path, item in page["paths"].items() for method in item}
    assert {path for path, method in methods if method != "get"} == {"/v1/classify"}, "nothing that changes the server"


@pytest.mark.fault("L14")
def test_head_is_answered_as_get(program):
    for path in ("/", "/docs", "/health", "/ready", "/metrics", "/v1/labels", "/openapi.json"):
        parts = urlsplit(program.url)
        connection = HTTPConnection(parts.hostname, parts.port, timeout=60)
        connection.request("HEAD", path)
        response = connection.getresponse()
        expected = fetch(program.url, "GET", path)[1]
        assert (response.status, response.getheader("content-type"), response.read()) == (
            200, expected["content-type"], b"",
        )  # fmt: skip
        connection.close()


@pytest.mark.fault("L14")
def test_one_text_and_a_byte_order_mark_and_a_large_top_k(program, classifier):
    expected = fetch(program.url, "POST", "/v1/classify", {"texts": TEXTS[:1]})[2]
    assert fetch(program.url, "POST", "/v1/classify", {"text": TEXTS[0]})[2] == expected
    body = b"\xef\xbb\xbf" + json.dumps({"texts": TEXTS[:1]}).encode()
    assert fetch(program.url, "POST", "/v1/classify", body)[2] == expected
    answer = fetch(program.url, "POST", "/v1/classify", {"text": TEXTS[0], "top_k": 99})[2]["answers"][0]
    assert answer["probs"] == expected["answers"][0]["probs"]
    for body in ({}, {"text": "a", "texts": ["a"]}):
        status, _, response = fetch(program.url, "POST", "/v1/classify", body)
        assert (status, response["error"]) == (
            422, 'body: expected either "texts", an array, or "text". See /docs.',
        )  # fmt: skip


@pytest.mark.fault("L14")
def test_pages_for_people(program, classifier):
    status, headers, content = fetch(program.url, "GET", "/")
    page = content.decode("utf-8")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert all(f"<td>{label}</td>" in page for label in classifier.labels)
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    script = re.search("<script>(.*)</script>", page, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in headers["content-security-policy"]
    docs = fetch(program.url, "GET", "/docs")[2].decode("utf-8")
    assert all(path in docs for path in ("/v1/classify", "/v1/labels", "/health", "curl"))


@pytest.mark.fault("L14")
@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("POST", "/classify", 404, "path: not served, expected POST /v1/classify or a path of /docs."),
        ("GET", "/v1/classify", 405, "method: not served, expected POST with a JSON body. See /docs."),
        ("POST", "/", 405, "method: not served, expected GET. Texts go to POST /v1/classify. See /docs."),
    ],
)
def test_hints(program, method, path, status, message):
    found = fetch(program.url, method, path)
    assert (found[0], found[2]["error"]) == (status, message)


@pytest.mark.fault("L12")
def test_similarity(program, classifier):
    answer = fetch(program.url, "POST", "/v1/classify", {"text": TEXTS[0]})[2]["answers"][0]
    assert answer["similarity"] == classifier.classify(TEXTS[:1])[0].similarity
    request = {"text": TEXTS[0], "min_similarity": 1}
    assert fetch(program.url, "POST", "/v1/classify", request)[2]["answers"][0]["label"] is None


def test_a_smallest_similarity_of_the_server_and_pages_of_other_origins(start_program, tiny_bundle_dir):
    server = start_program(tiny_bundle_dir, "--min-similarity", "1", "--cors", "https://example.com")
    request = {"text": TEXTS[0]}
    assert fetch(server.url, "POST", "/v1/classify", request)[2]["answers"][0]["label"] is None
    allowed = fetch(server.url, "POST", "/v1/classify", request, origin="https://example.com")[1]
    assert allowed["access-control-allow-origin"] == "https://example.com"
    other = fetch(server.url, "POST", "/v1/classify", request, origin="https://example.org")[1]
    assert "access-control-allow-origin" not in other
    preflight = fetch(
        server.url, "OPTIONS", "/v1/classify", origin="https://example.com", access_control_request_method="POST",
        access_control_request_headers="content-type",
    )  # fmt: skip
    assert preflight[0] == 200
