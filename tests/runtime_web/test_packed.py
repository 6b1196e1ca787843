"""Bundles in one file in every form that the web runtime takes; tests/runtimes has what they say and refuse."""

from __future__ import annotations

import pytest

from crosstune_export.bundle.files import read_bundle
from crosstune_export.bundle.packing import pack
from crosstune_export.web.page_server import ServedFile
from tests.runtime_web.node_runtime import WebError
from tests.runtime_web.page_fixtures import serving


@pytest.fixture(scope="module")
def packed(tmp_path_factory, tiny_fp32_bundle_dir):
    path = tmp_path_factory.mktemp("packed") / "tiny.bundle.zip"
    pack(tiny_fp32_bundle_dir, path)
    return path


def served(data: bytes, content_type: str = "application/zip") -> dict[str, ServedFile]:
    return {"/x.bundle.zip": ServedFile(data, None, content_type, '"x"', "no-cache")}


def refusal(runtime, source, form: str = "path") -> tuple[str, str]:
    with pytest.raises(WebError) as caught:
        runtime.load(source, form)
    return caught.value.name, str(caught.value)


@pytest.mark.parametrize("form", ["path", "bytes", "buffer", "blob", "files"])
def test_it_answers_as_the_folder_does(runtime, packed, tiny_fp32_bundle_dir, tiny_other_texts, form):
    one, other = runtime.load(packed, form), runtime.load(tiny_fp32_bundle_dir)
    assert one.digest == other.digest
    assert one.classify(tiny_other_texts[:4]) == other.classify(tiny_other_texts[:4])
    assert one.selftest()["passed"]
    one.close()
    other.close()


def test_an_address_a_link_and_a_file_address(runtime, packed, tmp_path):
    digest = read_bundle(packed).manifest.digest
    with serving(served(packed.read_bytes())) as address:
        for source in (f"{address}x.bundle.zip", f"{address}x.bundle.zip?version=2"):
            loaded = runtime.load(source)
            assert loaded.digest == digest
            loaded.close()
    (tmp_path / "current").symlink_to(packed)
    for source in (tmp_path / "current", packed.as_uri()):
        loaded = runtime.load(source)
        assert loaded.digest == digest
        loaded.close()


def test_an_address_without_a_packed_bundle(runtime, packed):
    end = "expected a packed bundle. Check the address."
    with serving(served(b"<!doctype html>", "text/html")) as address:
        assert refusal(runtime, f"{address}y.zip") == (
            "BundleFetchError",
            f"{address}y.zip: the server answers 404, {end}",
        )
        assert refusal(runtime, f"{address}x.bundle.zip") == (
            "BundleFetchError", f"{address}x.bundle.zip: the server sends an HTML page, {end}",
        )  # fmt: skip
    with serving(served(packed.read_bytes()[:-1])) as address:
        assert refusal(runtime, f"{address}x.bundle.zip") == (
            "BundleIntegrityError",
            f"{address}x.bundle.zip: other bytes behind its members, expected their directory alone. "
            "Copy or pack the bundle again.",
        )


def test_a_file_that_node_has_no_room_for(runtime, tmp_path):
    with (tmp_path / "x.zip").open("wb") as stream:
        stream.truncate(2**31)
    end = "cannot be read (ERR_FS_FILE_TOO_LARGE). Copy or build the bundle again."
    assert refusal(runtime, tmp_path / "x.zip") == ("BundleIntegrityError", f"{tmp_path}/x.zip: {end}")


@pytest.mark.parametrize("form", ["bytes", "buffer", "blob", "files"])
def test_what_is_not_one_is_refused_in_every_form(runtime, tmp_path, form):
    (tmp_path / "x.zip").write_bytes(b"PK")
    place = "x.zip" if form == "files" else "bundle"
    end = "no manifest.json at its place, expected what crosstune-export pack writes. Copy or pack the bundle again."
    assert refusal(runtime, tmp_path / "x.zip", form) == ("BundleIntegrityError", f"{place}: {end}")
