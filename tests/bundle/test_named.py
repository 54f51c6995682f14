"""Finding a bundle by its name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from taemi_edge.bundle import named
from taemi_edge.bundle.named import bundle_of_name, find_bundle, is_shipped, shipped_bundles
from taemi_edge.errors import BundleError


@pytest.fixture
def here(tiny_folder, tmp_path, monkeypatch) -> Path:
    """A working directory with one exported bundle."""
    shutil.copytree(tiny_folder, tmp_path / "export" / "mine")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make_engines(
    target: str, *, verified: bool, ending: str, name: str = "mine", of: Path = Path("export/mine")
) -> Path:
    """A copy of a bundle whose manifest says that it holds engines."""
    place = Path(shutil.copytree(of, f"engines/{name}-{target}"))
    manifest = json.loads((place / "manifest.json").read_text())
    manifest["verified"] = verified
    manifest["engine"] = {
        "target": target,
        **dict.fromkeys(("backend", "library", "source", "asked", "build_key"), "x"),
        **{key: {} for key in ("machine", "recipe", "flags", "part_keys")},
        "candidates": [],
    }
    for part in manifest["parts"].values():
        part["file"] = part["file"].replace(".onnx", ending)
    (place / "manifest.json").write_text(json.dumps(manifest))
    return place


def test_the_most_finished_form_is_taken(here):
    assert find_bundle("mine") == Path("export/mine")
    for folder in ("calibration", "engines"):
        shutil.copytree("export/mine", f"{folder}/mine")
        assert find_bundle("mine") == Path(folder, "mine")


def test_who_wants_graphs_gets_engines_only_where_nothing_else_is(here, tiny_folder):
    shutil.copytree("export/mine", "calibration/mine")
    of_cpu = make_engines("cpu", verified=True, ending=".onnx")
    assert (find_bundle("mine"), find_bundle("mine", graphs=True)) == (of_cpu, Path("calibration/mine"))
    make_engines("orin", verified=True, ending=".onnx")  # which of the two runs is no question where neither is meant
    assert find_bundle("mine", graphs=True) == Path("calibration/mine")
    shutil.rmtree("engines/mine-orin")
    for folder in ("calibration", "export"):
        shutil.rmtree(f"{folder}/mine")
    assert find_bundle("mine", graphs=True) == of_cpu
    make_engines("cpu", verified=True, ending=".onnx", name="taemi-nano", of=tiny_folder)
    assert find_bundle("taemi-nano", graphs=True).parts[-3:] == ("assets", "bundles", "taemi-nano")


def test_a_path_that_exists_is_meant_itself(here):
    assert find_bundle("export/mine") == Path("export/mine")
    assert find_bundle("export/") == Path("export")
    Path("mine").mkdir()
    assert find_bundle("mine") == Path("mine")
    assert bundle_of_name("mine") is None
    Path("link").symlink_to("nowhere")
    assert find_bundle("link") == Path("link")


def test_engines_for_a_target_of_this_machine_are_found(here, monkeypatch):
    make_engines("broken", verified=False, ending=".onnx")
    assert find_bundle("mine") == Path("export/mine")
    make_engines("cpu", verified=True, ending=".onnx")
    assert find_bundle("mine") == Path("engines/mine-cpu")
    shutil.copytree("engines/mine-cpu", "engines/mine-left-cpu")
    assert find_bundle("mine") == Path("engines/mine-cpu"), "mine-left is another model"
    make_engines("orin", verified=True, ending=".engine")
    assert find_bundle("mine") == Path("engines/mine-cpu")
    monkeypatch.setattr(named, "find_spec", lambda name: object())
    assert find_bundle("mine") == Path("engines/mine-orin")
    make_engines("thor", verified=True, ending=".engine")
    with pytest.raises(BundleError, match="got engines/mine-orin and engines/mine-thor: name one of these folders"):
        find_bundle("mine")


def test_what_a_device_keeps_is_found(here, tiny_folder, monkeypatch):
    monkeypatch.setattr(named, "_OF_DEVICE", here / "var")
    pulled = Path(shutil.copytree(tiny_folder, here / "var" / "pulled"))
    assert find_bundle("pulled") == pulled
    version = Path(shutil.copytree(tiny_folder, here / "var" / "updated" / "versions" / "1" / "engines"))
    (here / "var" / "updated" / "current").symlink_to(version)
    assert find_bundle("updated") == here / "var" / "updated" / "current"


def test_the_shipped_bundles_are_found_last(here, tiny_folder):
    assert shipped_bundles() == ["taemi-nano"]
    assert is_shipped("taemi-nano")
    assert find_bundle("taemi-nano").parts[-4:] == ("taemi_edge", "assets", "bundles", "taemi-nano")
    shutil.copytree(tiny_folder, here / "export" / "taemi-nano")
    assert find_bundle("taemi-nano") == Path("export/taemi-nano")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("taemi-mobile", "was neither exported nor pulled here: make it with `taemi-edge export taemi-mobile`"),
        ("taemi-nan", "did you mean 'taemi-nano'?"),
        ("mien", "did you mean 'mine'?"),
        ("qqq", "known names: mine, taemi-base, taemi-mobile, taemi-nano, taemi-tiny"),
    ],
)
def test_a_name_that_is_not_there_is_refused_in_one_sentence(here, name: str, said: str):
    with pytest.raises(BundleError) as refused:
        find_bundle(name)
    assert said in str(refused.value)
    assert str(refused.value).startswith(f"{name}: expected a bundle's folder or name, ")


@pytest.mark.parametrize("text", ["talk.mp4", "a/b", "..", ".", "", "/", "oci://x/y", "a.py:build", "a\0b"])
def test_what_is_no_name_stays_a_path(here, text: str):
    assert find_bundle(text) == Path(text)
    assert bundle_of_name(text) is None


@pytest.mark.parametrize("text", ["[a]*", "x" * 300, "é", "-", "  "])
def test_odd_names_are_refused_as_any_other(here, text: str):
    with pytest.raises(BundleError, match="expected a bundle's folder or name"):
        find_bundle(text)
