"""``crosstune-export sign``, ``verify --require-signature``, ``sbom`` and ``diff``."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from crosstune_export import Classifier, ConfigError, SignatureError
from crosstune_export.bundle.files import read_bundle
from crosstune_export.bundle.graph_check import constants
from crosstune_export.bundle.signature import signature_path
from crosstune_export.bundle.write import write_bundle


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Private and public key files of two people."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder = tmp_path_factory.mktemp("keys")
    found = {}
    for name in ("maker", "other"):
        private = ec.generate_private_key(ec.SECP256R1())
        found[name] = folder / f"{name}.pem", folder / f"{name}.pub"
        found[name][0].write_bytes(
            private.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        found[name][1].write_bytes(
            private.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
    return found


@pytest.fixture
def bundle(tmp_path, tiny_fp32_bundle_dir):
    return shutil.copytree(tiny_fp32_bundle_dir, tmp_path / "x.bundle")


@pytest.fixture
def signed(run_app, bundle, keys):
    done = run_app("crosstune-export", "sign", bundle, "--key", keys["maker"][0])
    assert (done.code, done.out, done.err) == (0, f"{bundle}.sig: signature of {bundle}\n", "")
    return bundle


def identity(key) -> str:
    return hashlib.sha256(key.read_bytes()).hexdigest()[:12]


@pytest.mark.fault("G16", "G17")
def test_a_signature_is_asked_for(run_app, signed, keys):
    public = keys["maker"][1]
    done = run_app("crosstune-export", "verify", signed, "--require-signature", public)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"{signed}: signed by the key {identity(public)}\n{signed}: digest ")


@pytest.mark.fault("G17")
def test_it_holds_for_the_packed_form_too(run_app, signed, keys, tmp_path):
    packed = tmp_path / "x.zip"
    run_app("crosstune-export", "pack", signed, "--output", packed)
    arguments = ("--require-signature", keys["maker"][1], "--signature", f"{signed}.sig")
    assert run_app("crosstune-export", "verify", packed, *arguments).code == 0


def refused(run_app, bundle, *arguments) -> str:
    done = run_app("crosstune-export", "verify", bundle, *arguments)
    assert (done.code, done.out) == (5, "")
    return done.err


@pytest.mark.fault("G17")
def test_no_signature(run_app, bundle, keys):
    key = keys["maker"][1]
    assert refused(run_app, bundle, "--require-signature", key) == (
        f"error: {bundle}.sig: no signature, expected one by the key {identity(key)}. Sign with crosstune-export sign.\n"
    )


@pytest.mark.fault("G17")
def test_somebody_elses_signature(run_app, signed, keys):
    key = keys["other"][1]
    said = refused(run_app, signed, "--require-signature", key)
    assert said.startswith(f"error: {signed}.sig: not a signature of {signed} by the key {identity(key)} (")
    assert said.endswith("). Get the bundle from its author.\n")


@pytest.mark.fault("G16", "G17")
def test_other_bytes_with_right_hashes(run_app, signed, keys):
    files = read_bundle(signed)
    write_bundle(signed, replace(files.manifest, name="forged"), files.model, files.tokenizer, files.selftest)
    said = refused(run_app, signed, "--require-signature", keys["maker"][1])
    assert said.startswith(f"error: {signed}.sig: not a signature of {signed} by the key ")


@pytest.mark.fault("G17")
@pytest.mark.parametrize("data", [b"", b"{}", b"\xff" * 100, b"[" * 10_000])
def test_a_signature_that_is_none(run_app, signed, keys, data):
    signed.with_name("x.bundle.sig").write_bytes(data)
    said = refused(run_app, signed, "--require-signature", keys["maker"][1])
    assert said.startswith(f"error: {signed}.sig: not a signature of {signed} by the key ")
    assert said.count("\n") == 1


@pytest.mark.fault("G17")
def test_an_older_release_that_was_signed_rightly(run_app, bundle, keys):
    files = read_bundle(bundle)
    write_bundle(bundle, replace(files.manifest, release=3), files.model, files.tokenizer, files.selftest)
    run_app("crosstune-export", "sign", bundle, "--key", keys["maker"][0])
    asked = ("--require-signature", keys["maker"][1], "--min-release")
    assert run_app("crosstune-export", "verify", bundle, *asked, 3).code == 0
    done = run_app("crosstune-export", "verify", bundle, *asked, 4)
    assert (done.code, done.err) == (
        5,
        f"error: {bundle}: release 3, expected at least 4. Get the current bundle.\n",
    )


def test_keys_that_are_none(run_app, bundle, signed, tmp_path):
    bad = tmp_path / "bad.pem"
    bad.write_text("no key\n")
    done = run_app("crosstune-export", "sign", bundle, "--key", bad, "--force")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"error: {bad}: not a private key (")
    done = run_app("crosstune-export", "verify", bundle, "--require-signature", bad)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"error: {bad}: not a public key (")
    done = run_app("crosstune-export", "verify", bundle, "--signature", bad)
    assert (
        done.err
        == "error: verify: found --signature without --require-signature, expected both. Give the public key too.\n"
    )


def test_sbom(run_app, tiny_fp32_bundle_dir):
    done = run_app("crosstune-export", "sbom", tiny_fp32_bundle_dir)
    assert (done.code, done.err) == (0, "")
    body, manifest = json.loads(done.out), read_bundle(tiny_fp32_bundle_dir).manifest
    assert (body["bomFormat"], body["specVersion"], body["version"]) == ("CycloneDX", "1.6", 1)
    hashes = {part["name"]: part["hashes"][0]["content"] for part in body["components"] if part["type"] == "file"}
    assert hashes == {name: entry.sha256 for name, entry in manifest.files.items()}
    about = body["metadata"]["component"]
    assert about["hashes"] == [{"alg": "SHA-256", "content": manifest.digest}]
    assert {"name": "crosstune:training.examples_sha256", "value": manifest.training["examples_sha256"]} in about[
        "properties"
    ]
    tools = {part["name"]: part["version"] for part in body["metadata"]["tools"]["components"]}
    assert tools == dict(manifest.producer)
    assert run_app("crosstune-export", "sbom", tiny_fp32_bundle_dir) == done


def test_diff(run_app, bundle, tiny_fp32_bundle_dir, tmp_path):
    texts = tmp_path / "texts.txt"
    texts.write_text("where is my parcel\nrain and sun today\n", "utf-8")
    same = run_app("crosstune-export", "diff", tiny_fp32_bundle_dir, bundle, "--data", texts)
    assert (same.code, same.err) == (0, "")
    assert same.out == "no difference\n0 of 2 labels differ, largest probability difference 0.0e+00\n"
    run_app("crosstune-export", "labels", "add", bundle, "weather", "rain and sun today")
    run_app("crosstune-export", "labels", "rename", bundle, "praise", "thanks")
    found = run_app("crosstune-export", "diff", tiny_fp32_bundle_dir, bundle, "--data", texts).out.splitlines()
    assert found[:3] == ["label 'praise': removed", "label 'thanks': added", "label 'weather': added"]
    assert found[3] == 'head.edits: null -> ["add weather", "rename praise to thanks"]'
    keys = read_bundle(bundle).manifest.graph.text_vector_size
    assert f"constant 'label_keys': [3, {keys}] -> [4, {keys}]" in found
    assert not [line for line in found if "word_embeddings" in line]
    assert found[-1].startswith("1 of 2 labels differ, largest probability difference ")
    assert found[-2].startswith('"rain and sun today": ') and "-> weather (" in found[-2]


def test_diff_of_two_precisions(run_app, tiny_bundle_dir, tiny_fp32_bundle_dir):
    found = run_app("crosstune-export", "diff", tiny_fp32_bundle_dir, tiny_bundle_dir).out.splitlines()
    float_ones, int8_ones = (constants(read_bundle(path).model) for path in (tiny_fp32_bundle_dir, tiny_bundle_dir))
    for what, names in (
        ("removed", float_ones.keys() - int8_ones.keys()),
        ("added", int8_ones.keys() - float_ones.keys()),
    ):
        line = next(line for line in found if line.startswith("constants: ") and f" {what}, " in line)
        assert line.startswith(f"constants: {len(names)} {what}, the first is '")
        assert line.split("'")[1] in names
    assert sum("constant" in line for line in found) < 40


def test_diff_of_pairs_and_single_texts(run_app, tiny_fp32_bundle_dir, bundle, tmp_path):
    files = read_bundle(bundle)
    write_bundle(bundle, replace(files.manifest, text_pair=True), files.model, files.tokenizer, files.selftest)
    texts = tmp_path / "texts.txt"
    texts.write_text("where is my parcel\n", "utf-8")
    done = run_app("crosstune-export", "diff", tiny_fp32_bundle_dir, bundle, "--data", texts)
    assert done.out == "text_pair: false -> true\n"
    assert (done.code, done.err) == (
        3,
        "error: diff: found one bundle for pairs and one for single texts, expected two of the same kind. Give other bundles.\n",
    )


@pytest.mark.fault("L19")
def test_classify_asks_for_a_signature(run_app, signed, keys, tmp_path):
    texts = tmp_path / "texts.txt"
    texts.write_text("where is my parcel\n", "utf-8")
    line = ("crosstune-export", "classify", signed, texts, "--require-signature")
    done = run_app(*line, keys["maker"][1])
    assert (done.code, json.loads(done.out)["label"]) == (0, "shipping")
    done = run_app(*line, keys["other"][1])
    assert (done.code, done.out) == (5, "")
    assert done.err.startswith(
        f"error: {signed}.sig: not a signature of {signed} by the key {identity(keys['other'][1])} ("
    )


@pytest.mark.fault("L19")
def test_the_bytes_that_are_checked_are_the_bytes_that_are_loaded(signed, keys, tiny_pair_bundle_dir, monkeypatch):
    """The bundle is exchanged right after its signature was checked, as another process could do."""
    from crosstune_export.bundle import signature

    check = signature._require_signature

    def exchange(*arguments):
        line = check(*arguments)
        shutil.rmtree(signed)
        shutil.copytree(tiny_pair_bundle_dir, signed)
        return line

    digest = read_bundle(signed).manifest.digest
    monkeypatch.setattr(signature, "_require_signature", exchange)
    classifier = Classifier.load(signed, trusted=[keys["maker"][1]])
    assert classifier.manifest.digest == digest != read_bundle(signed).manifest.digest


@pytest.mark.fault("L19")
def test_any_of_the_trusted_keys(signed, keys):
    both = [keys["other"][1], keys["maker"][1]]
    assert Classifier.load(signed, trusted=both).labels == ("shipping", "billing", "praise")
    with pytest.raises(SignatureError, match="not a signature of"):
        Classifier.load(signed, trusted=both[:1])
    with pytest.raises(ConfigError, match=r"^trusted: found '.*', expected a list of public keys\.$"):
        Classifier.load(signed, trusted=both[0])


def test_the_default_place_of_a_signature(tmp_path, monkeypatch):
    (tmp_path / "news.bundle" / "inner").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "news.bundle" / "inner")
    for bundle, expected in {
        "a.bundle": "a.bundle.sig",
        "a/b.zip": "a/b.zip.sig",
        "a.bundle/": "a.bundle.sig",
        ".": tmp_path / "news.bundle" / "inner.sig",
        "..": tmp_path / "news.bundle.sig",
    }.items():
        assert signature_path(bundle) == Path(expected)
