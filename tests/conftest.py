"""Fixtures that all tests share: a scratch cache, the example data, MiniLM, and a tiny backbone with what is made from it."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported: before anything else here
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported: one core for each worker

import json
import random
import shutil
import socket
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest
from filelock import FileLock
from hypothesis import configuration

from tests.fixtures.traced_once import traced_once

configuration.set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "crosstune-hypothesis")
hypothesis.settings.register_profile(
    "crosstune",
    deadline=None,  # the first call of a test may load torch
    database=None,
    derandomize=True,  # the same examples in every run, so that a red run can be repeated
    print_blob=True,
    max_examples=60,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("crosstune")

REPO_ROOT = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that parallel workers end at about the same time."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log):
    """A file goes to one worker, for its fixtures; what uses the same trained MiniLM goes to one worker as well."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "tests/end_to_end" if nodeid.startswith("tests/end_to_end/") else super()._split_scope(nodeid)

    return Scheduling(config, log)


TINY_LABELS = {
    "shipping": "where a parcel is and when it will arrive",
    "billing": "a charge or an invoice and the money paid",
    "praise": "thanks and kind words for good work",
}
TINY_TEXTS = {
    "shipping": (
        "where is my parcel",
        "the parcel did not arrive",
        "when will the box come",
        "my box is late again",
        "the driver lost my parcel",
        "it is still on its way, when will it arrive?",
    ),
    "billing": (
        "i was charged twice",
        "the invoice is wrong",
        "please send the money back",
        "why is the price so high",
        "my card was charged again",
        "who paid this invoice? not me!",
    ),
    "praise": (
        "thanks, this is great",
        "good work, i am happy",
        "i love it",
        "the best lamp i have had",
        "so kind and so quick, thanks",
        "great work, thanks again!",
    ),
}
#: Never trained on.
TINY_OTHER_TEXTS = (
    "where is the box",
    "the money was charged",
    "kind and good",
    "when will my invoice arrive",
    "",
    "unseen zebra words 42",
    "parcel " * 100,
)


@dataclass(frozen=True)
class SupportDesk:
    """Paths of the example data."""

    train: Path
    test: Path
    labels: Path
    new_texts: Path


@pytest.fixture(scope="session", autouse=True)
def _scratch_cache(tmp_path_factory):
    """Features are cached for this run only, and the user's cache is never touched."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CROSSTUNE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_network():
    """A connection to anything but this machine fails the test that makes it."""
    connect = socket.socket.connect

    def guarded(self, address):
        local = self.family == getattr(socket, "AF_UNIX", None) or (
            isinstance(address, tuple) and str(address[0]) in ("127.0.0.1", "::1", "localhost")
        )
        if not local:
            raise AssertionError(f"a test tried to reach {address!r}, tests stay on this machine")
        return connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded)
        yield


def made_once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The file or folder ``name``, made by the first worker that needs it and used by all. Not to be changed: copy it first."""
    kept = os.environ.get("CROSSTUNE_TEST_ARTIFACTS")  # run_mutants sets it: what the code made before a mutation
    root = Path(kept) if kept else tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    path = root / "shared" / name.partition(".")[0] / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(root / "shared" / f"{name}.lock"):
        if not path.exists():
            make(path)
    return path


