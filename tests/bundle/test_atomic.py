"""Folders and files appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from taemi_edge.bundle.atomic import new_file, new_folder
from taemi_edge.errors import OutputError


@pytest.mark.parametrize("failure", [KeyboardInterrupt, ValueError])
def test_an_interrupted_folder_leaves_nothing_and_keeps_the_old_one(tmp_path: Path, failure: type[BaseException]):
    target = tmp_path / "out"
    with new_folder(target, ["manifest.json"]) as draft:
        (draft / "manifest.json").write_text("old")
    with pytest.raises(failure), new_folder(target, ["manifest.json"]) as draft:
        (draft / "manifest.json").write_text("new")
        raise failure
    assert os.listdir(tmp_path) == ["out"]
    assert (target / "manifest.json").read_text() == "old"


def test_a_folder_that_is_not_ours_is_not_replaced(tmp_path: Path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("")
    (tmp_path / "photos" / "manifest.json").write_text("")
    with (
        pytest.raises(OutputError, match=r"holds other files \(cat.jpg\) and is not replaced"),
        new_folder(tmp_path / "photos", ["manifest.json"]),
    ):
        pass
    assert (tmp_path / "photos" / "cat.jpg").exists()


def test_no_room_is_one_sentence(tmp_path: Path):
    def fill() -> None:
        with new_file(tmp_path / "x.txt") as draft:
            draft.write_text("begun")
            raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="no space left on the device: free some, or write elsewhere"):
        fill()
    assert os.listdir(tmp_path) == []


def test_no_room_for_a_file_of_a_folder_names_the_folder(tmp_path: Path):
    def fill() -> None:
        with new_folder(tmp_path / "out", ["a.json"]) as draft, new_file(draft / "a.json"):
            raise OSError(28, "No space left on device")

    with pytest.raises(OutputError) as caught:
        fill()
    assert str(caught.value).startswith(f"{tmp_path / 'out'}: no space left on the device")
    assert os.listdir(tmp_path) == []


def test_a_file_where_the_folder_should_be_is_named(tmp_path: Path):
    (tmp_path / "notes").write_text("a file")
    with (
        pytest.raises(OutputError, match="a file stands where its folder should be"),
        new_file(tmp_path / "notes/a.txt"),
    ):
        pass
