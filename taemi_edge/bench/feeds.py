"""The inputs of the benchmark, taken from a bundle's golden feeds.

They are the feeds of each part at any batch, and one whole window of a clip, each with the output that PyTorch gave.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.spec import MODALITIES, Modality
from taemi_edge.bundle.streams import pattern_name
from taemi_edge.bundle.values import Array, end_to_end_tolerance
from taemi_edge.media.chunks import kept_steps
from taemi_edge.parity.golden import WINDOW, Case, load_cases, window_calls

#: "hop": only what came since the last prediction is encoded. "window": everything is encoded, as a script does that
#: keeps no features.
WindowKind = Literal["hop", "window"]
#: The golden case of each part that is tiled to a batch.
_TILED = {"vision": "largest batch", "audio": "largest batch", "text": "typical length", "fusion": WINDOW}


@dataclass(frozen=True, eq=False)
class BenchWindow:
    """One window of a clip.

    Attributes:
        pixels: face crops, uint8 (frames, H, W, 3).
        samples: chunks of sound with their context, float32 (chunks, samples).
        ids: tokens of the text, int32 (T,).
        new_frames, new_chunks: how many frames and chunks came with the last hop.
        expected: the intensities (6,) that PyTorch gave in FP32, by the name of the presence pattern.
        tolerance: the largest error of an intensity that parity allows.
    """

    pixels: Array
    samples: Array
    ids: Array
    new_frames: int
    new_chunks: int
    expected: Mapping[str, Array]
    tolerance: float

    def kept(self, encoded_steps: int, chunk_samples: int) -> int:
        """How many of a chunk's encoded steps are its own; its context comes before them.

        Args:
            encoded_steps: how many steps the encoder gave for a chunk with its context.
            chunk_samples: samples of a chunk without its context.
        """
        return kept_steps(chunk_samples, self.samples.shape[1], encoded_steps)

    def encoded_before(self, kind: WindowKind) -> tuple[int, int]:
        """How many frames and chunks a run of this kind finds encoded already."""
        if kind == "window":
            return 0, 0
        return len(self.pixels) - self.new_frames, len(self.samples) - self.new_chunks


class Feeds:
    """The golden feeds of a bundle: the frames, sound and words of a clip."""

    def __init__(self, bundle: Bundle) -> None:
        self._cases = load_cases(bundle.golden_file)
        self._manifest = bundle.manifest

    def part(self, part: str, batch: int) -> tuple[dict[str, Array], Array]:
        """A part's feeds at a batch, and the output that PyTorch gave for them."""
        case = self._case(part, _TILED[part])
        [expected] = (case.expected or {}).values()
        return {name: _tiled(value, batch) for name, value in case.feeds.items()}, _tiled(expected, batch)

    def window(self) -> BenchWindow:
        """The window of the golden feeds; its last frames and its last chunk came with the last hop."""
        calls = window_calls(self._cases, WINDOW, self._manifest.streams)
        inputs = {name: feeds[0] for name, feeds in calls.items()}
        manifest, hop_s = self._manifest, self._manifest.window.hop_s
        expected = {
            pattern_name(case.pattern): (case.expected or {})["intensities"][0]
            for case in self._cases
            if case.part == "fusion" and case.name == WINDOW and case.pattern is not None
        }
        tolerances = manifest.tolerances
        return BenchWindow(
            pixels=inputs["vision"]["pixels"],
            samples=inputs["audio"]["samples"],
            ids=inputs["text"]["ids"][0],
            new_frames=math.ceil(hop_s * manifest.vision.frames_per_second),
            new_chunks=max(1, round(hop_s / manifest.audio.chunk_s)),
            expected=expected,
            tolerance=end_to_end_tolerance(tolerances).max_abs,
        )

    def _case(self, part: str, name: str) -> Case:
        return next(
            case
            for case in self._cases
            if case.part == part
            and case.name == name
            and (case.pattern is None or len(case.pattern) == len(MODALITIES))
        )


def lost_in(pattern: frozenset[Modality]) -> list[Modality]:
    """The streams that a pattern lacks."""
    return [m for m in MODALITIES if m not in pattern]


def _tiled(values: Array, batch: int) -> Array:
    times = -(-batch // len(values))
    return np.ascontiguousarray(np.tile(values, (times, *[1] * (values.ndim - 1)))[:batch])
