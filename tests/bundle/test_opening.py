"""What is used of a bundle are the bytes that were hashed, whatever happens to its folder."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from taemi_edge.bundle.folder import Bundle, open_bundle, read_manifest
from taemi_edge.errors import BundleError
from taemi_edge.parity.golden import golden_cases
from taemi_edge.runtime.onnx_sessions import OrtSession
from taemi_edge.runtime.opening import open_executor
from taemi_edge.runtime.window import open_tools
from taemi_edge.runtime.work import Layout
from tests.bundle.hostile import edit_manifest


@pytest.fixture
def copy(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "bundle"))


def opened_parts(bundle: Bundle) -> None:
    """Load all that a run loads."""
    for part in bundle.manifest.part_names:
        OrtSession(bundle, part, threads=1).close()


@pytest.mark.parametrize(
    ("name", "load"),
    [
        ("text.onnx", opened_parts),
        ("fusion.onnx", opened_parts),
        ("tokenizer.json", lambda bundle: open_tools(bundle, 1)),
        ("golden.npz", golden_cases),
    ],
)
def test_a_file_that_is_swapped_after_opening_is_never_loaded(copy: Path, name: str, load):
    bundle = open_bundle(copy)
    load(bundle)
    other = copy / "other"
    other.write_bytes((copy / name).read_bytes() + b"\0")
    os.replace(other, copy / name)
    with pytest.raises(BundleError, match=f"{name} is not the file that the manifest was written for"):
        load(bundle)


def test_a_file_that_is_swapped_all_the_time_is_never_loaded_wrongly(copy: Path, tiny_folder: Path):
    """A race: each reading gives the right bytes or is refused, and both happen."""
    right = (tiny_folder / "text.onnx").read_bytes()
    stop, seen = threading.Event(), {"read": 0, "refused": 0}

    def swap() -> None:
        while not stop.is_set():
            for content in (right[:-1] + b"\0", right):
                (copy / ".swap").write_bytes(content)
                os.replace(copy / ".swap", copy / "text.onnx")

    bundle = open_bundle(copy)
    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        for _ in range(3000):
            try:
                assert bundle.read_part("text") == right
                seen["read"] += 1
            except BundleError:
                seen["refused"] += 1
            if min(seen.values()) > 20:
                break
    finally:
        stop.set()
        swapping.join()
    assert min(seen.values()) > 0


def test_a_link_that_leads_elsewhere_by_now_still_gives_the_bundle_that_was_opened(copy: Path, tmp_path: Path):
    link = tmp_path / "current"
    link.symlink_to(copy)
    bundle = open_bundle(link)
    link.unlink()
    link.symlink_to(tmp_path)
    assert bundle.folder == link
    assert bundle.read_part("text") == (copy / "text.onnx").read_bytes()


def test_every_file_is_hashed_and_measured(copy: Path, tiny: Bundle):
    bundle = open_bundle(copy)
    names = {file.name for file in copy.iterdir()}
    assert set(bundle.digests) == set(bundle.sizes) == names
    assert bundle.digests == {**tiny.manifest.sha256, "manifest.json": bundle.digests["manifest.json"]}
    assert bundle.sizes == {name: (copy / name).stat().st_size for name in names}
    with pytest.raises(BundleError, match="expected a file that the manifest lists, got 'other'"):
        bundle.read("other")
    with pytest.raises(BundleError, match="too large: expected at most 10 bytes"):
        bundle.read("text.onnx", most=10)


def test_files_that_the_manifest_does_not_list_are_refused(copy: Path):
    (copy / "text.onnx~").write_bytes(b"")
    (copy / "weights.bin").write_bytes(b"1")
    with pytest.raises(BundleError, match=r"'text.onnx~' is not a file of the bundle: .*'weights.bin' is not.*move"):
        open_bundle(copy)


def test_files_whose_names_are_no_text_are_refused(copy: Path):
    (Path(os.fsdecode(bytes(copy) + b"/\xff\n"))).write_bytes(b"")
    with pytest.raises(BundleError, match="is not a file of the bundle") as caught:
        open_bundle(copy)
    assert str(caught.value).isprintable()


def fifo(file: Path) -> None:
    os.mkfifo(file)


def link(file: Path) -> None:
    file.symlink_to(file.parent.parent / "elsewhere")


@pytest.mark.parametrize(
    ("name", "make", "what"),
    [
        ("text.onnx", link, "text.onnx is a symbolic link"),
        ("manifest.json", link, "manifest.json is a symbolic link"),
        ("tokens.safetensors", fifo, "tokens.safetensors is a named pipe"),
        ("manifest.json", fifo, "manifest.json is a named pipe"),
        ("golden.npz", Path.mkdir, "golden.npz is a folder"),
        ("manifest.json", Path.mkdir, "manifest.json is a folder"),
    ],
)
def test_only_regular_files_are_opened(copy: Path, name: str, make, what: str):
    (copy / name).rename(copy.parent / "elsewhere")
    make(copy / name)
    with pytest.raises(BundleError, match=what):
        open_bundle(copy)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "a\0b", "a\nb", "\x1b[2J", "x" * 256])
def test_names_that_no_file_of_a_bundle_has_are_refused(copy: Path, name: str):
    edit_manifest(copy, lambda manifest: manifest["sha256"].update({name: "0"}))
    with pytest.raises(BundleError, match="expected plain file names|expected file names of up to 255 bytes"):
        open_bundle(copy)


def test_names_that_differ_in_case_alone_are_two_files(copy: Path):
    (copy / "Text.onnx").write_bytes(b"1")
    edit_manifest(copy, lambda manifest: manifest["sha256"].update({"Text.onnx": "0" * 64}))
    with pytest.raises(BundleError, match=r": Text.onnx is not the file"):
        open_bundle(copy)


def test_a_manifest_of_gigabytes_is_not_read(copy: Path):
    with (copy / "manifest.json").open("r+b") as file:
        file.truncate(1 << 40)  # it has holes, and takes no room
    with pytest.raises(BundleError, match="manifest.json is too large: expected at most 2,097,152 bytes"):
        open_bundle(copy)
    with pytest.raises(BundleError, match="too large"):
        read_manifest(copy)


def test_a_part_of_terabytes_is_not_hashed(copy: Path):
    with (copy / "text.onnx").open("r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(BundleError, match="text.onnx is too large"):
        open_bundle(copy)


def test_many_problems_are_not_all_said(copy: Path):
    for number in range(100):
        (copy / f"{number}.bin").write_bytes(b"")
    with pytest.raises(BundleError, match="and 92 more: export") as caught:
        open_bundle(copy)
    assert len(str(caught.value)) < 2000


def test_the_files_of_a_bundle_are_for_everybody_but_for_the_umask(tmp_path: Path):
    """A service that runs as another user reads them."""
    script = (
        "import os, sys; os.umask(0o027); import numpy; from pathlib import Path\n"
        "from taemi_edge.bundle.atomic import new_folder; from taemi_edge.bundle.token_file import write_tokens\n"
        "with new_folder(Path(sys.argv[1]), []) as draft: write_tokens(draft, {'a': numpy.zeros(3)})"
    )
    subprocess.run([sys.executable, "-c", script, tmp_path / "made"], check=True)
    assert stat.S_IMODE((tmp_path / "made").stat().st_mode) == 0o750
    assert stat.S_IMODE((tmp_path / "made" / "tokens.safetensors").stat().st_mode) == 0o640


def test_all_files_of_an_exported_bundle_can_be_read_by_others(tiny_folder: Path):
    assert {stat.S_IMODE(file.stat().st_mode) & 0o444 for file in tiny_folder.iterdir()} == {0o444}


def test_the_bytes_of_a_part_are_let_go_once_its_session_is_open(copy: Path, monkeypatch: pytest.MonkeyPatch):
    """No more than one part's bytes are held at a time."""
    alive: list[int] = []

    class Counted(bytes):
        def __new__(cls, content: bytes) -> Counted:
            alive.append(len(content))
            assert len(alive) == 1
            return super().__new__(cls, content)

        def __del__(self) -> None:
            alive.clear()

    read = Bundle.read_graph
    monkeypatch.setattr(Bundle, "read_graph", lambda bundle, name: Counted(read(bundle, name)))
    bundle = open_bundle(copy)
    executor = open_executor(bundle, Layout(1, 4.0, 0.5), "cpu", 1)
    assert not alive
    executor.close()
