"""The feature cache: a hit is the miss's bytes, and a bad file never stops or changes the work."""

import contextlib
import hashlib
import os
import resource
import sqlite3
import stat
import warnings
from pathlib import Path

import numpy as np
import pytest

from crosstune import TrainConfig, train
from crosstune.backbone.frozen import Backbone
from crosstune.core.errors import CrossTuneWarning, ResourceError
from crosstune.features.cache import FeatureCache, default_cache_path
from crosstune.features.pooling import pool_layers
from crosstune.features.spec import POOLS
from tests.tolerances import STATES_PADDED

TEXTS = ["where is my parcel", "thanks, this is great", ("a pair", "of texts"), "", "x\ud800y", "parcel " * 100]
POOLED = ("mean", "max", "first")


def pooled_by(cache, backbone, texts, pools, layout=None, progress=None):
    """Pooled states of every layer, float32 (N, P, layers + 1, D)."""
    return cache.states(backbone, texts, pools, (), layout, progress).pooled


class Counting:
    """A backbone that counts what it encodes."""

    def __init__(self, inner):
        self.inner, self.encoded = inner, 0

    def forward(self, rows):
        self.encoded += len({row.ids for row in rows})
        return self.inner.forward(rows)

    def __getattr__(self, name):
        return getattr(self.inner, name)


@pytest.fixture
def counting(tiny_backbone):
    return Counting(tiny_backbone)


def test_a_hit_is_the_bytes_of_the_miss(tmp_path, counting):
    with FeatureCache(tmp_path / "c" / "f.sqlite") as cache:
        cold = pooled_by(cache, counting, TEXTS, POOLED)
        assert counting.encoded == len(TEXTS)
        warm = pooled_by(cache, counting, TEXTS, POOLED)
    with FeatureCache(tmp_path / "c" / "f.sqlite") as cache:
        later = pooled_by(cache, counting, TEXTS, POOLED)
    assert counting.encoded == len(TEXTS)
    assert cold.shape == (len(TEXTS), 3, 3, 32)
    assert cold.dtype == np.float32
    assert cold.tobytes() == warm.tobytes() == later.tobytes()


def test_the_states_are_the_backbones(tiny_backbone):
    with FeatureCache(None) as cache:
        pooled = pooled_by(cache, tiny_backbone, TEXTS, POOLED)
    for text, row in zip(TEXTS, pooled, strict=True):
        hidden = tiny_backbone.forward(tiny_backbone.tokenize([text]))
        expected = pool_layers(hidden, POOLED, tiny_backbone.pool_positions(tiny_backbone.tokens))[0]
        np.testing.assert_allclose(row, expected, rtol=0, atol=STATES_PADDED)


def test_a_text_has_the_same_bits_whatever_stands_beside_it(tiny_backbone):
    alone = []
    for text in TEXTS:
        with FeatureCache(None) as cache:
            alone.append(pooled_by(cache, tiny_backbone, [text], POOLED)[0].tobytes())
    with FeatureCache(None) as cache:
        together = pooled_by(cache, tiny_backbone, TEXTS[::-1], POOLED)[::-1]
    assert [row.tobytes() for row in together] == alone


@pytest.mark.slow
def test_a_text_has_the_same_bits_in_any_batch_of_a_real_backbone(minilm):
    """At each place of a batch, and beside whatever other texts; of lengths that fill a batch with one text to twenty."""
    rng = np.random.default_rng(3)
    words = [
        "where",
        "is",
        "my",
        "parcel",
        "the",
        "card",
        "was",
        "refused",
        "book",
        "a",
        "table",
        "for",
        "two",
        "tonight",
    ]
    for tokens in (1, 4, 7, 11, 13, 20, 30, 45, 70):
        texts = [" ".join(rng.choice(words, tokens)) for _ in range(23)]

        def bits(asked):
            with FeatureCache(None) as cache:
                found = cache.states(minilm, asked, POOLED, (2, 6))
            return {
                text: pooled.tobytes() + kept.tobytes()
                for text, pooled, kept in zip(asked, found.pooled, found.tokens, strict=True)
            }

        together = bits(texts)
        for asked in (texts[:1], texts[1:3], texts[::-1], texts[7:]):
            assert bits(asked).items() <= together.items(), tokens


