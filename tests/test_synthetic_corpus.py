"""The synthetic corpus: seeded, in the data set's layout, with faces a detector finds and the losses it promises."""

from __future__ import annotations

import csv
import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from taemi_edge.errors import OutputError, UsageError
from taemi_edge.media.crops import FaceDetector
from taemi_edge.media.files import MediaFile
from taemi_edge.taemi.vidmimic2 import COLUMNS, open_corpus

pytest.importorskip("espeakng_loader", reason="synthetic voices need the extra `synth`")

from taemi_edge.taemi.synthetic.corpus import SCENES, expression_of, plan_clip, voice_of, write_corpus
from taemi_edge.taemi.synthetic.labels import draw_labels, standardise


def hashes(folder: Path) -> dict[str, str]:
    files = sorted(f for f in folder.rglob("*") if f.is_file())
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def test_the_same_seed_gives_the_same_files_whatever_the_workers(tmp_path):
    write_corpus(tmp_path / "one", 3, 7, workers=1)
    write_corpus(tmp_path / "two", 3, 7, workers=2)
    write_corpus(tmp_path / "other", 3, 8, workers=2)
    assert hashes(tmp_path / "one") == hashes(tmp_path / "two")
    assert hashes(tmp_path / "one") != hashes(tmp_path / "other")


def test_every_voice_says_the_same_in_every_process():
    script = (
        "import hashlib\nfrom taemi_edge.taemi.synthetic.person import restart_voice, speak\n"
        "from taemi_edge.taemi.synthetic.corpus import VOICES\n"
        "for voice in VOICES:\n    speak('something else', pitch=20)\n    restart_voice()\n"
        "    print(hashlib.sha256(speak('what a joyful morning', voice=voice).samples.tobytes()).hexdigest())\n"
    )
    said = {subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout for _ in range(5)}
    assert len(said) == 1


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


def test_losses_and_bursts_come_at_their_rates():
    plans = [plan_clip(np.random.default_rng([1, i])) for i in range(4000)]
    share = {
        "no text": np.mean(["text" in p.lost for p in plans]),
        "no stream": np.mean([bool(p.lost & {"vision", "audio"}) for p in plans]),
        "burst in sound": np.mean(["audio" in p.bursts for p in plans]),
        "burst in picture": np.mean(["vision" in p.bursts for p in plans]),
    }
    assert share == pytest.approx(
        {"no text": 0.014, "no stream": 0.2, "burst in sound": 0.3, "burst in picture": 0.5}, abs=0.025
    )


def test_one_scene_shows_the_labels_and_only_the_words_say_which():
    for index in range(200):
        plan = plan_clip(np.random.default_rng([2, index]))
        right = [shot for shot in plan.shots if np.array_equal(shot.feeling, plan.labels)]
        named = [s for s in SCENES if any(noun in shot.text for shot in plan.shots for noun in s.nouns)]
        assert named[0] is SCENES[right[0].scene] or len(right) > 1
        assert len(named) == 1
        assert sorted(shot.scene for shot in plan.shots) == [0, 1, 2, 3]


def test_texts_are_many_and_labels_are_sparse():
    plans = [plan_clip(np.random.default_rng([3, i])) for i in range(500)]
    assert len({" ".join(s.text for s in p.shots) for p in plans}) > 495
    labels = draw_labels(np.random.default_rng(4), 2000)
    assert labels.any(1).all()
    assert (labels > 0).mean() == pytest.approx(0.35, abs=0.03)
    z = standardise(labels)
    assert (z.mean(), z.std()) == pytest.approx((0, 1), abs=0.05)


def test_no_two_emotions_look_and_sound_alike():
    def knobs(feeling: np.ndarray) -> np.ndarray:
        face, voice = expression_of(feeling), voice_of(feeling)
        faces = [face.smile, face.brows, face.eyes_open, face.mouth_open, face.tilt_deg / 15]
        return np.array([*faces, voice["pitch"] / 60, voice["words_per_minute"] / 100, voice["loudness"] / 80])

    alone = [knobs(row) for row in np.eye(6)]
    apart = [np.abs(a - b).max() for i, a in enumerate(alone) for b in alone[:i]]
    assert min(apart) > 0.3


def test_wrong_use_is_said_before_anything_is_made(tmp_path, cli):
    with pytest.raises(UsageError, match="at least 3 clips"):
        write_corpus(tmp_path / "a", 2, 0)
    with pytest.raises(UsageError, match="seed of 0 or more"):
        write_corpus(tmp_path / "a", 5, -1)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(OutputError, match="holds other files"):
        write_corpus(tmp_path / "mine", 3, 0)
    assert [f.name for f in tmp_path.rglob("*")] == ["mine", "thesis.txt"]
    assert cli("synth", tmp_path / "a", "--clips", "2").returncode == 2
