"""``push``, ``pull`` and ``Classifier.from_pretrained`` with a hub on this machine that speaks its protocol."""

from __future__ import annotations

import io
import json
import re
import shlex
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from crosstune_cli import console
from crosstune_cli import push as push_command

from crosstune.backbone.loading import ON_HUB, PACKAGED, hub_id
from crosstune.core.errors import BundleIntegrityError, ConfigError, ResourceError, SignatureError
from crosstune_export import Classifier, pull, push, sign
from crosstune_export.bundle import model_card
from crosstune_export.bundle.facts import BackboneFacts
from crosstune_export.hub import client
from tests.cli.conftest import files_in
from tests.conftest import REPO_ROOT
from tests.fixtures.hub_server import TOKEN, running_hub

#: The client itself does what its HTTP library deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
REPO = "desk/tiny"
FILES = ["README.md", "manifest.json", "model.onnx", "selftest.json", "tokenizer.json"]


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty hub, the token that may write to it, and an empty cache."""
    constants = pytest.importorskip("huggingface_hub.constants")
    for name, value in (
        ("HF_HUB_OFFLINE", False),
        ("HF_HUB_DISABLE_XET", True),  # the storage protocol of hf_xet needs a server of its own
        ("HF_HUB_CACHE", str(tmp_path / "hub-cache")),
        ("HF_TOKEN_PATH", str(tmp_path / "no-token")),
    ):
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with running_hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.fixture
def pushed(hub, tiny_bundle_dir):
    """The hub with the bundle in a private repository."""
    push(tiny_bundle_dir, REPO)
    hub.requests.clear()
    return hub


def digest_of(bundle) -> str:
    return json.loads((bundle / "manifest.json").read_bytes())["digest"]


def main_files(hub) -> dict[str, bytes]:
    repo = hub.repos[REPO]
    return repo.commits[repo.branches["main"]]


def test_a_bundle_travels_by_the_hub(run_app, hub, task, tiny_bundle_dir):
    done = run_app("crosstune-export", "push", tiny_bundle_dir, REPO, "--yes")
    lines = done.out.splitlines()
    assert (done.code, done.err) == (0, "")
    assert lines[0] == f"to {hub.url}/{REPO}, branch main; private if it is new"
    assert sorted(line.split()[0] for line in lines[1:6]) == FILES
    commit = hub.repos[REPO].branches["main"]
    assert lines[6:] == [f"{hub.url}/{REPO}/commit/{commit}: digest {digest_of(tiny_bundle_dir)}"]
    assert [line.split("/")[-1] for line in hub.requests[:4]] == ["create", "validate-yaml", "main", "batch"]
    assert hub.repos[REPO].private
    assert {name: main_files(hub)[name] for name in FILES} == {
        name: (tiny_bundle_dir / name).read_bytes() for name in FILES
    }

    again = task.out / "again.bundle"
    done = run_app("crosstune-export", "pull", REPO, "--output", again)
    assert (done.code, done.err) == (0, "")
    assert done.out == f"{again}: digest {digest_of(tiny_bundle_dir)}, commit {commit}\n"
    assert files_in(again) == FILES
    assert all((again / name).read_bytes() == (tiny_bundle_dir / name).read_bytes() for name in FILES)

    done = run_app("crosstune-export", "push", again, REPO, "--yes")
    assert (done.code, done.err) == (0, "")
    assert hub.repos[REPO].branches["main"] == commit, "the same files make no second commit"


def test_from_pretrained_checks_and_answers_like_load(pushed, tiny_bundle_dir, monkeypatch):
    pushed.repos[REPO].add("main", {"run_me.py": b"raise SystemExit", "model.onnx.data": b"x"})
    texts = ["where is my parcel", "so kind"]
    wanted = Classifier.load(tiny_bundle_dir).predict_proba(texts)
    classifier = Classifier.from_pretrained(REPO, digest=digest_of(tiny_bundle_dir))
    assert (classifier.predict_proba(texts) == wanted).all()
    assert classifier.selftest().passed
    asked = {path.rpartition("/")[2] for path in pushed.requests if "/resolve/" in path}
    assert asked == {*FILES, "bundle.sig"}, "other files of the repository are not downloaded"

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert (Classifier.from_pretrained(REPO).predict_proba(texts) == wanted).all(), "the cache needs no network"
    with pytest.raises(ResourceError, match=r"^desk/other: not on this machine, and HF_HUB_OFFLINE is set\. Unset it"):
        Classifier.from_pretrained("desk/other")


def test_a_revision_stays_what_it_was(pushed, tiny_bundle_dir, tiny_fp32_bundle_dir):
    old = pushed.repos[REPO].branches["main"]
    push(tiny_fp32_bundle_dir, REPO)
    assert Classifier.from_pretrained(REPO).manifest.digest == digest_of(tiny_fp32_bundle_dir)
    assert Classifier.from_pretrained(REPO, revision=old).manifest.digest == digest_of(tiny_bundle_dir)


def test_nothing_is_sent_without_a_yes(run_app, hub, tiny_bundle_dir, monkeypatch):
    done = run_app("crosstune-export", "push", tiny_bundle_dir, REPO)
    assert done.code == 2
    assert done.err == (
        "error: push: nothing was sent, expected a confirmation. Add --yes to send without being asked.\n"
    )
    monkeypatch.setattr(push_command, "stdin_is_terminal", lambda: True)
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    done = run_app("crosstune-export", "push", tiny_bundle_dir, REPO)
    assert (done.code, done.out.splitlines()[-1].strip()) == (0, "nothing was sent")
    assert done.err.startswith("Send 0.1 MB?")
    assert hub.requests == []
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert run_app("crosstune-export", "push", tiny_bundle_dir, REPO, "--public").code == 0
    assert not hub.repos[REPO].private


@pytest.mark.parametrize("branch", ["main", "candidate"])
def test_the_advice_after_a_push_and_a_pull(
    run_app, hub, tiny_bundle_dir, tiny_fp32_bundle_dir, tmp_path, monkeypatch, branch
):
    """``next: …`` typed where the bundle lies gives the bundle that was pushed, whatever lies on other branches."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        console, "sys", SimpleNamespace(stderr=SimpleNamespace(isatty=lambda: True), stdout=None, stdin=None)
    )
    push(tiny_fp32_bundle_dir, REPO)
    if branch != "main":
        hub.repos[REPO].branches[branch] = hub.repos[REPO].branches["main"]
    shutil.copytree(tiny_bundle_dir, "a.bundle")
    line = ["push", "a.bundle", REPO, "--revision", branch, "--yes"]
    for _ in range(2):  # pull, then what that advises
        done = run_app("crosstune-export", *line)
        assert done.code == 0, done.err
        program, *line = shlex.split(done.err.splitlines()[-1].removeprefix("next: "))
        assert program == "crosstune-export"
    assert json.loads(Path("pulled.bundle", "manifest.json").read_bytes())["digest"] == digest_of(tiny_bundle_dir)
    assert line == ["verify", "pulled.bundle"]
    assert run_app("crosstune-export", *line).code == 0