@pytest.fixture(scope="session")
def one_thread():
    """One torch thread: sums in the same order on every machine with as many cores or more."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def repo_root() -> Path:
    return REPO_ROOT


@pytest.fixture(scope="session")
def support_desk(repo_root) -> SupportDesk:
    folder = repo_root / "examples" / "support_desk"
    return SupportDesk(*(folder / name for name in ("train.jsonl", "test.jsonl", "labels.json", "new_texts.txt")))


@pytest.fixture(scope="session")
def minilm(one_thread):
    """The packaged backbone, on the CPU."""
    from crosstune.backbone.frozen import Backbone

    return Backbone.load("minilm", device="cpu")


@pytest.fixture(scope="session")
def tiny_backbone_dir(tmp_path_factory, one_thread) -> Path:
    """A random BERT in the transformers layout: 2 layers, hidden size 32, 2 heads, 64 positions, some hundred tokens."""
    return made_once(tmp_path_factory, "tiny-bert", make_tiny_backbone)


def make_tiny_backbone(folder: Path, seed: int = 13) -> Path:
    """Write the tiny backbone; another seed gives other weights."""
    import string

    import torch
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast
    from transformers.utils import logging

    sentences = [text for texts in TINY_TEXTS.values() for text in texts] + list(TINY_LABELS.values())
    words = sorted({word.strip(",?!") for text in sentences for word in text.split()})
    letters = [*string.ascii_lowercase, *string.digits, *string.punctuation, "é", "商", "Ω"]
    pieces = ["##" + part for part in (*string.ascii_lowercase, *string.digits, "ing", "ed", "er", "es")]
    # The order is fixed and no token stands twice.
    vocabulary = list(dict.fromkeys(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *pieces, *words]))
    ids = {token: index for index, token in enumerate(vocabulary)}

    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])],
    )
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=64,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.15,  # large enough for attention and the inner layer to matter
        pad_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BertModel(config, add_pooling_layer=False)
        with torch.no_grad():
            for value in model.parameters():
                if value.ndim == 1:  # biases and norms too, or a rewrite that loses one would go unseen
                    value.add_(0.1 * torch.randn_like(value))
            model.embeddings.word_embeddings.weight[0].normal_(0, 0.15)  # [PAD] as well: padding must not leak
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model.save_pretrained(folder)
        wrapped.save_pretrained(folder)
    finally:
        if bars:
            logging.enable_progress_bar()
    return folder


@pytest.fixture
def with_tokenizer(tmp_path, tiny_backbone_dir) -> Callable[..., Path]:
    """``with_tokenizer(pre_tokenizer=...)``: a copy of the tiny backbone with other parts in its tokenizer."""

    def copy(**parts: object) -> Path:
        folder = shutil.copytree(tiny_backbone_dir, tmp_path / "other-tokenizer")
        path = folder / "tokenizer.json"
        path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | parts), "utf-8")
        return folder

    return copy


@pytest.fixture(scope="session")
def tiny_backbone(tiny_backbone_dir):
    """The tiny backbone, loaded on the CPU."""
    from crosstune.backbone.frozen import Backbone

    return Backbone.load(str(tiny_backbone_dir), device="cpu")


@pytest.fixture(scope="session")
def tiny_labels():
    """3 labels with a description each."""
    from crosstune.core.labels import LabelSet

    return LabelSet.from_mapping(TINY_LABELS)


@pytest.fixture(scope="session")
def tiny_examples():
    """6 shots of each of the 3 labels, in the words of the tiny vocabulary."""
    from crosstune.data.examples import Example

    rows = [(text, label) for label, texts in TINY_TEXTS.items() for text in texts]
    return tuple(Example(text, label, line=line) for line, (text, label) in enumerate(rows, 1))


@pytest.fixture(scope="session")
def tiny_pair_examples():
    """The same shots as pairs: the second text is the next shot of the label."""
    from crosstune.data.examples import Example

    rows = [
        (text, label, texts[(i + 1) % len(texts)])
        for label, texts in TINY_TEXTS.items()
        for i, text in enumerate(texts)
    ]
    return tuple(Example(text, label, pair, line=line) for line, (text, label, pair) in enumerate(rows, 1))


@pytest.fixture(scope="session")
def tiny_other_texts():
    """Texts that nothing tiny was trained on: short, empty, unknown words, too long."""
    return TINY_OTHER_TEXTS


@pytest.fixture(scope="session")
def tiny_checkpoint_dir(tmp_path_factory, tiny_backbone_dir, tiny_backbone, tiny_examples, tiny_labels) -> Path:
    """The default head, trained on the tiny examples. Not to be changed: copy it first."""
    return _trained(tmp_path_factory, tiny_backbone_dir, tiny_backbone, tiny_examples, tiny_labels, "tiny", "default")


@pytest.fixture(scope="session")
def tiny_paper_checkpoint_dir(tmp_path_factory, tiny_backbone_dir, tiny_backbone, tiny_examples, tiny_labels) -> Path:
    """The paper head with 4 attention heads, trained on the tiny examples. Not to be changed: copy it first."""
    return _trained(tmp_path_factory, tiny_backbone_dir, tiny_backbone, tiny_examples, tiny_labels, "paper", "paper")


@pytest.fixture(scope="session")
def tiny_pair_checkpoint_dir(
    tmp_path_factory, tiny_backbone_dir, tiny_backbone, tiny_pair_examples, tiny_labels
) -> Path:
    """The default head, trained on pairs of texts. Not to be changed: copy it first."""
    return _trained(
        tmp_path_factory, tiny_backbone_dir, tiny_backbone, tiny_pair_examples, tiny_labels, "pair", "default"
    )


def _trained(tmp_path_factory, backbone_dir, backbone, examples, labels, name, head) -> Path:
    from crosstune.config import TrainConfig
    from crosstune.training import train

    config = TrainConfig(backbone=str(backbone_dir), head=head, heads=4, epochs=40, learning_rate=0.01)
    return made_once(
        tmp_path_factory,
        f"{name}.ckpt",
        lambda folder: train(examples, labels, config, backbone=backbone).save(folder),
    )


@pytest.fixture(scope="session")
def tiny_bundle_dir(tmp_path_factory, tiny_checkpoint_dir) -> Path:
    """The int8 bundle of the default head. Not to be changed: copy it first."""
    return _built(tmp_path_factory, tiny_checkpoint_dir, "tiny-int8", "int8")


@pytest.fixture(scope="session")
def tiny_exits_bundle_dir(tmp_path_factory, tiny_checkpoint_dir) -> Path:
    """The int8 bundle of the default head with early exits, whose texts leave at every place. Not to be changed: copy it first."""

    def make(folder: Path) -> None:
        (log := folder.with_suffix(".txt")).write_text("\n".join(tiny_log(240)))
        config = BuildConfig("int8", calibration=log, max_flips_percent=100, early_exit_percent=15)
        build(tiny_checkpoint_dir, folder, config)

    from crosstune_export.builder.pipeline import BuildConfig, build

    with traced_once():
        return made_once(tmp_path_factory, "tiny-exits.bundle", make)


def tiny_log(count: int) -> list[str]:
    """That many different texts without labels, of the words of ``TINY_TEXTS``."""
    words = sorted({word for texts in TINY_TEXTS.values() for text in texts for word in text.split()})
    draw = random.Random(5)
    return list(dict.fromkeys(" ".join(draw.sample(words, draw.randint(2, 9))) for _ in range(2 * count)))[:count]


@pytest.fixture(scope="session")
def tiny_fp32_bundle_dir(tmp_path_factory, tiny_checkpoint_dir) -> Path:
    """The fp32 bundle of the default head. Not to be changed: copy it first."""
    return _built(tmp_path_factory, tiny_checkpoint_dir, "tiny-fp32", "fp32")


@pytest.fixture(scope="session")
def tiny_pair_bundle_dir(tmp_path_factory, tiny_pair_checkpoint_dir) -> Path:
    """The fp32 bundle of the head for pairs. Not to be changed: copy it first."""
    return _built(tmp_path_factory, tiny_pair_checkpoint_dir, "tiny-pair", "fp32")


@pytest.fixture(scope="session")
def tiny_paper_bundle_dir(tmp_path_factory, tiny_paper_checkpoint_dir) -> Path:
    """The int8 bundle of the paper's head. Not to be changed: copy it first."""
    return _built(tmp_path_factory, tiny_paper_checkpoint_dir, "tiny-paper", "int8")


def _built(tmp_path_factory, checkpoint, name, precision) -> Path:
    from crosstune_export.builder.pipeline import BuildConfig, build

    config = BuildConfig(precision=precision, max_flips_percent=100)
    with traced_once():
        return made_once(tmp_path_factory, f"{name}.bundle", lambda folder: build(checkpoint, folder, config))


@pytest.fixture
def quick_builds():
    """Builds of the test trace a head only where none did before in this process."""
    with traced_once():
        yield
