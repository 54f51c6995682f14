"""Nobody is shown the name of a draft: it is gone when it is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from taemi_edge.bundle.atomic import new_folder
from taemi_edge.bundle.drafts import final_place
from taemi_edge.errors import CheckFailedError, TaemiError


def test_a_path_in_a_draft_is_that_of_its_target(tmp_path: Path):
    with new_folder(tmp_path / "mine", ()) as draft:
        assert final_place(draft) == tmp_path / "mine"
        assert final_place(draft / "a" / "b.onnx") == tmp_path / "mine" / "a" / "b.onnx"
        with new_folder(draft / "inner", ()) as inner:
            assert final_place(inner) == tmp_path / "mine" / "inner"
    assert final_place(Path("mine/a.onnx")) == Path("mine/a.onnx")


def test_an_error_in_a_draft_names_the_target(tmp_path: Path):
    with pytest.raises(TaemiError) as failed, new_folder(tmp_path / "mine", ()) as draft:
        raise CheckFailedError(f"{draft / 'a.onnx'}: expected another graph")
    assert str(failed.value) == f"{tmp_path / 'mine' / 'a.onnx'}: expected another graph"


def test_what_commands_print_and_write_names_the_folder(cli_here, tiny_folder: Path, tmp_path: Path):
    made = tmp_path / "engines" / "tiny-cpu"
    words = ("--target", "cpu", "--precision", "fp32", "--no-cache", "--json", tmp_path / "build.json")
    done = cli_here("build-engine", tiny_folder, *words, "--output", made)
    assert done.returncode == 0, done.stderr
    assert ".draft-" not in done.stdout + done.stderr + (tmp_path / "build.json").read_text()
    checked = cli_here("parity", made, "--json", tmp_path / "parity.json", "--plot", tmp_path / "parity.svg")
    assert checked.returncode == 0, checked.stderr
    assert json.loads((tmp_path / "parity.json").read_text())["a"] == str(made)
    for file in filter(Path.is_file, tmp_path.rglob("*")):
        assert b".draft-" not in file.read_bytes(), file


def test_an_export_is_titled_with_its_folder(cli_here, tmp_path: Path):
    pytest.importorskip("torch", reason="export starts from PyTorch")
    done = cli_here("export", "taemi-tiny", "--output", tmp_path / "tiny")
    assert done.returncode == 0, done.stderr
    assert f"{tmp_path / 'tiny'}  against  golden feeds in PyTorch" in done.stdout
    assert ".draft-" not in done.stdout + done.stderr
    for file in (tmp_path / "tiny").iterdir():
        assert b".draft-" not in file.read_bytes(), file