def test_a_push_without_a_token_or_of_a_changed_bundle_sends_nothing(run_app, hub, task, tiny_bundle_dir, monkeypatch):
    changed = shutil.copytree(tiny_bundle_dir, task.out / "a.bundle")
    (changed / "README.md").write_text("# mine", "utf-8")
    assert run_app("crosstune-export", "push", changed, REPO, "--yes").code == 5
    monkeypatch.delenv("HF_TOKEN")
    done = run_app("crosstune-export", "push", tiny_bundle_dir, REPO, "--yes")
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        f"error: token: found none, expected one that may write to {REPO}. Set HF_TOKEN, or run: hf auth login\n"
    )
    assert hub.requests == []


NOT_THERE = "there is no such repository, or this token may not use it. Check the name, and the token in HF_TOKEN."


@pytest.mark.parametrize(
    ("token", "line", "code", "message"),
    [
        (TOKEN, ("pull", "tiny"), 2, "repository: found 'tiny', expected OWNER/NAME, such as my-team/news."),
        (TOKEN, ("pull", "../tiny"), 2, "repository: found '../tiny', expected OWNER/NAME, such as my-team/news."),
        (TOKEN, ("pull", "desk/other"), 2, f"desk/other: the hub answers 404: {NOT_THERE}"),
        ("hf_read", ("pull", REPO), 2, f"{REPO}: the hub answers 401: {NOT_THERE}"),
        ("hf_read", ("push", REPO), 2, f"{REPO}: the hub answers 401: {NOT_THERE}"),
        (
            TOKEN, ("pull", REPO, "--revision", "v9"), 2,
            f"{REPO}: has no such revision, expected a branch, a tag or a commit. Give another --revision.",
        ),
        (
            TOKEN, ("push", REPO, "--revision", "v9"), 2,
            f"{REPO}: has no such revision, expected a branch, a tag or a commit. Give another --revision.",
        ),
        (
            TOKEN, ("pull", REPO, "--digest", "abc"), 2,
            "digest: found 'abc', expected 64 lowercase hex digits. crosstune-export verify prints it.",
        ),
        (
            TOKEN, ("pull", REPO, "--digest", "0" * 64), 5,
            f"{REPO}: digest DIGEST…, expected 000000000000…. Ask its author, or give its commit.",
        ),
    ],
)  # fmt: skip
def test_what_the_hub_refuses(run_app, pushed, task, tiny_bundle_dir, monkeypatch, token, line, code, message):
    monkeypatch.setenv("HF_TOKEN", token)
    command, *rest = line
    end = ("--output", task.out / "x.bundle") if command == "pull" else ("--yes",)
    start = () if command == "pull" else (tiny_bundle_dir,)
    done = run_app("crosstune-export", command, *start, *rest, *end)
    message = message.replace("DIGEST", digest_of(tiny_bundle_dir)[:12])
    assert (done.code, done.err) == (code, f"error: {message}\n")
    assert files_in(task.out) == []


