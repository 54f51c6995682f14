"""The commands `synth` and `extract`, used wrongly."""

from __future__ import annotations

from pathlib import Path

from tests.cli.checks import refused


def test_a_folder_that_holds_something_is_no_place_for_a_corpus(cli_here, tmp_path: Path):
    (tmp_path / "mine.txt").write_text("mine")
    done = cli_here("synth", tmp_path, "--clips", 3)
    assert done.returncode == 2
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_features_name_a_modality_and_a_folder(cli_here, tiny_folder: Path, tmp_path: Path):
    words = ["--data", tmp_path, "--output", tmp_path / "store", "--features", "vit"]
    refused(cli_here("extract", tiny_folder, *words), "--features vit: expected STREAM=FOLDER")


def test_a_corpus_of_which_nothing_can_be_read_is_no_success(cli_here, tiny_folder: Path, tmp_path: Path):
    corpus = tmp_path / "corpus"
    (corpus / "raw").mkdir(parents=True)
    (corpus / "raw" / "00001.mp4").write_bytes(b"no video")
    labels = "Filename,Admiration,Amusement,Determination,Empathic Pain,Excitement,Joy\n1,0,0,0,0,0,1\n"
    (corpus / "train_split.csv").write_text(labels)
    done = cli_here("extract", tiny_folder, "--data", corpus, "--output", tmp_path / "store", "--workers", 1)
    assert done.returncode == 2
    assert "none of 1 clips can be read, such as 00001: " in done.stderr.splitlines()[-1]
