"""What test processes make once is whole when any of them reads it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.made_once import made_once


def test_the_first_who_asks_makes_it_and_the_others_wait(tmp_path, tmp_path_factory, monkeypatch):
    monkeypatch.setenv("TAEMI_EDGE_TEST_BUNDLES", str(tmp_path))
    made: list[Path] = []

    def make(folder: Path) -> None:
        folder.mkdir()
        time.sleep(0.2)
        made.append(folder)
        (folder / "file").touch()

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: made_once("some/thing", make, tmp_path_factory) / "file", range(4)))
    assert made == [tmp_path / "some" / "thing"]
    assert all(file.exists() for file in found)


def test_what_was_not_finished_is_made_anew(tmp_path, tmp_path_factory, monkeypatch):
    monkeypatch.setenv("TAEMI_EDGE_TEST_BUNDLES", str(tmp_path))

    def fail(folder: Path) -> None:
        folder.mkdir()
        (folder / "half").touch()
        raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        made_once("thing", fail, tmp_path_factory)
    assert list(made_once("thing", Path.mkdir, tmp_path_factory).iterdir()) == []
