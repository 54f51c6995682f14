"""Pushing and pulling bundles with a real registry."""

from __future__ import annotations

import shutil

import pytest

pytest.importorskip("oras", reason="needs the extra `fleet`")

from taemi_edge.errors import RegistryError
from taemi_edge.fleet.pull import pull_bundle
from taemi_edge.fleet.push import push_bundle


def test_a_bundle_comes_back_as_it_was(registry, tiny_folder, tmp_path):
    pushed = push_bundle(tiny_folder, f"oci://{registry.host}/models/tiny:1")
    pulled = pull_bundle(str(pushed.reference), tmp_path / "tiny")
    assert {file.name: file.read_bytes() for file in (tmp_path / "tiny").iterdir()} == {
        file.name: file.read_bytes() for file in tiny_folder.iterdir()
    }
    assert pulled.bundle.folder == tmp_path / "tiny"
    assert pulled.reference == pushed.reference
    assert (
        pulled.fetched_bytes == pushed.sent_bytes - len(b"{}") == sum(f.stat().st_size for f in tiny_folder.iterdir())
    )
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["tiny"]


def test_an_altered_blob_is_refused_and_the_old_folder_stays(registry, tiny_folder, tmp_path):
    pushed = push_bundle(tiny_folder, f"oci://{registry.host}/models/altered:1")
    from taemi_edge.bundle.folder import sha256_of

    blob = registry.blob(sha256_of(tiny_folder / "vision.onnx"))
    whole = blob.read_bytes()
    blob.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    shutil.copytree(tiny_folder, tmp_path / "tiny")
    (tmp_path / "tiny" / "vision.onnx").unlink()
    try:
        with pytest.raises(RegistryError, match=r"'vision.onnx' is not the file that was pushed"):
            pull_bundle(str(pushed.reference), tmp_path / "tiny")
    finally:
        blob.write_bytes(whole)
    assert not (tmp_path / "tiny" / "vision.onnx").exists()
    pull_bundle(str(pushed.reference), tmp_path / "tiny")
    assert (tmp_path / "tiny" / "vision.onnx").read_bytes() == whole
