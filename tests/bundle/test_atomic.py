"""Folders and files appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from taemi_edge.bundle import atomic
from taemi_edge.bundle.atomic import new_file, new_folder, replace_link
from taemi_edge.bundle.folder import replaceable_files
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


def test_a_link_is_switched_in_one_step_and_nothing_else_is_taken_for_one(tmp_path: Path):
    for version in ("1", "2"):
        (tmp_path / "versions" / version).mkdir(parents=True)
        replace_link(tmp_path / "current", f"versions/{version}")
        assert (tmp_path / "current").resolve() == tmp_path / "versions" / version
    assert sorted(os.listdir(tmp_path)) == ["current", "versions"]
    with pytest.raises(OutputError, match="expected a link or nothing, got a file or folder"):
        replace_link(tmp_path / "versions", "elsewhere")


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_what_stands_at_the_end_has_the_modes_of_new_files(tmp_path: Path, umask: int):
    before = os.umask(umask)
    try:
        with new_folder(tmp_path / "out", []) as draft:
            (draft / "private").touch(0o600)
            (draft / "inner").mkdir()
    finally:
        os.umask(before)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o777 & ~umask
    assert (tmp_path / "out" / "private").stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_link_to_a_folder_or_file_stays_a_link(tmp_path: Path):
    (tmp_path / "large-disk").mkdir()
    (tmp_path / "out").symlink_to("large-disk/out")
    (tmp_path / "a.txt").symlink_to("large-disk/a.txt")
    for content in ("first", "second"):
        with new_folder(tmp_path / "out", ["a.txt"]) as folder:
            (folder / "a.txt").write_text(content)
        with new_file(tmp_path / "a.txt") as file:
            file.write_text(content)
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "a.txt").is_symlink()
    assert (tmp_path / "large-disk" / "out" / "a.txt").read_text() == "second"
    assert (tmp_path / "large-disk" / "a.txt").read_text() == "second"
    assert sorted(os.listdir(tmp_path / "large-disk")) == ["a.txt", "out"]


def test_the_old_folder_stays_where_the_new_one_cannot_take_its_place(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(atomic, "_exchange", lambda *_: False)  # as on NFS
    rename = Path.rename

    def interrupted(path: Path, target: Path) -> Path:
        if target == tmp_path / "out" and path.parent.name == "new":
            raise KeyboardInterrupt
        return rename(path, target)

    with new_folder(tmp_path / "out", []) as folder:
        (folder / "a.txt").write_text("first")
    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / "out", ["a.txt"]) as folder:
        (folder / "a.txt").write_text("second")
    assert (tmp_path / "out" / "a.txt").read_text() == "first"
    assert os.listdir(tmp_path) == ["out"]


def test_a_device_or_pipe_is_written_to_and_never_replaced(tmp_path: Path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with new_file(pipe) as draft:
        draft.write_text("whole")
    assert os.read(reader, 10) == b"whole"
    os.close(reader)
    with new_file(Path("/dev/null")) as draft:
        draft.write_text("gone")
    assert Path("/dev/null").is_char_device()
    with pytest.raises(OutputError, match="no space left"), new_file(Path("/dev/full")) as draft:
        draft.write_text("no room")


def test_the_longest_name_that_the_system_allows_can_be_written(tmp_path: Path):
    for name in ("n" * 251 + ".npz", "\u00e4" * 127, "new", "old"):
        with new_file(tmp_path / name) as draft:
            draft.write_text("whole")
        with new_folder(tmp_path / "folders" / name, []) as folder:
            (folder / name).write_text("whole")
    with pytest.raises(OutputError, match="File name too long"), new_file(tmp_path / ("n" * 256)):
        pass
    with pytest.raises(OutputError, match="File name too long"), new_folder(tmp_path / ("n" * 256), []):
        pass


def test_a_full_disk_that_a_library_tells_in_words_is_one_sentence(tmp_path: Path):
    safetensors = pytest.importorskip("safetensors.numpy")
    import numpy as np

    def fill() -> None:
        with new_folder(tmp_path / "out", []) as draft:
            (draft / "f").touch()
            safetensors.save_file({"a": np.zeros(9)}, tmp_path / "gone" / "f")

    with pytest.raises(OutputError, match="out: cannot be written: No such file or directory"):
        fill()
    with pytest.raises(ZeroDivisionError), new_file(tmp_path / "f"):
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("manifest", [b"[" * 100_000, b'{"sha256": {"\xff": 1}}', b'{"sha256": [[]]}', b"null"])
def test_a_folder_with_a_hostile_manifest_is_not_replaced(tmp_path: Path, manifest: bytes):
    (tmp_path / "manifest.json").write_bytes(manifest)
    (tmp_path / "mine.txt").touch()
    with pytest.raises(OutputError, match="holds other files"), new_folder(tmp_path, replaceable_files(tmp_path)):
        pass