def test_other_layouts_pools_texts_and_backbones_are_other_entries(
    tmp_path, counting, tiny_backbone, tiny_backbone_dir
):
    from tests.conftest import make_tiny_backbone

    text = "where is my parcel"
    short = Backbone.load(str(tiny_backbone_dir), device="cpu", max_length_tokens=8)
    other = Backbone.load(str(make_tiny_backbone(tmp_path / "other", seed=14)), device="cpu")
    with FeatureCache(tmp_path / "f.sqlite") as cache:
        entries = [
            pooled_by(cache, counting, [text], POOLED),
            pooled_by(cache, counting, [text], POOLED, tiny_backbone.with_template("{text} {mask}")),
            pooled_by(cache, counting, [text], POOLED, tiny_backbone.with_template("{text} is {mask}")),
            pooled_by(cache, short, [text], POOLED),
            pooled_by(cache, counting, [text], POOLED[:2]),
            pooled_by(cache, counting, [text], POOLED[1::-1]),
            pooled_by(cache, counting, [(text, "")], POOLED),
            pooled_by(cache, other, [text], POOLED),
        ]
        assert counting.encoded == 6
    with sqlite3.connect(tmp_path / "f.sqlite") as table:
        assert table.execute("SELECT COUNT(*) FROM features").fetchone() == (len(entries),)
    table.close()
    np.testing.assert_array_equal(entries[4][:, ::-1], entries[5])
    assert not np.array_equal(entries[0], entries[7])


def test_a_pair_and_the_text_that_looks_like_it_are_apart(counting):
    with FeatureCache(None) as cache:
        for text in (("a", "b"), "a b", '["a", "b"]', "('a', 'b')", "ab"):
            pooled_by(cache, counting, [text], POOLED)
    assert counting.encoded == 5


def test_repeated_texts_are_encoded_and_answered(counting):
    with FeatureCache(None) as cache:
        pooled = pooled_by(cache, counting, ["thanks"] * 3, POOLED)
    assert pooled[0].tobytes() == pooled[1].tobytes() == pooled[2].tobytes()


def test_no_texts_are_no_rows(tiny_backbone):
    with FeatureCache(None) as cache:
        assert pooled_by(cache, tiny_backbone, [], POOLED).shape == (0, 3, 3, 32)


def test_the_mask_pool_reads_the_templates_mask(tiny_backbone):
    spec = tiny_backbone.with_template("{text} is {mask} .")
    with FeatureCache(None) as cache:
        pooled = pooled_by(cache, tiny_backbone, ["my parcel"], ("mask",), spec)
    (row,) = tiny_backbone.tokenize(["my parcel"], spec)
    place = row.ids.index(spec.suffix_ids[1])
    expected = [state[0, place].numpy() for state in tiny_backbone.forward([row]).states]
    np.testing.assert_allclose(pooled[0, 0], expected, rtol=0, atol=STATES_PADDED)
    assert "mask" in POOLS


def test_another_process_can_write_while_texts_are_encoded(tmp_path, tiny_backbone):
    """A lock that is held over the encoding of many texts makes every other training on the machine fail."""
    path = tmp_path / "f.sqlite"

    class Busy(Counting):
        def forward(self, rows):
            with contextlib.closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as other:
                other.execute("INSERT INTO features VALUES (?, ?)", (bytes([self.encoded]), b""))
            return super().forward(rows)

    with FeatureCache(path) as cache:
        pooled_by(cache, Busy(tiny_backbone), TEXTS, POOLED)
    with contextlib.closing(sqlite3.connect(path)) as table:
        assert table.execute("SELECT count(*) FROM features").fetchone() == (2 * len(TEXTS),)


def test_progress_counts_up_to_all_texts(tmp_path, tiny_backbone):
    heard = []
    with FeatureCache(None) as cache:
        pooled_by(cache, tiny_backbone, TEXTS[:2], POOLED)
        pooled_by(cache, tiny_backbone, TEXTS[:4], POOLED, None, lambda done, total: heard.append((done, total)))
    assert heard == sorted(set(heard))
    assert (heard[0], heard[-1]) == ((2, 4), (4, 4))


