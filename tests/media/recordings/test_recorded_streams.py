"""Streams of recordings, hop by hop: the same as those of plain files, whatever order messages come in."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mcap")
pytest.importorskip("rosbags")

from taemi_edge.bundle.streams import AudioSpec, PresenceSpec, SeriesSpec, StreamSpec, TextSpec, VideoSpec
from taemi_edge.errors import InputError, UsageError
from taemi_edge.media.file_source import FileSource
from taemi_edge.media.hops import Hop
from taemi_edge.media.recordings.recorded_streams import RecordingSource
from tests.robots.drives import write_mcap
from tests.robots.messages import START_NS, Form, Sent, at_rate, duplicated, messages, out_of_order, restamped

TIMES = PresenceSpec(stale_after_s=1.0, missing_after_s=2.0, recover_after_s=0.5)
EYE = VideoSpec(feature_dim=4, presence=TIMES, size_hw=(8, 8), frames_per_second=5.0)
WRIST = SeriesSpec(feature_dim=4, presence=TIMES, channels=6, rate_hz=200.0, chunk_s=0.5)
TALK = TextSpec(feature_dim=4, presence=TIMES, max_tokens=8)
EAR = AudioSpec(feature_dim=4, presence=TIMES, sample_rate_hz=16_000, chunk_s=1.0)
STREAMS: dict[str, StreamSpec] = {"eye": EYE, "wrist": WRIST, "talk": TALK}


def hops_of(source: RecordingSource | FileSource, hop_s: float = 0.5) -> tuple[list[Hop], Hop]:
    return list(source.hops(hop_s)), source.rest()


def of_files(drive: Any) -> list[Hop]:
    own = {name: file for name, file in drive.files.items() if name != "eye"}
    with FileSource(drive.files["eye"], STREAMS, own) as files:
        return list(files.hops(0.5))


def record(tmp_path: Path, sent: Iterable[Sent]) -> Path:
    return write_mcap(tmp_path / "drive.mcap", sent)


def require_same(found: list[Hop], wanted: list[Hop]) -> None:
    """Both have the same pictures and the same rows in each hop."""
    assert [hop.end_s for hop in found] == [hop.end_s for hop in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert [frame.time_s for frame in one.pieces["eye"]] == pytest.approx(
            [frame.time_s for frame in other.pieces["eye"]], abs=1e-6
        )
        for mine, theirs in zip(one.pieces["eye"], other.pieces["eye"], strict=True):
            np.testing.assert_array_equal(mine.image, theirs.image)
        (mine,), (theirs,) = one.pieces["wrist"], other.pieces["wrist"]
        np.testing.assert_allclose(mine.times_s, theirs.times_s, atol=1e-6)
        np.testing.assert_array_equal(mine.rows, theirs.rows)


@pytest.mark.parametrize("pictures", ["rgb8", "bgr8", "png", "h264", "h264-compressed"])
def test_a_recording_gives_what_plain_files_give(drive: Any, tmp_path: Path, pictures: Any) -> None:
    wanted = of_files(drive)
    file = record(tmp_path, messages(drive, Form(pictures)))
    with RecordingSource(file, STREAMS) as source:
        found, rest = hops_of(source)
        assert source.length_s == pytest.approx(6.0)
        assert source.unusable == source.late == 0
    require_same(found, wanted)
    words = [word for hop in (*found, rest) for word in hop.pieces["talk"]]
    assert [word.text for word in words] == [word for _, _, word in drive.words]
    assert [word.end_s for word in words] == pytest.approx([end_s for _, end_s, _ in drive.words])


def test_messages_out_of_order_and_twice_change_nothing(drive: Any, tmp_path: Path) -> None:
    sent = list(messages(drive, Form("rgb8")))
    disordered = list(duplicated(out_of_order(sent)))
    assert [one.stamp_ns for one in disordered] != [one.stamp_ns for one in sent]
    with RecordingSource(record(tmp_path, disordered), STREAMS) as source:
        found, _ = hops_of(source)
        assert source.unusable == source.late == 0
    require_same(found, of_files(drive))


def test_stamps_that_are_shuffled_within_a_second_are_put_in_order(drive: Any, tmp_path: Path) -> None:
    rng = random.Random(3)
    sent = [replace(one, log_ns=one.stamp_ns + rng.randrange(0, 400_000_000)) for one in messages(drive, Form("png"))]
    with RecordingSource(record(tmp_path, sorted(sent, key=lambda one: one.log_ns)), STREAMS) as source:
        found, _ = hops_of(source)
    require_same(found, of_files(drive))


def test_a_bag_that_was_played_faster_has_the_pace_of_its_stamps_or_of_its_log(drive: Any, tmp_path: Path) -> None:
    file = record(tmp_path, at_rate(messages(drive, Form("none")), 2.0))
    streams = {"wrist": WRIST}
    with RecordingSource(file, streams, clock="header") as source:
        assert len(hops_of(source)[0]) == 12
    with RecordingSource(file, streams, clock="log") as source:
        assert len(hops_of(source)[0]) == 6


def test_stamps_of_zero_take_the_log_time(drive: Any, tmp_path: Path) -> None:
    sent = [replace(one, data=restamped(one, 0)) for one in messages(drive, Form("none", others=False))]
    with RecordingSource(record(tmp_path, sent), {"wrist": WRIST}) as source:
        found, _ = hops_of(source)
        assert any("log times are taken, since messages have no stamps" in note for note in source.notes)
    assert sum(len(hop.pieces["wrist"][0].rows) for hop in found) >= 1199


def test_numbers_that_are_none_cost_their_message_alone(drive: Any, tmp_path: Path) -> None:
    from tests.robots.definitions import cdr
    from tests.robots.messages import imu

    sent = list(messages(drive, Form("none", others=False)))
    at = [index for index, one in enumerate(sent) if one.topic == "/imu/data"][300]
    row = [float("nan"), 0, 0, 0, 0, 0]
    sent[at] = replace(sent[at], data=cdr(imu(row, sent[at].stamp_ns)))
    with RecordingSource(record(tmp_path, sent), {"wrist": WRIST}) as source:
        found, _ = hops_of(source)
        assert source.unusable == 1
        assert any("1 of the messages for wrist could not be used, the first since: " in note for note in source.notes)
        assert "wrist" in next(hop.faults for hop in found if hop.faults)
    assert sum(len(hop.pieces["wrist"][0].rows) for hop in found) == 1199


def test_a_range_of_a_recording(drive: Any, tmp_path: Path) -> None:
    file = record(tmp_path, messages(drive, Form("h264")))
    start_ns, end_ns = START_NS + 2_100_000_000, START_NS + 4_100_000_000
    with RecordingSource(file, STREAMS, range_ns=(start_ns, end_ns)) as source:
        found, rest = hops_of(source)
    assert len(found) == 4
    pictures = [frame for hop in (*found, rest) for frame in hop.pieces["eye"]]
    with FileSource(drive.files["eye"], STREAMS) as files:
        wanted = [frame for hop in files.hops(0.5) for frame in hop.pieces["eye"] if 2.1 <= frame.time_s < 4.1]
    assert len(pictures) in (len(wanted), len(wanted) + 1)  # the grid begins at the range's own beginning
    assert all(0 <= frame.time_s < 2.0 for frame in pictures)
    rows = np.concatenate([piece.rows for hop in (*found, rest) for piece in hop.pieces["wrist"]])
    np.testing.assert_allclose(rows, drive.imu[420:820].astype(np.float32))


def test_hops_end_where_they_are_asked_to(drive: Any, tmp_path: Path) -> None:
    file = record(tmp_path, messages(drive, Form("png")))
    with RecordingSource(file, STREAMS, origin_ns=START_NS - 10**9) as source:
        found = list(source.hops_until([0.5, 1.25, 3.0, 9.0]))
    assert [hop.end_s for hop in found] == [0.5, 1.25, 3.0, 9.0]
    assert [
        len(np.concatenate([p.rows for p in hop.pieces["wrist"]])) if hop.pieces["wrist"] else 0 for hop in found
    ] == [
        0,
        51,
        350,
        799,
    ]


def test_sound_without_stamps_follows_itself(drive: Any, tmp_path: Path) -> None:
    file = record(tmp_path, messages(drive, Form("none", sound=True)))
    with RecordingSource(file, {"ear": EAR}) as source:
        found, rest = hops_of(source)
        heard = np.concatenate([piece.values for hop in (*found, rest) for piece in hop.pieces["ear"]])
        whole = source.read_sound("ear", 16_000)
    np.testing.assert_allclose(heard, drive.voice[: len(heard)] / 32768, atol=1e-6)
    assert len(heard) == 96_000
    np.testing.assert_allclose(whole, heard, atol=1e-6)


def test_transcripts_and_series_beside_a_recording(drive: Any, tmp_path: Path) -> None:
    file = record(tmp_path, messages(drive, Form("png")))
    own = {"talk": drive.files["talk"], "wrist": drive.files["wrist"]}
    with FileSource(file, STREAMS, own) as files:
        found = list(files.hops(0.5))
        assert [word.text for word in files.words["talk"]] == [word for _, _, word in drive.words]
        assert files.picture == "eye"
        assert float(files.frame_rate) == pytest.approx(15, rel=0.02)
        assert any("they are taken to begin together" in note for note in files.notes)
    require_same(found, of_files(drive))


def test_one_stream_from_a_recording_beside_a_video(drive: Any, tmp_path: Path) -> None:
    file = record(tmp_path, messages(drive, Form("none")))
    with FileSource(drive.files["eye"], STREAMS, {"wrist": Path(f"{file}#/imu/data")}) as files:
        assert files.files == (drive.files["eye"], file)
        found = list(files.hops(0.5))
    require_same(found, of_files(drive))


def test_series_of_the_same_clock_keep_their_distance(drive: Any, tmp_path: Path) -> None:
    file = record(tmp_path, messages(drive, Form("none")))
    early = START_NS - 2 * 10**9
    table = "\n".join(["timestamp_ns,a", *(f"{early + at * 10**8},{at}" for at in range(80))])
    (tmp_path / "heart.csv").write_text(table, encoding="utf-8")
    heart = SeriesSpec(feature_dim=4, presence=TIMES, channels=1)
    with FileSource(file, {"wrist": WRIST, "heart": heart}, {"heart": tmp_path / "heart.csv"}) as files:
        found = list(files.hops(0.5))
    first = next(hop for hop in found if hop.pieces["wrist"])
    assert first.pieces["wrist"][0].times_s[0] == pytest.approx(2.0)
    assert found[0].pieces["heart"][0].times_s[0] == pytest.approx(0.0)


def test_sentences(drive: Any, tmp_path: Path) -> None:
    file = record(tmp_path, messages(drive, Form("none")))
    with pytest.raises(InputError, match="expected a topic that fits a stream of the model, and none does"):
        RecordingSource(file, {"eye": EYE})
    with pytest.raises(UsageError, match="nose=/imu/data: expected one of eye"):
        FileSource(file, STREAMS, topics={"nose": "/imu/data"})
    with pytest.raises(UsageError, match="wrist=/imu/data: expected a recording that feeds wrist"):
        FileSource(drive.files["eye"], STREAMS, topics={"wrist": "/imu/data"})
    empty = write_mcap(tmp_path / "empty.mcap", [])
    with pytest.raises(InputError, match="expected a topic that fits"):
        RecordingSource(empty, STREAMS)


def test_a_stamp_that_is_wrong_costs_its_message_alone(drive: Any, tmp_path: Path) -> None:
    sent = list(messages(drive, Form("png")))
    at = [index for index, one in enumerate(sent) if one.topic.startswith("/camera")][31]
    for wrong_s in (4, 4000, -4000, 2_000_000):
        wrong_ns = max(0, sent[at].stamp_ns + wrong_s * 10**9)
        bent = [*sent[:at], replace(sent[at], data=restamped(sent[at], wrong_ns % (2**31 * 10**9))), *sent[at + 1 :]]
        with RecordingSource(record(tmp_path, bent), {"eye": EYE, "wrist": WRIST}) as source:
            found, _ = hops_of(source)
            assert source.late <= 1
        assert sum(len(hop.pieces["wrist"][0].rows) for hop in found[:12]) == 1200
        assert sum(len(hop.pieces["eye"]) for hop in found[:12]) in (29, 30, 31)


def test_words_that_are_recognised_late_keep_their_place(drive: Any, tmp_path: Path) -> None:
    sent = []
    for one in messages(drive, Form("png")):
        late_ns = (3 if one.topic == "/transcript" else 0) * 10**9
        sent.append(replace(one, log_ns=one.log_ns + late_ns))
    file = record(tmp_path, sorted(sent, key=lambda one: one.log_ns))
    with RecordingSource(file, STREAMS) as source:
        found, rest = hops_of(source)
    words = [word for hop in (*found, rest) for word in hop.pieces["talk"]]
    assert [word.end_s for word in words] == pytest.approx([end_s for _, end_s, _ in drive.words])


def test_numbers_in_json_that_nothing_holds(tmp_path: Path) -> None:
    values = "[1, 2, 3, 4, 5, 6]"
    data = [
        f'{{"timestamp": {{"sec": {sec}, "nsec": 0}}, "values": {values}}}'.encode()
        for sec in (1, "1" + "0" * 400, -(10**30), 1e300, 2, 3)
    ]
    sent = [Sent("/imu/json", "my_robot.Imu", "json", 0, START_NS + at * 10**9, one) for at, one in enumerate(data)]
    for clock in ("auto", "log", "header"):
        with RecordingSource(record(tmp_path, sent), {"wrist": WRIST}, {"wrist": "/imu/json"}, clock=clock) as source:
            found, rest = hops_of(source)
            assert len(found) < 100
            assert all(np.isfinite(piece.times_s).all() for hop in (*found, rest) for piece in hop.pieces["wrist"])


def test_all_sound_is_read_on_the_clock_of_the_source(drive: Any, tmp_path: Path) -> None:
    sent = [
        replace(one, data=restamped(one, one.stamp_ns - 100 * 10**9), stamp_ns=one.stamp_ns - 100 * 10**9)
        for one in messages(drive, Form(pictures="none", words="plain", sound=True, others=False))
    ]
    file = record(tmp_path, sent)
    for clock in ("log", "header"):
        with RecordingSource(file, {"wrist": WRIST, "ear": EAR}, clock=clock) as source:
            assert len(source.read_sound("ear", 16_000)) == pytest.approx(6 * 16_000, abs=1600)
