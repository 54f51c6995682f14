"""Folders with a secret that belongs to one user alone."""

from __future__ import annotations

import os

import pytest

from taemi_edge.bundle.own_folder import known_secret, own_secret
from taemi_edge.errors import UsageError


def test_the_first_use_makes_a_secret_that_its_owner_alone_may_read(tmp_path):
    folder = tmp_path / "a" / "b"
    secret = own_secret(folder, "NAME")
    assert secret is not None
    assert len(secret) == 32
    assert own_secret(folder, "NAME") == known_secret(folder, "NAME") == secret
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "secret").stat().st_mode & 0o777 == 0o600
    assert os.listdir(folder) == ["secret"]


def test_a_check_makes_nothing(tmp_path):
    assert known_secret(tmp_path / "none", "NAME") is None
    assert not list(tmp_path.iterdir())


def test_a_folder_that_others_may_read_is_shut_unless_that_is_meant(tmp_path):
    own_secret(tmp_path / "a", "NAME")
    (tmp_path / "a").chmod(0o750)
    own_secret(tmp_path / "a", "NAME", shut=False)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o750
    own_secret(tmp_path / "a", "NAME")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("secret_of", [own_secret, known_secret])
def test_a_folder_that_others_can_write_is_refused(tmp_path, secret_of):
    own_secret(tmp_path / "a", "NAME")
    (tmp_path / "a").chmod(0o770)
    with pytest.raises(UsageError, match=r"its owner alone can write: `chmod 700 .*`, or set NAME"):
        secret_of(tmp_path / "a", "NAME")


@pytest.mark.parametrize("secret_of", [own_secret, known_secret])
def test_a_folder_of_somebody_else_is_refused(tmp_path, secret_of, monkeypatch):
    own_secret(tmp_path / "a", "NAME")
    owner = (tmp_path / "a").stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    if owner == 0 and secret_of is known_secret:
        assert secret_of(tmp_path / "a", "NAME") is not None  # root's may be checked with
        return
    with pytest.raises(UsageError, match=f"it belongs to user {owner}: set NAME"):
        secret_of(tmp_path / "a", "NAME")


def test_a_secret_that_was_cut_short_is_none(tmp_path):
    own_secret(tmp_path / "a", "NAME")
    (tmp_path / "a" / "secret").write_bytes(b"short")
    assert own_secret(tmp_path / "a", "NAME") is None
    assert known_secret(tmp_path / "a", "NAME") is None
