"""Recordings of robots: MCAP files, bags of ROS 2 and ROS 1, and the streams of a model that are read from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from taemi_edge.bundle.streams import PresenceSpec, SeriesSpec, StreamSpec, TextSpec, VideoSpec
from taemi_edge.errors import TaemiError
from taemi_edge.media.recordings.opening import open_recording
from taemi_edge.media.recordings.recorded_streams import RecordingSource
from taemi_edge.media.recordings.topic_map import read_map_file
from tests.fuzz.harness import Harness, as_file
from tests.fuzz.mutation.plain import mutate_text

_PRESENCE = PresenceSpec(stale_after_s=1.0, missing_after_s=2.0, recover_after_s=0.5)
STREAMS: dict[str, StreamSpec] = {
    "eye": VideoSpec(feature_dim=4, presence=_PRESENCE, size_hw=(16, 16), frames_per_second=5.0),
    "wrist": SeriesSpec(feature_dim=4, presence=_PRESENCE, channels=6, rate_hz=50.0, chunk_s=0.5),
    "talk": TextSpec(feature_dim=4, presence=_PRESENCE, max_tokens=16),
}
#: A file of a few kilobytes may say that it lasts for hours: so many hops are looked at.
_MOST_HOPS = 200


def _recording(ending: str) -> Callable[[bytes], object]:
    def read(content: bytes) -> None:
        file = as_file(content, f"drive{ending}")
        with open_recording(file) as recording:
            held = 0
            for message in recording.messages(recording.topics):
                assert message.topic in recording.topics
                held += len(message.data)
            assert held <= 1 << 28
            _lines(recording.notes)
        with RecordingSource(file, STREAMS) as source:
            before_s = 0.0
            for hop, _ in zip(source.hops(0.5), range(_MOST_HOPS), strict=False):
                for piece in hop.pieces.get("wrist", []):
                    assert piece.times_s[0] >= before_s - 1e-6
                    assert (np.diff(piece.times_s) >= 0).all()
                    before_s = piece.times_s[-1]
            _lines(source.notes)

    return read


def _lines(notes: Sequence[str]) -> None:
    """Notes are lines that can be shown."""
    for note in notes:
        assert len(note) < 4000
        assert str(TaemiError(note)).isprintable()


def _map(content: bytes) -> None:
    for name, topic in read_map_file(as_file(content, "robot.toml")).items():
        assert isinstance(name, str)
        assert topic


HARNESSES = (
    Harness("mcap", _recording(".mcap"), None, share=2, needs=("mcap", "rosbags")),
    Harness("bag-sqlite", _recording(".db3"), None, share=0.5, needs=("rosbags",), most_bytes=131_072),
    Harness("bag-ros1", _recording(".bag"), None, share=0.5, needs=("rosbags",)),
    Harness("topic-map", _map, mutate_text, share=0.2, needs=("rosbags",)),
)
