"""Frozen and black pictures and digital silence are losses."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from taemi_edge.live.capture.settings import WatchSettings
from taemi_edge.media.content_checks import ContentLimits, ContentWatch, PictureCheck, SoundCheck
from taemi_edge.media.hops import Frame, Hop
from tests.live.frames import frame, sound

SETTINGS = WatchSettings()


def test_a_frozen_picture_counts_for_a_while_and_then_is_a_loss():
    check, still = PictureCheck(SETTINGS), frame(0.0)
    reasons = []
    for index in range(20):
        usable, reason = check.usable([Frame(index * 0.2, still.picture)])
        assert bool(usable) == (reason is None)
        reasons.append(reason)
    assert reasons[:8] == [None] * 8  # its first frame is no repetition
    assert reasons[9:] == ["frozen picture"] * 11
    assert check.usable([frame(4.0)])[1] is None  # it moves again


def test_all_pixels_of_a_small_picture_are_compared():
    """A thermal camera has 8 x 8 of them, of whole degrees: one that changes shows that it lives."""
    check = PictureCheck(SETTINGS)
    for index in range(20):
        picture = np.full((8, 8, 3), 120, np.uint8)
        picture[5, 6] = 121 + index % 2
        assert check.usable([Frame(index * 0.2, picture)])[1] is None


def test_what_is_known_of_a_loss_is_said_before_what_is_seen():
    """As in live sources."""
    watch, still = ContentWatch(ContentLimits()), frame(0.0)
    for index in range(12):
        hop = watch.checked(Hop(index * 0.5, {"eye": [Frame(index * 0.5, still.picture)]}, losses={"eye": "unplugged"}))
    assert hop.losses == {"eye": "unplugged"}


def test_a_black_picture_and_digital_silence_are_losses_after_a_while():
    pictures, sounds = PictureCheck(SETTINGS), SoundCheck(SETTINGS)
    problems = [pictures.usable([frame(i * 0.2, value=8)])[1] for i in range(12)]
    assert problems[:7] == [None] * 7
    assert problems[8:] == ["black picture"] * 4
    problems = [sounds.usable([sound(i * 0.1, 1e-6)])[1] for i in range(20)]
    assert problems[:15] == [None] * 15
    assert problems[16:] == ["digital silence"] * 4
    assert sounds.usable([sound(2.0, 0.001)])[1] is None  # a quiet room is not silent


@given(levels=st.lists(st.sampled_from([0.0, 1e-6, 0.01]), max_size=60))
def test_silence_is_never_told_before_its_time(levels: list[float]):
    check, quiet = SoundCheck(SETTINGS), 0
    for index, level in enumerate(levels):
        quiet = quiet + 1 if level < 1e-4 else 0
        _, reason = check.usable([sound(index * 0.1, level)])
        assert (reason is not None) == (quiet > round(SETTINGS.silent_after_s / 0.1))


def test_a_picture_that_cannot_be_converted_is_a_loss_and_no_failure():
    class Strange:
        def to_ndarray(self, **_: object) -> None:
            raise ValueError("conversion from p010be is not supported")

    frames, reason = PictureCheck(SETTINGS).usable([frame(0.0), Frame(0.2, Strange())])
    assert [f.time_s for f in frames] == [0.0]
    assert reason == "its picture cannot be converted"


def test_files_and_live_sources_have_one_rule():
    assert ContentLimits() == ContentLimits(SETTINGS.frozen_after_s, SETTINGS.black_after_s, SETTINGS.silent_after_s)


def test_a_stream_is_lost_until_something_good_comes_of_it():
    watch, words = ContentWatch(ContentLimits()), ["a word"]
    still = frame(0.0)
    found = []
    for index in range(8):
        end_s = (index + 1) * 0.5
        pieces = {
            "eye": [Frame(end_s - 0.25, still.picture), Frame(end_s - 0.01, still.picture)],
            "ear": [sound(end_s - 0.5, 0.0), sound(end_s - 0.25, 0.0)] if index != 5 else [],
            "say": words,
        }
        hop = watch.checked(Hop(end_s, pieces, {"imu": "NaN"}, {"imu": "gone"}))
        assert (hop.pieces["say"], hop.faults, hop.losses["imu"]) == (words, {"imu": "NaN"}, "gone")
        assert hop.pieces["eye"] or "eye" in hop.losses
        found.append((hop.losses.get("eye"), hop.losses.get("ear")))
    assert found[0] == (None, None)
    assert found[-1] == ("frozen picture", "digital silence")
    assert found[5] == found[4] == ("frozen picture", "digital silence")  # nothing came, so nothing good
    back = watch.checked(Hop(4.5, {"eye": [frame(4.4, value=90)], "ear": [sound(4.2, 0.1)]}))
    assert back.losses == {}