@pytest.mark.parametrize("damage", ["garbage", "cut", "inside", "other table", "short row"])
def test_a_damaged_file_costs_time_and_nothing_else(tmp_path, counting, damage):
    path = tmp_path / "f.sqlite"
    many = [f"parcel {i} where" for i in range(40)]
    with FeatureCache(path) as cache:
        expected = pooled_by(cache, counting, many, POOLED)
    size = path.stat().st_size
    if damage == "garbage":
        path.write_bytes(b"not a database, but long enough to look at" * 100)
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[: size // 2])
    elif damage == "inside":
        data = bytearray(path.read_bytes())
        data[4096:] = b"\xa5" * (size - 4096)
        path.write_bytes(bytes(data))
    else:
        table = sqlite3.connect(path)
        if damage == "other table":
            table.executescript("DROP TABLE features; CREATE TABLE features (id INTEGER, other TEXT)")
        else:
            table.execute("UPDATE features SET states = x'00010203'")
        table.commit()
        table.close()
    for _ in range(2):
        with FeatureCache(path) as cache:
            assert pooled_by(cache, counting, many, POOLED).tobytes() == expected.tobytes()
    moved = sorted(item.name for item in tmp_path.iterdir())
    assert moved == (["f.sqlite"] if damage == "short row" else ["f.damaged", "f.sqlite"])
    counting.encoded = 0
    with FeatureCache(path) as cache:
        pooled_by(cache, counting, many, POOLED)
    assert counting.encoded == 0  # and the new file works


def _without_cache(backbone, texts) -> bytes:
    with FeatureCache(None) as cache:
        return pooled_by(cache, backbone, texts, POOLED).tobytes()


@pytest.mark.fault("E6", "L20")
@pytest.mark.parametrize("place", ["below a file", "a folder", "read-only"])
def test_training_goes_on_where_no_cache_can_be_written(tmp_path, tiny_backbone, place):
    (tmp_path / "file").write_text("x")
    path = tmp_path / "file" / "f.sqlite" if place == "below a file" else tmp_path / "folder"
    if place != "below a file":
        path.mkdir(mode=0o500)
        path = path / "f.sqlite" if place == "read-only" else path
    if place == "read-only" and os.geteuid() == 0:
        pytest.skip("root writes everywhere")
    with pytest.warns(CrossTuneWarning) as caught:
        cache = FeatureCache(path)
    (warning,) = caught
    assert str(warning.message).startswith(f"{path}: the feature cache cannot be used (")
    assert str(warning.message).endswith("set CROSSTUNE_CACHE to a folder that can be written.")
    with cache:
        assert pooled_by(cache, tiny_backbone, TEXTS, POOLED).tobytes() == _without_cache(tiny_backbone, TEXTS)


@pytest.mark.fault("E5", "L20")
def test_training_goes_on_when_the_disk_is_full(tmp_path, tiny_backbone, monkeypatch):
    """SQLite's own limit on pages stands in for the disk's."""
    path = tmp_path / "f.sqlite"
    FeatureCache(path).close()
    connect = sqlite3.connect

    def small(target, **options):
        table = connect(target, **options)
        if target != ":memory:":
            table.execute("PRAGMA max_page_count = 3")
        return table

    monkeypatch.setattr(sqlite3, "connect", small)
    texts = [f"parcel {i}" for i in range(50)]
    with FeatureCache(path) as cache, pytest.warns(CrossTuneWarning, match=r"\(database or disk is full\)"):
        found = pooled_by(cache, tiny_backbone, texts, POOLED)
    assert found.tobytes() == _without_cache(tiny_backbone, texts)


@pytest.mark.fault("L20")
@pytest.mark.parametrize("damage", ["one bit", "zeros", "NaN", "of another text"])
def test_rows_that_are_not_those_of_their_text_are_computed_again(tmp_path, tiny_backbone, damage):
    path, texts = tmp_path / "f.sqlite", ["where is my parcel", "when is my parcel", "it is still late"]
    with FeatureCache(path) as cache:
        expected = pooled_by(cache, tiny_backbone, texts, POOLED).tobytes()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as table:
        rows = table.execute("SELECT key, states FROM features").fetchall()
        assert len({len(states) for _, states in rows}) == 1
        for index, (key, states) in enumerate(rows):
            changed = {
                "one bit": states[:40] + bytes([states[40] ^ 0x40]) + states[41:],
                "zeros": bytes(len(states)),
                "NaN": states[:16] + b"\x00\x00\xc0\x7f" * ((len(states) - 16) // 4),
                "of another text": rows[index - 1][1],
            }[damage]
            table.execute("UPDATE features SET states = ? WHERE key = ?", (changed, key))
    with FeatureCache(path) as cache:
        assert pooled_by(cache, tiny_backbone, texts, POOLED).tobytes() == expected


@pytest.fixture(scope="module")
def head_of(tiny_backbone, tiny_examples, tiny_labels):
    """SHA-256 of the head that is trained with a cache at a path."""

    def train_with(cache: Path, folder: Path, limit_bytes: int | None = None) -> str:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes or limits[0], limits[1]))
        try:
            trained = train(tiny_examples, tiny_labels, TrainConfig(), backbone=tiny_backbone, cache_path=cache)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        trained.save(folder)
        return hashlib.sha256((folder / "head.safetensors").read_bytes()).hexdigest()

    return train_with


