"""What a row of a table names is read as the runtime reads it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from taemi_edge.bundle.streams import VideoSpec
from taemi_edge.corpora.sample_corpus import SampleClip
from taemi_edge.corpora.stream_files import sample_rows
from taemi_edge.errors import CorpusError, InputError
from tests.media import tone, write_media
from tests.parity.toy_model import STREAMS, TIMES, sample


def rows(cells: dict[str, object], folder: Path, streams=STREAMS, **options: float):
    return sample_rows(SampleClip("a", "test", "row 1", None, cells, folder), streams, {}, **options)


def test_a_file_of_arrays_holds_what_the_encoders_take(tmp_path: Path):
    np.savez(tmp_path / "a.npz", **sample(0, without=("mic",)), **{"label/door": 1})
    found = sample_rows(SampleClip("a", "test", "a.npz", tmp_path / "a.npz", {}, tmp_path), STREAMS, {})
    assert {name: len(each) for name, each in found.items()} == {"front": 3, "mic": 0, "said": 1, "imu": 3, "pulse": 3}


def test_columns_make_one_row_of_a_series(tmp_path: Path):
    found = rows({"pulse.0": "61"}, tmp_path)
    assert [row["values"].tolist() for row in found["pulse"]] == [[61.0]]
    assert found["imu"] == []
    with pytest.raises(CorpusError, match=r"row 1: expected imu.0 to imu.2, found nothing in imu.1"):
        rows({"imu.0": "1", "imu.2": "3"}, tmp_path)
    with pytest.raises(CorpusError, match=r"for a stream of 1 channels, got pulse.1 as well"):
        rows({"pulse.0": "61", "pulse.1": "62"}, tmp_path)
    with pytest.raises(CorpusError, match="row 1: pulse: expected numbers"):
        rows({"pulse.0": "fast"}, tmp_path)


def test_media_are_read_on_the_grids_of_the_streams(tmp_path: Path, demo_video: Path):
    front = VideoSpec(feature_dim=4, presence=TIMES, size_hw=(8, 8), frames_per_second=5.0, crop="whole")
    mic = msgspec.structs.replace(STREAMS["mic"], sample_rate_hz=8000, context_s=0.0)
    cells = {"front": demo_video.name, "mic": demo_video.name}
    found = rows(cells, demo_video.parent, {"front": front, "mic": mic}, longest_s=2.0)
    assert {row["pixels"].shape for row in found["front"]} == {(8, 8, 3)}
    assert len(found["front"]) == 11  # 0, .2, ... 2.0 s
    assert [row["samples"].shape for row in found["mic"]] == [(4000,)] * 4


def test_a_file_with_less_than_a_chunk_of_sound_lacks_the_stream(tmp_path: Path):
    mic = msgspec.structs.replace(STREAMS["mic"], sample_rate_hz=8000, context_s=0.0)  # chunks of half a second
    for seconds, chunks in ((0.4, 0), (0.48, 1), (0.9, 1), (0.96, 2)):
        write_media(tmp_path / "a.wav", samples=tone(seconds), audio_codec="pcm_s16le")
        assert len(rows({"mic": "a.wav"}, tmp_path, {"mic": mic})["mic"]) == chunks


def test_a_series_comes_from_a_file_of_its_own(tmp_path: Path):
    lines = ["time_s,x,y,z", *(f"{i / 8},{i},0,1" for i in range(17))]
    (tmp_path / "imu.csv").write_text("\n".join(lines))
    found = rows({"imu": "imu.csv"}, tmp_path)["imu"]
    # 8 rows a second become 4: every second one, in chunks of a second
    assert [row["values"][:, 0].tolist() for row in found] == [[0, 2, 4, 6], [8, 10, 12, 14]]


def test_a_series_without_a_rate_keeps_its_rows_and_needs_no_times(tmp_path: Path):
    np.savez(tmp_path / "a.npz", values=[60, 61])
    (tmp_path / "a.csv").write_text("timestamp_ns,bpm\n0,60\n5000000000,61\n")
    for file, longest_s, expected in (("a.npz", 60.0, [60, 61]), ("a.csv", 60.0, [60, 61]), ("a.csv", 4.0, [60])):
        found = rows({"pulse": file}, tmp_path, longest_s=longest_s)["pulse"]
        assert [row["values"].tolist() for row in found] == [[bpm] for bpm in expected]


def test_a_series_begins_with_its_first_row_and_has_no_chunk_in_a_gap(tmp_path: Path):
    times = np.concatenate([np.arange(10, 12, 0.25), np.arange(30, 31, 0.25)])
    np.savez(tmp_path / "a.npz", times_s=times, values=np.outer(times, [1, 2, 4]))
    found = rows({"imu": "a.npz"}, tmp_path)["imu"]
    assert [row["values"][0, 0] for row in found] == [10, 11, 30]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time_s,x,y\n0,1,2\n", "expected 3 columns for the stream imu, got 2"),
        ("x,y,z\n0,1,2\n", "expected a column time_s or timestamp_ns, got the columns x, y, z"),
        ("time_s,x,y,z\n1,0,0,0\n2,0,0,0\n1.5,0,0,0\n", "line 4: expected times in order"),
        ("time_s,x,y,z\n1,nan,0,0\n", "line 2: expected finite numbers"),
        ("time_s,x,y,z\n1,fast,0,0\n", "line 2: expected a number in the column x, got 'fast'"),
    ],
)
def test_a_series_that_cannot_be_used_is_one_sentence(tmp_path: Path, text: str, message: str):
    (tmp_path / "imu.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        rows({"imu": "imu.csv"}, tmp_path)


def test_words_need_a_tokenizer_and_files_must_be_there(tmp_path: Path):
    with pytest.raises(InputError, match=r"row 1: said/words: expected a tokenizer"):
        rows({"said": "hello there"}, tmp_path)
    with pytest.raises(CorpusError, match=r"row 1: front: expected a file, found nothing at .*nothing.mp4"):
        rows({"front": "nothing.mp4"}, tmp_path)
    required = {"imu": msgspec.structs.replace(STREAMS["imu"], required=True)}
    with pytest.raises(CorpusError, match="row 1: expected the stream 'imu', which is required, found nothing"):
        rows({}, tmp_path, required)


def test_what_is_cut_is_noticed(tmp_path: Path):
    write_media(tmp_path / "a.wav", samples=tone(5.0), audio_codec="pcm_s16le")
    np.savez(tmp_path / "a.npz", times_s=np.arange(6), values=np.ones((6, 1)))
    mic = msgspec.structs.replace(STREAMS["mic"], sample_rate_hz=8000, context_s=0.0)
    remarks: list[str] = []
    clip = SampleClip("a", "test", "row 1", None, {"mic": "a.wav", "pulse": "a.npz"}, tmp_path)
    found = sample_rows(clip, {"mic": mic, "pulse": STREAMS["pulse"]}, {}, 3.0, remarks)
    assert {name: len(each) for name, each in found.items()} == {"mic": 6, "pulse": 4}
    assert remarks == ["mic: cut at 3 s", "pulse: cut at 3 s"]
