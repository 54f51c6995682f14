"""Seals of engine bundles that this device built itself."""

from __future__ import annotations

import pytest

from taemi_edge.bundle import seal
from taemi_edge.bundle.seal import require_sealed, seal_manifest, state_folder
from taemi_edge.errors import OutputError, SignatureError, UsageError

DIGEST, OTHER = "1" * 64, "2" * 64


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("TAEMI_EDGE_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


def test_what_was_sealed_is_known_and_nothing_else(state):
    with pytest.raises(SignatureError, match="found no seal of theirs in .*/seals: build them here"):
        require_sealed(DIGEST)
    seal_manifest(DIGEST)
    require_sealed(DIGEST)
    seal_manifest(DIGEST)
    with pytest.raises(SignatureError):
        require_sealed(OTHER)
    (state / "seals" / OTHER).write_bytes((state / "seals" / DIGEST).read_bytes())
    with pytest.raises(SignatureError):
        require_sealed(OTHER)


def test_a_seal_of_another_device_is_refused(state, tmp_path, monkeypatch):
    seal_manifest(DIGEST)
    monkeypatch.setenv("TAEMI_EDGE_STATE", str(tmp_path / "other"))
    seal_manifest(OTHER)
    (tmp_path / "other" / "seals" / DIGEST).write_bytes((state / "seals" / DIGEST).read_bytes())
    with pytest.raises(SignatureError):
        require_sealed(DIGEST)


def test_odd_states_are_refused(state):
    seal_manifest(DIGEST)
    (state / "secret").unlink()
    with pytest.raises(SignatureError):
        require_sealed(DIGEST)
    state.chmod(0o777)
    with pytest.raises(UsageError, match="set TAEMI_EDGE_STATE"):
        require_sealed(DIGEST)


def test_a_state_that_cannot_be_written_is_one_sentence(state):
    state.write_text("a file")
    with pytest.raises(OutputError, match="could not be sealed as built here: set TAEMI_EDGE_STATE"):
        seal_manifest(DIGEST)


def test_the_state_of_a_user_and_of_the_service(tmp_path, monkeypatch):
    monkeypatch.delenv("TAEMI_EDGE_STATE")
    monkeypatch.setattr(seal, "_SERVICE_FOLDER", tmp_path / "none")
    monkeypatch.setenv("XDG_STATE_HOME", "/x")
    assert state_folder().as_posix() == "/x/taemi-edge"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/jo")
    assert state_folder().as_posix() == "/home/jo/.local/state/taemi-edge"
    monkeypatch.setattr(seal, "_SERVICE_FOLDER", tmp_path)
    service = tmp_path.stat().st_uid or 1
    monkeypatch.setattr(seal.os, "geteuid", lambda: service)
    expected = tmp_path / "state" if tmp_path.stat().st_uid else "/home/jo/.local/state/taemi-edge"
    assert state_folder().as_posix() == str(expected)


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch):
    def no_home() -> None:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("TAEMI_EDGE_STATE")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(seal.Path, "home", no_home)
    with pytest.raises(UsageError, match="set TAEMI_EDGE_STATE"):
        require_sealed(DIGEST)
