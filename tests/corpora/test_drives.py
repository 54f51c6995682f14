"""Recordings of robots as corpora: how they are found, cut for a model, named by tables, and read."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from taemi_edge.bundle.streams import AudioSpec, PresenceSpec, SeriesSpec, VideoSpec
from taemi_edge.corpora.drive_ranges import DriveOptions
from taemi_edge.corpora.drives import for_model, open_drives
from taemi_edge.corpora.opening import find_corpus, open_any_corpus
from taemi_edge.corpora.sample_corpus import open_samples
from taemi_edge.corpora.stream_files import sample_rows, sample_words
from taemi_edge.errors import InputError, UsageError
from taemi_edge.media.tokens import WordTokenizer

pytest.importorskip("mcap")
pytest.importorskip("rosbags")
from tests.robots.definitions import cdr, message
from tests.robots.drives import write_bag, write_mcap
from tests.robots.messages import Form, messages, restamped, simulated, with_jump

TIMES = PresenceSpec(stale_after_s=1.0, missing_after_s=2.0, recover_after_s=0.5)
FEATURES: dict[str, Any] = {"feature_dim": 4, "presence": TIMES}
EYE = VideoSpec(frames_per_second=5.0, size_hw=(48, 48), crop="whole", **FEATURES)
WRIST = SeriesSpec(channels=6, rate_hz=200.0, chunk_s=0.5, context_s=0.0, **FEATURES)
STREAMS = {"eye": EYE, "wrist": WRIST}
START_NS = 1_700_000_000 * 10**9


@pytest.fixture(scope="module")
def drives(drive: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two recordings of the same six seconds: an MCAP file, and a bag of ROS 2 without the camera."""
    folder = tmp_path_factory.mktemp("drives")
    write_mcap(
        folder / "monday.mcap", messages(drive, Form(pictures="jpeg", others=False), START_NS), chunk_size=1 << 14
    )
    write_bag(folder / "tuesday", messages(drive, Form(pictures="none", others=False), START_NS))
    return folder


def test_recordings_are_cut_into_clips_of_the_models_window(drives: Path):
    found = find_corpus(drives)
    assert [clip.id for clip in found.clips] == ["monday", "tuesday"]
    cut = for_model(found, STREAMS, 2.0)
    assert [clip.id for clip in cut.clips] == [f"{day}-{n:05d}" for day in ("monday", "tuesday") for n in range(3)]
    assert {clip.split for clip in cut.clips} == {"train"}
    first = cut.clips[0].ranges[0]
    assert (first.topics, first.end_ns - first.start_ns) == (
        {"eye": "/camera/image_raw/compressed", "wrist": "/imu/data"},
        2 * 10**9,
    )
    assert cut.clips[4].ranges[0].topics == {"wrist": "/imu/data"}
    assert pickle.loads(pickle.dumps(cut.clips)).__len__() == 6  # noqa: S301  (our own bytes)


def test_a_clip_holds_its_own_seconds_and_no_others(drives: Path, drive: Any):
    clips = for_model(open_drives(drives / "monday.mcap"), STREAMS, 2.0).clips
    read = [sample_rows(clip, STREAMS, {}) for clip in clips]
    assert [len(rows["eye"]) for rows in read] == [10, 10, 10]
    assert [len(rows["wrist"]) for rows in read] == [4, 4, 4]
    whole = np.array([row["values"] for rows in read for row in rows["wrist"]]).reshape(-1, 6)
    # clips begin with the stamp of the first message, and the grid of the model with them
    np.testing.assert_allclose(whole, np.asarray(drive.imu)[: len(whole)], atol=1e-4)


def test_many_clips_keep_the_last_quarter_to_judge_on(drives: Path):
    cut = for_model(open_drives(drives / "monday.mcap", DriveOptions(clip_s=0.1)), STREAMS, 2.0)
    assert [clip.split for clip in cut.clips].count("valid") == len(cut.clips) // 4 >= 8
    assert [clip.split for clip in cut.clips] == sorted(clip.split for clip in cut.clips)


