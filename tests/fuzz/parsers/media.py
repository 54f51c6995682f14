"""Video and sound, as FFmpeg's demuxers and decoders find them, and as a run reads them."""

from __future__ import annotations

import numpy as np

from taemi_edge.bundle.streams import AudioSpec, PresenceSpec, VideoSpec
from taemi_edge.media.chunks import Chunker
from taemi_edge.media.files import MediaFile
from taemi_edge.media.inputs import CropReader
from tests.fuzz.harness import Harness, as_file
from tests.fuzz.mutation.binary import mutate_media

_PRESENCE = PresenceSpec(stale_after_s=1.0, missing_after_s=2.0, recover_after_s=0.5)
_CAMERA = VideoSpec(feature_dim=4, presence=_PRESENCE, size_hw=(16, 16), frames_per_second=5.0)
_SOUND = AudioSpec(feature_dim=4, presence=_PRESENCE, sample_rate_hz=8000, chunk_s=0.5)
#: A file that claims to last for hours is read for so many hops of half a second.
_MOST_HOPS = 40


def _media(content: bytes) -> None:
    with MediaFile(as_file(content, "talk.bin"), streams={"camera": _CAMERA, "sound": _SOUND}) as media:
        crops, chunks = CropReader(_CAMERA), Chunker(_SOUND)
        for count, hop in enumerate(media.hops(0.5)):
            for crop in crops.crops(iter(hop.pieces["camera"])):
                assert crop.pixels is None or crop.pixels.shape == (16, 16, 3)
            for segment in chunks.cut(hop.pieces["sound"], hop.end_s):
                assert np.isfinite(segment.samples).all()
            if count >= _MOST_HOPS:
                break
        media.rest()


HARNESSES = (Harness("media", _media, mutate_media, share=3),)
