"""Reading one clip: crops, segments and words as the runtime makes them, and remarks on what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from taemi_edge.bundle.folder import Bundle
from taemi_edge.corpora.clip_reading import Reading, read_clip
from taemi_edge.corpora.labelled_clips import Clip
from taemi_edge.errors import MediaError

NOTHING = Clip("00001", "train", (0.0,) * 6, video=None, audio=None, faces=None, transcript=None)


def test_a_clip_becomes_crops_segments_and_words(tiny: Bundle, demo_video: Path, demo_vtt: Path):
    clip = Clip("00001", "train", (0.0,) * 6, video=demo_video, audio=None, faces=None, transcript=demo_vtt)
    whole = read_clip(clip, tiny.manifest.streams["vision"], tiny.manifest.streams["audio"])
    assert any(crop.pixels is not None for crop in whole.crops)
    assert whole.words
    assert whole.remarks == []
    cut = read_clip(clip, tiny.manifest.streams["vision"], tiny.manifest.streams["audio"], Reading(longest_s=2.0))
    assert "cut at 2 s" in cut.remarks
    assert 0 < len(cut.segments) < len(whole.segments)
    assert max(crop.time_s for crop in cut.crops) <= 2.0


def test_a_clip_without_media_is_an_error(tiny: Bundle):
    with pytest.raises(MediaError, match="found none of them"):
        read_clip(NOTHING, tiny.manifest.streams["vision"], tiny.manifest.streams["audio"])


def test_the_notes_say_how_clips_are_read():
    notes = Reading(longest_s=9.0, features={"vision": "vit"}).notes()
    assert notes == {"longest_s": "9", "faces": "detect", "asr": "none", "vision features": "vit"}