def test_a_table_names_ranges_topics_and_labels(drives: Path):
    (drives / "samples.csv").write_text(
        "id,recording,wrist,start_s,end_s,force\n"
        "a,monday.mcap,,0,2,1\n"
        'b,monday.mcap,"#/imu/data.linear_acceleration,angular_velocity",1,,2\n'
        f"c,,tuesday#/imu/data,{START_NS / 1e9 + 4},{START_NS / 1e9 + 6},3\n"
    )
    corpus = for_model(open_samples(drives), STREAMS, 2.0)
    (drives / "samples.csv").unlink()
    a, b, c = corpus.clips
    assert (dict(a.cells), sorted(a.ranges[0].topics)) == ({"force": "1"}, ["eye", "wrist"])
    assert b.ranges[0].topics["wrist"] == "/imu/data.linear_acceleration,angular_velocity"
    assert (len(sample_rows(a, STREAMS, {})["wrist"]), len(sample_rows(b, STREAMS, {})["wrist"])) == (4, 10)
    rows = sample_rows(c, STREAMS, {})
    assert (len(rows["eye"]), len(rows["wrist"])) == (0, 4)
    usual, turned = sample_rows(a, STREAMS, {})["wrist"][2]["values"], sample_rows(b, STREAMS, {})["wrist"][0]["values"]
    np.testing.assert_allclose(usual[:, [3, 4, 5, 0, 1, 2]], turned, atol=1e-3)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["a,monday.mcap,9,12"], "expected a range within the"),
        (["a,monday.mcap,3,2"], "expected a range within the"),
        (["a,monday.mcap,soon,2"], "expected start_s and end_s in seconds"),
        (["a,missing.mcap,0,2"], "expected a recording, found nothing"),
        (["a,monday.mcap#/nowhere,0,2"], "row 1: eye=/nowhere: expected a topic of the recording"),
        (["a,monday.mcap#/imu/data,0,2"], "row 1: eye=/imu/data: .* is no picture"),
    ],
)
def test_a_range_that_is_none_is_refused(drives: Path, tmp_path: Path, rows: list[str], message: str):
    (tmp_path / "monday.mcap").symlink_to(drives / "monday.mcap")
    column = "eye" if "#" in rows[0] else "recording"
    (tmp_path / "samples.csv").write_text("\n".join([f"id,{column},start_s,end_s", *rows]))
    with pytest.raises(InputError, match=message):
        for_model(open_samples(tmp_path), STREAMS, 2.0)


def test_a_map_may_name_topics_that_some_recordings_lack(drives: Path, tmp_path: Path):
    options = DriveOptions({"eye": "/camera/image_raw/compressed"})
    cut = for_model(find_corpus(drives, drives=options), STREAMS, 3.0)
    assert [sorted(clip.ranges[0].topics) for clip in cut.clips] == [["eye", "wrist"]] * 2 + [["wrist"]] * 2
    with pytest.raises(UsageError, match="expected a topic of the recording"):
        for_model(find_corpus(drives, drives=DriveOptions({"eye": "/nowhere", "wrist": "/imu/data"})), STREAMS, 3.0)
    with pytest.raises(UsageError, match="expected one of eye"):
        for_model(find_corpus(drives, drives=DriveOptions({"nose": "/imu/data"})), STREAMS, 3.0)


def test_a_file_in_the_folder_names_the_topics(drives: Path):
    (drives / "recordings.toml").write_text('[streams]\nwrist = "/imu/data.linear_acceleration,angular_velocity"\n')
    try:
        cut = for_model(find_corpus(drives), STREAMS, 3.0)
    finally:
        (drives / "recordings.toml").unlink()
    assert {clip.ranges[0].topics["wrist"] for clip in cut.clips} == {"/imu/data.linear_acceleration,angular_velocity"}


def test_a_recording_that_cannot_be_read_leaves_the_others(drives: Path, tmp_path: Path):
    (tmp_path / "good.mcap").symlink_to(drives / "monday.mcap")
    (tmp_path / "bad.mcap").write_bytes(b"no recording at all")
    bad, *good = for_model(find_corpus(tmp_path), STREAMS, 2.0).clips
    assert (bad.id, len(good)) == ("bad", 3)
    with pytest.raises(InputError, match="bad.mcap: expected an MCAP file"):
        sample_rows(bad, STREAMS, {})


def test_a_folder_of_splits_keeps_them(drives: Path, tmp_path: Path):
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "drive.mcap").symlink_to(drives / "monday.mcap")
    cut = for_model(open_any_corpus(tmp_path), STREAMS, 3.0)
    assert [(clip.id, clip.split) for clip in cut.clips] == [
        (f"{split}-drive-0000{n}", split) for split in ("train", "test") for n in range(2)
    ]


