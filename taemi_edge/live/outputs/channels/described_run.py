"""What a recording of a run, and whoever watches it in Foxglove, must know of the run: its model, sources and clock.

Names of topics are made here, so that the channels, the layout and whoever reads a recording agree on them:

/SOURCE/inputs/STREAM     what the model was given of a stream
/SOURCE/boxes/STREAM      what of a picture its encoder reads
/SOURCE/hop               what belonged to a hop, and how it was taken
/SOURCE/prediction        the line of `--output`
/SOURCE/outputs/GROUP     the numbers of an output group, for curves
/SOURCE/presence          the state of every stream, its age, and why it is not live
/SOURCE/latency           how long each part took
/events, /load, /model    what happened, in words and as data
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

import taemi_edge
from taemi_edge.bundle.spec import Manifest
from taemi_edge.bundle.streams import TextSpec
from taemi_edge.bundle.training_data import SYNTHETIC_MARK, said_shortly
from taemi_edge.runtime.window import Source

EVENTS, LOAD, MODEL = "/events", "/load", "/model"
#: The name of the metadata record of a recording, and the version of what it says.
METADATA, FORMAT = "taemi-edge", "1"
NS = 1_000_000_000
#: Stamps have 32 bits for seconds since 1970.
_LAST_NS = (1 << 32) * NS - 1
#: Levels that topics of the whole run have.
_TAKEN = frozenset(topic[1:] for topic in (EVENTS, LOAD, MODEL))


@dataclass(frozen=True)
class DescribedRun:
    """A run as its recording describes it.

    Attributes:
        manifest: of the model.
        model_id: which model it is: the first digits of the hash of its manifest.
        window_s, hop_s: how far back a prediction looks and how often one is made, in seconds.
        sources: what is run on, each under its own name.
        start_ns: the wall clock at the beginning of the session, in nanoseconds since 1970.
        live: whether it ran on the clock.
    """

    manifest: Manifest
    model_id: str
    window_s: float
    hop_s: float
    sources: Sequence[Source]
    start_ns: int
    live: bool

    @property
    def title(self) -> str:
        """What viewers see as the name of the run: the model's, with what must be known of its training."""
        return f"{self.manifest.name} ({SYNTHETIC_MARK})" if self.manifest.synthetic else self.manifest.name

    @property
    def levels(self) -> list[str]:
        """What the topics of each source begin with."""
        return topic_levels([source.name for source in self.sources])

    def known_words(self, source: Source) -> list[str]:
        """The text streams whose words are known beforehand."""
        texts = [name for name, spec in self.manifest.streams.items() if isinstance(spec, TextSpec)]
        return [name for name in texts if source.words_of(name)]

    def ns(self, time_s: float) -> int:
        """The wall clock at a moment of the session, in nanoseconds since 1970, as far as messages can say it."""
        return min(max(0, self.start_ns + round(time_s * NS)), _LAST_NS)

    def metadata(self, lossless: bool) -> dict[str, str]:
        """The metadata record of a recording."""
        manifest = self.manifest
        sources = [
            {
                "name": source.name,
                "topic": level,
                "absent": dict(source.absent),
                "known_words": self.known_words(source),
                "drops": [str(drop) for drop in source.drops],
                "patience_s": source.patience_s,
            }
            for source, level in zip(self.sources, self.levels, strict=True)
        ]
        return {
            "format": FORMAT,
            "version": taemi_edge.__version__,
            "model": manifest.name,
            "model_id": self.model_id,
            "window_s": repr(self.window_s),
            "hop_s": repr(self.hop_s),
            "session_start_ns": str(self.start_ns),
            "live": _json(self.live),
            "lossless": _json(lossless),
            "streams": _json(manifest.streams),
            "outputs": _json(manifest.outputs),
            "sources": _json(sources),
            **({"synthetic": "true", "trained_on": said_shortly(manifest.trained_on)} if manifest.synthetic else {}),
        }


def topic_levels(names: Sequence[str]) -> list[str]:
    """A level of a topic for each name: letters, digits and underscores alone, no two alike.

    Example:
        >>> topic_levels(["door cam", "door-cam", "talk.mp4"])
        ['door_cam', 'door_cam_2', 'talk_mp4']
    """
    levels: list[str] = []
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9_]", "_", name) or "_"
        number = 1
        while (level := plain if number == 1 else f"{plain}_{number}") in levels or level in _TAKEN:
            number += 1
        levels.append(level)
    return levels


def channel_metadata(source: str, stream: str = "", kind: str = "") -> dict[str, str]:
    """The metadata of a channel: which source and stream it belongs to, by their own names."""
    said = {"taemi_edge.source": source, "taemi_edge.stream": stream, "taemi_edge.kind": kind}
    return {key: value for key, value in said.items() if value}


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