def test_a_hub_that_fails_or_is_away(run_app, pushed, task, tiny_bundle_dir, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)  # the client tries a few times
    pull_line = ("pull", REPO, "--output", task.out / "x.bundle")
    push_line = ("push", tiny_bundle_dir, REPO, "--yes")
    pushed.fails_with = 500
    for line in (pull_line, push_line):
        done = run_app("crosstune-export", *line)
        assert (done.code, done.err) == (7, f"error: {REPO}: the hub answers 500. Try again later.\n")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    for line in (pull_line, push_line):
        done = run_app("crosstune-export", *line)
        assert done.code == 7
        assert re.fullmatch(
            rf"error: {REPO}: the hub cannot be reached \(.+\)\. Check the network and HF_ENDPOINT, and try again\.\n",
            done.err,
        ), done.err
        assert TOKEN not in done.err
    assert files_in(task.out) == []


def test_a_missing_extra(run_app, task, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    done = run_app("crosstune-export", "pull", REPO, "--output", task.out / "x.bundle")
    assert (done.code, done.err) == (
        2,
        "error: huggingface_hub: not installed, or too old, expected for the model hub. "
        "Run: pip install 'crosstune-export[hub]'\n",
    )


def test_files_that_the_hub_or_somebody_changed(pushed, tiny_bundle_dir):
    good = main_files(pushed)
    data = good["selftest.json"]
    for files, message in (
        ({"selftest.json": data[:-1] + b" "}, rf"^{REPO}/selftest.json: sha256 \w+…, expected \w+…\. Copy or build"),
        ({"selftest.json": data * 2}, rf"^{REPO}/selftest.json: {2 * len(data)} bytes, expected {len(data)}\. Push"),
        ({"manifest.json": b" " * (17 << 20)}, rf"^{REPO}/manifest.json: \d+ bytes, expected at most \d+\. Build"),
        ({"manifest.json": b"{}"}, rf"^{REPO}/manifest.json: "),
    ):
        pushed.repos[REPO].add("main", good | files)
        pushed.requests.clear()
        with pytest.raises(
            BundleIntegrityError if "selftest" in message or "at most" in message else Exception, match=message
        ):
            Classifier.from_pretrained(REPO)
        if "bytes" in message:
            (name,) = files
            assert f"GET /{REPO}/resolve/main/{name}" not in pushed.requests, "a wrong size is refused unread"
    pushed.repos[REPO].commits[pushed.repos[REPO].branches["main"]] = {"config.json": b"{}"}
    with pytest.raises(
        BundleIntegrityError, match=rf"^{REPO}: no manifest.json, expected the files of a bundle\. Give"
    ):
        Classifier.from_pretrained(REPO)


def test_a_signature_travels_too(hub, task, tiny_bundle_dir, tmp_path):
    ec = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ec")
    from cryptography.hazmat.primitives import serialization as form

    def key_pair(name):
        secret = ec.generate_private_key(ec.SECP256R1())
        private, public = tmp_path / f"{name}.pem", tmp_path / f"{name}.pub"
        private.write_bytes(secret.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()))
        public.write_bytes(secret.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo))
        return private, public

    bundle = shutil.copytree(tiny_bundle_dir, task.folder / "a.bundle")
    push(bundle, REPO)
    private, public = key_pair("ours")
    with pytest.raises(SignatureError, match="no signature, expected one by the key"):
        Classifier.from_pretrained(REPO, trusted=[public])
    sign(bundle, private)
    push(bundle, REPO)
    assert Classifier.from_pretrained(REPO, trusted=[public]).labels
    with pytest.raises(SignatureError, match="not a signature of"):
        Classifier.from_pretrained(REPO, trusted=[key_pair("theirs")[1]])
    pulled = pull(REPO, task.out / "b.bundle")
    assert files_in(task.out) == ["b.bundle", "b.bundle.sig"]
    assert Classifier.load(task.out / "b.bundle", trusted=[public]).manifest.digest == pulled.files.manifest.digest