def test_the_hash_of_a_corpus_tells_its_recordings_and_how_they_are_read(drives: Path):
    def digest(clip_s: float, **options: Any) -> str:
        return for_model(find_corpus(drives, drives=DriveOptions(**options)), STREAMS, clip_s).labels_sha256

    assert digest(2.0) == digest(2.0)
    others = [
        digest(3.0),
        digest(2.0, clock="log"),
        digest(2.0, topics={"wrist": "/imu/data.angular_velocity,linear_acceleration"}),
    ]
    assert len({digest(2.0), *others}) == 4


def test_words_are_read_with_their_times(drives: Path, robot_folder: Path):
    from taemi_edge.bundle.folder import open_bundle

    bundle = open_bundle(robot_folder)
    spec = bundle.manifest.streams["talk"]
    clip = for_model(open_drives(drives / "monday.mcap"), {"talk": spec}, 4.0).clips[0]
    words = sample_words(clip, "talk", 60.0, spec)
    assert [word.text for word in words][:3] == ["Today,", "after", "two"]
    tokenizer = WordTokenizer(bundle.read_tokenizer("talk"), spec.max_tokens)
    [row] = sample_rows(clip, {"talk": spec}, {"talk": tokenizer})["talk"]
    assert len(row["ids"]) >= len(words)
    assert sample_words(clip, "talk", 60.0) == []


def test_sound_that_comes_in_long_messages_fills_every_clip(drive: Any, tmp_path: Path):
    small = [sent for sent in messages(drive, Form("none", sound=True), START_NS) if sent.topic == "/audio"]
    groups = [small[at : at + 35] for at in range(0, len(small) - 34, 35)]  # 0.7 s each, logged when they were complete
    held = [np.concatenate([np.frombuffer(one.data, np.uint8, offset=8) for one in group]) for group in groups]
    long = [
        replace(group[-1], data=cdr(message("audio_common_msgs/msg/AudioData", data=sound)))
        for group, sound in zip(groups, held, strict=True)
    ]
    streams = {"ear": AudioSpec(sample_rate_hz=16_000, chunk_s=0.5, context_s=0.0, **FEATURES)}
    clip = for_model(open_drives(write_mcap(tmp_path / "long.mcap", long)), streams, 2.0).clips[0]
    assert clip.ranges[0].start_ns == START_NS  # the first message was logged when it was complete
    heard = np.concatenate([row["samples"] for row in sample_rows(clip, streams, {})["ear"]])
    np.testing.assert_allclose(heard, drive.voice[:32_000] / 32768, atol=1e-4)


def test_messages_that_were_logged_late_are_in_the_clip_in_which_they_were_made(drive: Any, tmp_path: Path):
    late = [
        replace(sent, log_ns=sent.log_ns + 4 * 10**9)
        for sent in messages(drive, Form("jpeg", others=False), START_NS)
        if sent.topic != "/transcript"
    ]
    clips = for_model(open_drives(write_mcap(tmp_path / "late.mcap", late, chunk_size=1 << 14)), STREAMS, 2.0).clips
    read = [sample_rows(clip, STREAMS, {}) for clip in clips[:3]]
    assert [(len(rows["eye"]), len(rows["wrist"])) for rows in read] == [(10, 4), (10, 4), (10, 4)]


def test_words_that_were_recognised_late_are_in_the_clip_in_which_they_were_said(
    drive: Any, robot_folder: Path, tmp_path: Path
):
    from taemi_edge.bundle.folder import open_bundle

    bundle = open_bundle(robot_folder)
    streams = {**STREAMS, "talk": bundle.manifest.streams["talk"]}
    late = [
        replace(sent, log_ns=sent.log_ns + 3 * 10**9) if sent.topic == "/transcript" else sent
        for sent in messages(drive, Form(pictures="jpeg", others=False, words="json"), START_NS)
    ]
    write_mcap(tmp_path / "late.mcap", sorted(late, key=lambda sent: sent.log_ns), chunk_size=1 << 14)
    spoken = _Spoken(bundle.read_tokenizer("talk"), 99)
    clips = for_model(open_drives(tmp_path), streams, 2.0).clips[:3]
    for clip in clips:
        sample_rows(clip, streams, {"talk": spoken})
    assert " ".join(spoken.heard) == " ".join(word for _, _, word in drive.words)
    heard = [word.text for clip in clips for word in sample_words(clip, "talk", 60.0, streams["talk"])]
    assert heard == [word for _, _, word in drive.words]


