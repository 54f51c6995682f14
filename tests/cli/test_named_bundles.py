"""Every command that takes BUNDLE takes a name, and says which folder it took."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import typer.main

from taemi_edge.cli.main import app
from taemi_edge.cli.named_bundles import _METAVARS, _OF_GRAPHS, chosen_artefact, with_folders
from tests.bundle.test_named import make_engines


@pytest.fixture
def here(tiny_folder, tmp_path, monkeypatch) -> Path:
    shutil.copytree(tiny_folder, tmp_path / "export" / "mine")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_inspect_says_which_folder_it_took(cli_here, here):
    done = cli_here("inspect", "mine")
    assert done.returncode == 0, done.stderr
    assert "note: mine is the bundle export/mine" in done.stderr
    done = cli_here("inspect", "export/mine")
    assert (done.returncode, "note:" in done.stderr) == (0, False)


def test_a_name_near_to_a_known_one_is_suggested_by_every_command(cli_here, here):
    takes_bundle = [
        name
        for name, command in typer.main.get_command(app).commands.items()
        if any(getattr(parameter, "metavar", None) in _METAVARS for parameter in command.params)
    ]
    assert {"run", "bench", "inspect", "calibrate", "build-engine", "sign", "push", "replay"} <= set(takes_bundle)
    for name, words in {"inspect": (), "bench": (), "run": ("talk.mp4",), "build-engine": ("--target", "cpu")}.items():
        done = cli_here(name, "mien", *words)
        assert (done.returncode, done.stdout) == (2, "")
        assert "mien: expected a bundle's folder or name, found none of that name: did you mean 'mine'?" in done.stderr
        assert done.stderr.count("\n") == 1


def test_engines_do_not_hide_the_graphs_that_they_were_built_from(here):
    make_engines("cpu", verified=True, ending=".onnx")
    commands = typer.main.get_command(app).commands
    assert set(_OF_GRAPHS) <= set(commands)

    def taken_by(command: str) -> str:
        return with_folders(command, commands[command].params, {"bundle": Path("mine")})["bundle"].as_posix()

    assert [taken_by(name) for name in ("run", "bench")] == ["engines/mine-cpu"] * 2
    assert {taken_by(name) for name in _OF_GRAPHS} == {"export/mine"}
    assert chosen_artefact("mine", graphs=True) == "export/mine"


def test_parity_alone_takes_the_bundle_and_two_take_the_recipe(here, capsys):
    shutil.copytree("export/mine", "export/taemi-tiny")
    assert chosen_artefact("taemi-tiny") == "export/taemi-tiny"
    assert "note: taemi-tiny is the bundle export/taemi-tiny" in capsys.readouterr().err
    pytest.importorskip("torch", reason="without PyTorch a recipe cannot be meant")
    assert chosen_artefact("taemi-tiny", recipes=True) == "taemi-tiny"
    assert chosen_artefact("mine", recipes=True) == "export/mine"
    assert chosen_artefact("export/mine") == "export/mine"
    assert chosen_artefact("nobody.py:build") == "nobody.py:build"


def test_a_missing_recording_is_called_one(cli_here, here):
    done = cli_here("inspect", "drive.mcap")
    assert done.returncode == 2
    assert "drive.mcap: expected a recording, found nothing" in done.stderr


def test_the_shipped_model_runs_by_its_name(cli_here, here, demo_video):
    done = cli_here("run", "taemi-nano", demo_video, "--hop", "4", "--output", "out.jsonl")
    assert done.returncode == 0, done.stderr
    assert "note: taemi-nano is the bundle " in done.stderr
    assert len(Path("out.jsonl").read_text().splitlines()) == 4