def test_the_blocks_of_the_page(run_app, hub, tiny_bundle_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_bundle_dir, "support.bundle")
    page = (REPO_ROOT / "docs" / "hub.md").read_text("utf-8")
    for language, block in re.findall(r"^```(\w+)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE):
        if language == "python":
            exec(compile(block, "hub.md", "exec"), {})
            assert capsys.readouterr().out == "shipping\n"
            continue
        for line in block.splitlines():
            program, *words = shlex.split(line)
            done = run_app(program, *words, *(["--yes"] if "push" in words else []))
            assert (done.code, done.err) == (0, ""), line
    assert files_in(tmp_path / "copy.bundle") == FILES


def test_the_card_has_the_header_of_the_hub(tiny_bundle_dir):
    def header(text: str) -> dict[str, object]:
        return yaml.safe_load(re.match(r"---\n(.*?)\n---\n\n# ", text, re.DOTALL)[1])

    common = {
        "library_name": "crosstune-export",
        "pipeline_tag": "text-classification",
        "tags": ["crosstune", "onnx", "few-shot", "label-descriptions"],
    }
    assert header((tiny_bundle_dir / "README.md").read_text("utf-8")) == common, (
        "the licence of a backbone from a folder is unknown"
    )
    for name in {*PACKAGED, *ON_HUB}:
        assert hub_id(name) in model_card.PUBLISHED
    facts = BackboneFacts.from_json({"name": "minilm", "hub_id": hub_id("minilm")})
    assert yaml.safe_load("\n".join(model_card.header(facts)[1:-2])) == common | {
        "license": "apache-2.0",
        "language": "en",
        "base_model": "sentence-transformers/all-MiniLM-L6-v2",
    }
    assert BackboneFacts.from_json({"hub_id": "a/b\nlicense: mit"}).hub_id is None
    assert hub_id("intfloat/e5-base") == "intfloat/e5-base"
    assert hub_id(str(tiny_bundle_dir)) is None


def test_the_token_is_in_no_message():
    error = client._our_error(OSError(f"no route with {TOKEN}"), REPO, TOKEN)
    assert TOKEN not in str(error) and isinstance(error, ResourceError)
    with pytest.raises(ConfigError):
        client.check_repository("a--b/c")
