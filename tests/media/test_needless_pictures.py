"""Pictures that nobody wants are left out, and all others are what they are without that."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from taemi_edge.media.files import MediaFile
from taemi_edge.media.needless_pictures import NeedlessPictures
from tests.media import damage_middle, tone

RATE, PICTURES = 25, 90


def write_video(file: Path, codec: str = "libx264", rate: int = RATE, **options: str) -> Path:
    """A square that moves over noise, with a tone, with B-frames where the codec has them."""
    noise = np.random.default_rng(0).integers(0, 60, (96, 128, 3), np.uint8)
    with av.open(str(file), "w") as writer:
        video = writer.add_stream(codec, rate=rate, options=options)
        video.width, video.height, video.pix_fmt = 128, 96, "yuv420p"
        sound = writer.add_stream("aac", rate=16_000, layout="mono")
        for number in range(PICTURES):
            picture = noise.copy()
            picture[20:50, number : number + 30] = 220
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, rate)
            writer.mux(video.encode(frame))
        samples = av.AudioFrame.from_ndarray(tone(PICTURES / rate)[None].astype(np.float32), "fltp", "mono")
        samples.sample_rate = 16_000
        writer.mux(sound.encode(samples))
        for stream in (video, sound):
            writer.mux(stream.encode(None))
    return file


def read(file: Path, rate: float | None, lean: bool):
    """The times and pictures of all hops, where the hops end, the sound, and how long the file was."""
    with MediaFile(file, 16_000, rate, lean=lean) as media:
        hops = [*media.hops(0.5)]
        hops.append(media.rest())
        frames = [frame for hop in hops for frame in hop.frames]
        sound = [piece.values for hop in hops for piece in hop.sound]
        ends = [hop.end_s for hop in hops]
        return [f.time_s for f in frames], [f.image for f in frames], ends, np.concatenate(sound), media.length_s


@pytest.fixture
def left_out(monkeypatch) -> list[float]:
    """The times of the pictures that were left out, as files are read."""
    times: list[float] = []
    passed = NeedlessPictures.passed

    def noting(self, until_s):
        for time_s in passed(self, until_s):
            times.append(time_s)
            yield time_s

    monkeypatch.setattr(NeedlessPictures, "passed", noting)
    return times


@pytest.mark.parametrize("rate", [1.0, 5.0, 7.3, 12.5, 25.0])
@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_the_frames_that_are_wanted_are_the_same(tmp_path, left_out, name: str, rate: float):
    file = write_video(tmp_path / name, bf="3")
    expected, got = read(file, rate, lean=False), read(file, rate, lean=True)
    assert got[0] == expected[0]
    assert got[2] == expected[2]
    assert got[4] == expected[4]
    assert all(np.array_equal(a, b) for a, b in zip(got[1], expected[1], strict=True))
    assert np.array_equal(got[3], expected[3])
    assert len(left_out) > PICTURES / 4 if rate <= 7.3 else rate < 25 or not left_out


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("clip.ts", "libx264", {"bf": "3"}),  # a packet may be half a picture
        ("clip.mp4", "mpeg4", {"bf": "2"}),  # another codec
    ],
)
def test_what_is_not_known_to_be_needless_is_decoded(tmp_path, left_out, name: str, codec: str, options):
    file = write_video(tmp_path / name, codec, **options)
    expected, got = read(file, 5.0, lean=False), read(file, 5.0, lean=True)
    assert got[0] == expected[0]
    assert not left_out
    assert all(np.array_equal(a, b) for a, b in zip(got[1], expected[1], strict=True))


def test_without_b_frames_nothing_is_lost(tmp_path):
    file = write_video(tmp_path / "clip.mp4", bf="0")
    expected, got = read(file, 5.0, lean=False), read(file, 5.0, lean=True)
    assert got[0] == expected[0]
    assert got[4] == expected[4]


def test_all_frames_are_given_where_all_are_wanted(tmp_path, left_out):
    file = write_video(tmp_path / "clip.mp4", bf="3")
    assert len(read(file, None, lean=True)[0]) == PICTURES
    assert not left_out


def test_a_damaged_file_is_read_to_its_end(tmp_path):
    file = damage_middle(write_video(tmp_path / "whole.mp4", bf="3", g="12"), tmp_path / "clip.mp4")
    assert read(file, 5.0, lean=True)[4] == pytest.approx(read(file, 5.0, lean=False)[4], abs=0.1)