@pytest.fixture(scope="module")
def head_without_cache(head_of, tmp_path_factory):
    folder = tmp_path_factory.mktemp("none")
    (folder / "file").touch()
    with pytest.warns(CrossTuneWarning, match="the feature cache cannot be used"):
        return head_of(folder / "file" / "f.sqlite", folder / "checkpoint")


@pytest.mark.fault("L20")
@pytest.mark.parametrize("state", ["damaged", "of other texts", "read-only", "full"])
def test_a_head_is_the_same_whatever_its_cache_holds(tmp_path, head_of, head_without_cache, state):
    path = tmp_path / "cache" / "f.sqlite"
    assert head_of(path, tmp_path / "first") == head_without_cache
    if state == "full":
        path.unlink()
        with pytest.warns(CrossTuneWarning, match="the feature cache cannot be used"):
            assert head_of(path, tmp_path / "again", limit_bytes=32 << 10) == head_without_cache
        return
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as table:
        rows = table.execute("SELECT key, states FROM features").fetchall()
        for (key, own), (_, other) in zip(rows, rows[1:] + rows[:1], strict=True):
            states = {"damaged": own[:40] + bytes([own[40] ^ 0x40]) + own[41:], "of other texts": other}.get(state, own)
            table.execute("UPDATE features SET states = ? WHERE key = ?", (states, key))
    if state == "read-only":
        path.chmod(0o400)
        path.parent.chmod(0o500)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CrossTuneWarning)  # read-only: unless root, who writes everywhere
        assert head_of(path, tmp_path / "again") == head_without_cache


@pytest.mark.fault("L20")
def test_the_cache_is_private(tmp_path):
    path = tmp_path / "made" / "f.sqlite"
    FeatureCache(path).close()
    assert [stat.S_IMODE(place.stat().st_mode) for place in (path, path.parent)] == [0o600, 0o700]
    path.chmod(0o644)
    FeatureCache(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.fault("L20")
def test_another_version_of_the_pooling_misses(tmp_path, counting, monkeypatch):
    with FeatureCache(tmp_path / "f.sqlite") as cache:
        pooled_by(cache, counting, TEXTS, POOLED)
        counting.encoded = 0
        monkeypatch.setattr("crosstune.features.cache.POOLING_VERSION", "another")
        pooled_by(cache, counting, TEXTS, POOLED)
    assert counting.encoded == len(TEXTS)


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        ("linux", {"CROSSTUNE_CACHE": "/somewhere"}, "/somewhere/features.sqlite"),
        ("darwin", {"CROSSTUNE_CACHE": "/somewhere"}, "/somewhere/features.sqlite"),
        ("linux", {"XDG_CACHE_HOME": "/xdg"}, "/xdg/crosstune/features.sqlite"),
        ("linux", {"HOME": "/home/ann"}, "/home/ann/.cache/crosstune/features.sqlite"),
        ("linux", {"HOME": "/home/ann", "CROSSTUNE_CACHE": ""}, "/home/ann/.cache/crosstune/features.sqlite"),
        ("linux", {"HOME": "/home/ann", "XDG_CACHE_HOME": ""}, "/home/ann/.cache/crosstune/features.sqlite"),
        ("darwin", {"HOME": "/Users/ann"}, "/Users/ann/Library/Caches/crosstune/features.sqlite"),
    ],
)
def test_where_the_cache_is(monkeypatch, platform, environment, expected):
    for name in ("CROSSTUNE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.platform", platform)
    assert default_cache_path().as_posix() == expected


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch):
    for name in ("CROSSTUNE_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    with pytest.raises(ResourceError) as caught:
        default_cache_path()
    assert str(caught.value) == (
        "CROSSTUNE_CACHE: not set, and this user has no home for the feature cache. Set it to a folder."
    )
