"""Streams of each kind, for tests that need no model."""

from __future__ import annotations

from taemi_edge.bundle.streams import AudioSpec, PresenceSpec, SeriesSpec, TextSpec, VideoSpec

PRESENCE = PresenceSpec(stale_after_s=1.0, missing_after_s=2.0, recover_after_s=0.5)
SERIES = SeriesSpec(feature_dim=4, channels=6, presence=PRESENCE)
CAMERA = VideoSpec(feature_dim=4, presence=PRESENCE, size_hw=(8, 8), frames_per_second=5.0)
MICROPHONE = AudioSpec(feature_dim=4, presence=PRESENCE, sample_rate_hz=16_000, chunk_s=1.0)
WORDS = TextSpec(feature_dim=4, presence=PRESENCE, max_tokens=16)
