"""Samples are cut as the runtime cuts live streams, and what does not fit is one sentence."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from taemi_edge.errors import InputError
from taemi_edge.media.chunks import Chunker
from taemi_edge.media.hops import SoundPiece
from taemi_edge.parity.samples import calls_of, encoder_rows, padded_texts, require_known_names
from tests.parity.toy_model import STREAMS, sample


def rows(stream: str, array: object, name: str = "values"):
    return encoder_rows(stream, STREAMS[stream], {f"{stream}/{name}": array}, None)


def test_sound_is_cut_into_chunks_with_their_context():
    sound = np.arange(14, dtype=np.float32)
    found = [row["samples"].tolist() for row in rows("mic", sound, "samples")]
    # chunks of 4: the first has no context, and the last two values are no whole chunk
    assert found == [[0, 1, 2, 3], [0, 1, 2, 3, 4, 5, 6, 7], [4, 5, 6, 7, 8, 9, 10, 11]]


def test_pictures_become_the_clips_that_end_with_each_of_them():
    pictures = np.arange(3, dtype=np.uint8)[:, None, None, None] + np.zeros((3, 2, 3, 3), np.uint8)
    assert [row["pixels"][:, 0, 0, 0].tolist() for row in rows("front", pictures, "pixels")] == [[0, 1], [1, 2]]
    assert len(rows("front", np.stack([pictures[:2]] * 4), "pixels")) == 4


def test_rows_of_numbers_are_encoded_one_by_one_and_series_in_chunks():
    assert [r["values"].shape for r in rows("pulse", np.ones(1))] == [(1,)]
    assert [r["values"].shape for r in rows("pulse", np.ones((3, 1)))] == [(1,)] * 3
    assert [r["values"].shape for r in rows("imu", np.ones((9, 3)))] == [(4, 3)] * 2
    assert rows("imu", np.ones((9, 3)))[0]["values"].dtype == np.float32


def test_masked_tokens_are_left_out_and_an_empty_text_is_missing():
    ids, mask = np.array([5, 6, 0]), np.array([1, 1, 0])
    [row] = encoder_rows("said", STREAMS["said"], {"said/ids": ids, "said/mask": mask}, None)
    assert row["ids"].tolist() == [5, 6]
    assert encoder_rows("said", STREAMS["said"], {"said/ids": ids, "said/mask": 0 * mask}, None) == []
    assert encoder_rows("said", STREAMS["said"], {"said/words": np.array("")}, None) == []


def test_a_stream_that_is_left_out_is_missing():
    assert encoder_rows("imu", STREAMS["imu"], sample(0, without=("imu",)), None) == []


def test_less_than_a_chunk_is_a_missing_stream_as_it_is_for_the_runtime():
    """A sample, a file of a corpus and a live stream agree: nine tenths of a chunk are one, and less is nothing."""
    mic = msgspec.structs.replace(STREAMS["mic"], sample_rate_hz=20, context_s=0.0)  # chunks of ten samples
    for count, chunks in ((8, 0), (9, 1), (10, 1), (18, 1), (19, 2)):
        found = encoder_rows("mic", mic, {"mic/samples": np.ones(count, np.float32)}, None)
        live = Chunker(mic).cut([SoundPiece(0.0, np.ones(count, np.float32))], 60.0)
        assert [row["samples"].tolist() for row in found] == [segment.samples.tolist() for segment in live]
        assert len(found) == chunks
    required = msgspec.structs.replace(mic, required=True)
    with pytest.raises(InputError, match=r"at least a chunk of 10 values \(0.5 s\), because .* required, got 3"):
        encoder_rows("mic", required, {"mic/samples": np.ones(3, np.float32)}, None)


def test_only_equal_neighbours_share_a_batch():
    calls = calls_of(rows("mic", np.zeros(20, np.float32), "samples"), max_rows=3)
    assert [call["samples"].shape for call in calls] == [(1, 4), (3, 8), (1, 8)]
    texts = [{"ids": np.ones(n, np.int32), "mask": np.ones(n, np.int32)} for n in (1, 3)]
    assert padded_texts(texts)["mask"].tolist() == [[1, 0, 0], [1, 1, 1]]


@pytest.mark.parametrize(
    ("stream", "name", "array", "message"),
    [
        ("front", "pixels", np.zeros((3, 2, 3, 3)), r"front/pixels: expected uint8 \(\[N, \]2, 3, 3\), got float64"),
        ("front", "pixels", np.zeros((3, 5, 5, 3), np.uint8), "got uint8 .3, 5, 5, 3"),
        ("front", "pixels", np.zeros((1, 2, 3, 3), np.uint8), "expected at least 2 pictures, got 1"),
        ("mic", "samples", np.full(8, np.nan, np.float32), "expected finite numbers, got NaN"),
        ("imu", "values", np.zeros((8, 2)), r"expected float32 \(N, 3\), got float64 \(8, 2\)"),
        ("pulse", "values", np.array(["a"]), r"expected float32 \(1\) or \(N, 1\)"),
        ("said", "ids", np.ones(7, np.int32), "expected at most 6 tokens, got 7"),
        ("said", "ids", np.ones(3), r"said/ids: expected int32 \(tokens,\)"),
        ("said", "words", np.array("hello"), "expected a tokenizer of said, found none"),
        ("imu", "value", np.zeros((8, 3)), "expected imu/values, got imu/value"),
    ],
)
def test_what_does_not_fit_is_one_sentence(stream: str, name: str, array: object, message: str):
    with pytest.raises(InputError, match=message):
        rows(stream, array, name)


def test_unknown_names_and_missing_required_streams_are_one_sentence():
    with pytest.raises(InputError, match=r"^a.npz: expected names among .*, got 'gps/values'"):
        require_known_names({"gps/values": 1}, STREAMS, None, "a.npz")
    with pytest.raises(InputError, match="got 'label/wind'"):
        require_known_names({"label/wind": 1}, STREAMS, ("door",), "a.npz")
    required = {"imu": msgspec.structs.replace(STREAMS["imu"], required=True)}
    with pytest.raises(InputError, match="expected imu/values, because imu is required, found none"):
        require_known_names({}, required, None, "a.npz")