class _Spoken(WordTokenizer):
    """Remembers what it was given."""

    def __init__(self, tokenizer_json: str, max_tokens: int) -> None:
        super().__init__(tokenizer_json, max_tokens)
        self.heard: list[str] = []

    def feeds(self, texts: list[str]) -> dict[str, Any]:
        self.heard += texts
        return super().feeds(texts)

    def ids(self, text: str) -> Any:
        self.heard.append(text)
        return super().ids(text)


def test_a_clock_that_was_set_leaves_out_what_lies_between(drive: Any, tmp_path: Path):
    sent = messages(drive, Form(pictures="none", others=False), START_NS)
    write_mcap(tmp_path / "drive.mcap", with_jump(sent, 3.0, 10 * 365 * 86_400.0, of_log=True))
    cut = for_model(open_drives(tmp_path / "drive.mcap", DriveOptions(clock="log")), {"wrist": WRIST}, 1.0)
    assert [clip.id for clip in cut.clips][-1] == f"drive-{len(cut.clips) - 1:05d}"
    assert 6 <= len(cut.clips) <= 8
    rows = [len(sample_rows(clip, {"wrist": WRIST}, {})["wrist"]) for clip in cut.clips]
    assert sum(rows) >= 10


def test_a_recording_that_was_cut_off_gives_the_clips_that_it_has(drives: Path, tmp_path: Path):
    whole = (drives / "monday.mcap").read_bytes()
    (tmp_path / "cut.mcap").write_bytes(whole[: len(whole) // 2])
    cut = for_model(find_corpus(tmp_path), STREAMS, 1.0)
    assert 2 <= len(cut.clips) <= 4
    remarks: list[str] = []
    assert len(sample_rows(cut.clips[0], STREAMS, {}, remarks=remarks)["wrist"]) == 2
    assert "was cut off or damaged" in " ".join(remarks)


def test_a_file_without_an_index_gives_the_same_clips(drive: Any, drives: Path, tmp_path: Path):
    sent = messages(drive, Form(pictures="jpeg", others=False), START_NS)
    write_mcap(tmp_path / "monday.mcap", sent, index=False, compression=None)
    ours, theirs = (for_model(find_corpus(folder), STREAMS, 2.0).clips for folder in (tmp_path, drives))
    for found, expected in zip(ours, theirs[:3], strict=True):
        rows, known = sample_rows(found, STREAMS, {}), sample_rows(expected, STREAMS, {})
        assert all(
            np.array_equal(a[key], b[key])
            for name in STREAMS for a, b in zip(rows[name], known[name], strict=True) for key in a
        )  # fmt: skip


def test_stamps_of_another_clock_cut_the_same_clips(drive: Any, drives: Path, tmp_path: Path):
    sent = messages(drive, Form(pictures="jpeg", others=False), START_NS)
    other = (replace(one, data=restamped(one, one.stamp_ns - START_NS + 7 * 10**9)) for one in sent)
    write_mcap(tmp_path / "monday.mcap", other)
    streams = {"eye": EYE, "wrist": WRIST}
    ours = for_model(open_drives(tmp_path / "monday.mcap", DriveOptions(clock="header")), streams, 2.0).clips
    theirs = for_model(open_drives(drives / "monday.mcap"), streams, 2.0).clips
    for found, expected in zip(ours, theirs, strict=True):
        rows, known = sample_rows(found, streams, {}), sample_rows(expected, streams, {})
        assert [len(rows[name]) for name in streams] == [len(known[name]) for name in streams]
        a, b = (np.array([row["values"] for row in each["wrist"]]).reshape(-1, 6) for each in (rows, known))
        assert np.median(np.abs(a - b)) < 0.05 * np.abs(b).max()


def test_a_simulation_is_cut_by_its_own_time(drive: Any, tmp_path: Path):
    sent = messages(drive, Form(pictures="none", others=False), 12 * 10**9)
    write_mcap(tmp_path / "drive.mcap", simulated(sent, 3.0))
    clips = for_model(open_drives(tmp_path / "drive.mcap"), {"wrist": WRIST}, 2.0).clips
    rows = [sample_rows(clip, {"wrist": WRIST}, {})["wrist"] for clip in clips]
    assert [len(found) for found in rows] == [4, 4, 4]
    values = np.array([row["values"] for found in rows for row in found]).reshape(-1, 6)
    assert np.median(np.abs(values - np.asarray(drive.imu)[: len(values)])) < 0.1
