"""The command `sweep`: what it prints, and words that it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.checks import refused

pytest.importorskip("torch", reason="training needs torch")


@pytest.mark.once
def test_a_sweep_prints_its_settings_and_what_it_chose(cli_here, store_folder: Path, tmp_path: Path):
    words = ("sweep", "taemi-tiny", "--data", store_folder, "--set", "fusion.dim=8,16,32", "--seeds", "2")
    places = ("--output", tmp_path / "out", "--json", tmp_path / "s.json", "--workers", "1", "--log", "none")
    done = cli_here(*words, "--set", "training.epochs=1", *places)
    assert done.returncode == 0, done.stderr
    assert "settings: 3, seeds of each: 2, runs in all: 6" in done.stderr
    assert "best on valid: fusion.dim=" in done.stdout
    assert "training.epochs" not in done.stdout  # it does not vary
    found = json.loads((tmp_path / "s.json").read_text())
    assert found == json.loads((tmp_path / "out" / "results.json").read_text())
    assert {"best", "picture.png", "results.json", "runs", "sweep.json", "table.md"} == {
        entry.name for entry in (tmp_path / "out").iterdir()
    }
    assert "taemi-edge sweep taemi-tiny" in (tmp_path / "out" / "table.md").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "learning_rate=1,2"], "did you mean training.learning_rate?"),
        (["--set", "fusion.dim"], "expected KEY=VALUE,VALUE,..."),
        (["--set", "fusion.dim="], "expected KEY=VALUE,VALUE,..."),
        (["--set", "fusion.dim=8,wide"], "Expected `int`, got `str`"),
        (["--set", "fusion.dim=8,8.0"], "got 8.0 twice"),
        (["--set", "fusion.dropout=0..0.5"], "a range needs --random N"),
        (["--random", "3"], "expected a range to draw from"),
        (["--log", "paper"], "expected tensorboard, mlflow or none"),
        (["--set", "fusion.dropout=0..0.5", "--random", "9000"], "27,000 runs"),
        ([], "found nothing there"),
    ],
)
def test_words_that_are_refused(cli_here, tmp_path: Path, words: list[str], message: str):
    out = ("--output", tmp_path / "out")
    done = cli_here("sweep", "taemi-tiny", "--data", tmp_path / "nothing", *out, *words)
    refused(done, message)
    assert not (tmp_path / "out").exists()


def test_a_store_of_other_encoders_leaves_no_sweep_behind(cli_here, store_folder: Path, tmp_path: Path):
    out = tmp_path / "out"
    done = cli_here("sweep", "taemi-tiny", "--data", store_folder, "--set", "audio.context_s=0.5,1", "--output", out)
    refused(done, "features of another encoder or chunking")
    assert not out.exists()


@pytest.mark.parametrize("words", [("--seeds", "0"), ("--random", "0")])
def test_numbers_below_one_are_refused(cli_here, tmp_path: Path, words: tuple[str, str]):
    assert cli_here("sweep", "taemi-tiny", "--data", tmp_path, *words).returncode == 2
