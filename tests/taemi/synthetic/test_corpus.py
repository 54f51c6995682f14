"""The synthetic corpus: seeded, in the data set's layout, with faces a detector finds and the losses it promises."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import numpy as np
import pytest

from taemi_edge.errors import OutputError, UsageError
from taemi_edge.media.faces import FaceDetector
from taemi_edge.media.files import MediaFile
from taemi_edge.taemi.vidmimic2 import COLUMNS, open_corpus

pytest.importorskip("espeakng_loader", reason="synthetic voices need the extra `synth`")

from taemi_edge.taemi.synthetic.corpus import write_corpus

#: What they hold depends on no interpreter.
pytestmark = pytest.mark.once


def hashes(folder: Path) -> dict[str, str]:
    files = sorted(f for f in folder.rglob("*") if f.is_file())
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def test_the_same_seed_gives_the_same_files_whatever_the_workers(tmp_path):
    write_corpus(tmp_path / "one", 3, 7, workers=1)
    write_corpus(tmp_path / "two", 3, 7, workers=2)
    write_corpus(tmp_path / "other", 3, 8, workers=2)
    assert hashes(tmp_path / "one") == hashes(tmp_path / "two")
    assert hashes(tmp_path / "one") != hashes(tmp_path / "other")


def test_the_layout_is_the_data_sets(corpus_folder):
    with (corpus_folder / "train_split.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert list(rows[0]) == ["Filename", *COLUMNS]
    assert {float(rows[0][c]) for c in COLUMNS} <= {0.0, 0.333, 0.667, 1.0}
    assert (corpus_folder / "raw" / f"{rows[0]['Filename']}.mp4").is_file()
    assert all(clip.has_media for clip in open_corpus(corpus_folder).clips)


def test_faces_are_found_where_the_camera_was_not_lost(corpus_folder):
    detector = FaceDetector()
    shares = []
    for clip in open_corpus(corpus_folder).clips:
        with MediaFile(clip.video, 16_000, 2.0) as media:
            frames = [frame.image for hop in media.hops(1.0) for frame in hop.frames]
        shares.append(np.mean([bool(detector.detect(image)) for image in frames]))
    seen = [share for share in shares if share > 0]
    assert len(seen) >= 10  # the others lost their camera
    assert np.mean(seen) > 0.85


def test_wrong_use_is_said_before_anything_is_made(tmp_path, cli_here):
    with pytest.raises(UsageError, match="at least 3 clips"):
        write_corpus(tmp_path / "a", 2, 0)
    with pytest.raises(UsageError, match="seed of 0 or more"):
        write_corpus(tmp_path / "a", 5, -1)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(OutputError, match="holds other files"):
        write_corpus(tmp_path / "mine", 3, 0)
    assert [f.name for f in tmp_path.rglob("*")] == ["mine", "thesis.txt"]
    assert cli_here("synth", tmp_path / "a", "--clips", "2").returncode == 2
