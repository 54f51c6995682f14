"""Where commands write: an address is refused where only a path will do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.checks import refused

WITH_DATA = ("train", "sweep", "calibrate", "evaluate")


@pytest.mark.parametrize(
    "words",
    [
        ("train", "taemi-tiny", "--output", "s3://bucket/checkpoint"),
        ("train", "taemi-tiny", "--run", "gs://bucket/run"),
        ("sweep", "taemi-tiny", "--output", "s3://bucket/sweep"),
        ("calibrate", "some/bundle", "--output", "file:///tmp/calibrated"),
        ("ablate", "--output", "https://host/page.md"),
        ("evaluate", "bundle", "--json", "s3://bucket/found.json"),
        ("export-triton", "some/bundle", "--output", "s3://bucket/repo"),
        ("parity", "bundle", "--json", "file:///tmp/report.json"),
    ],
)
def test_a_path_is_expected_and_no_folder_is_named_after_a_scheme(cli_here, tmp_path: Path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    refused(cli_here(*words, *(("--data", "corpus") if words[0] in WITH_DATA else ())), f"{words[-2]}: expected a file")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [("--data", "corpus", "--output", "s3:/b/f"), ("--data", "gs:/b/f", "--output", "f")])
def test_an_address_with_one_slash_is_no_path(cli_here, tmp_path: Path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    refused(cli_here("extract", "bundle", *words), "got one with a single slash")
    assert not list(tmp_path.iterdir())
