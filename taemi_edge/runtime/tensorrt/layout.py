"""The sizes of everything that the TensorRT executor keeps on the GPU: rings, feature buffers and call limits.

Nothing is allocated here; `buffers` does that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from taemi_edge.bundle.spec import MODALITIES, Manifest, Modality
from taemi_edge.bundle.values import Array
from taemi_edge.runtime.kinds import count_steps, ring_capacity
from taemi_edge.runtime.rings import StepCounts
from taemi_edge.runtime.tensorrt.engine import Engine
from taemi_edge.runtime.work import Layout

#: The dimension of each encoder's inputs that grows with the batch.
_BATCH_DIMENSIONS: dict[Modality, str] = {"vision": "frames", "audio": "batch", "text": "batch"}

Rows = TypeVar("Rows", int, Array)


@dataclass(frozen=True, eq=False)
class DeviceLayout:
    """The sizes that are fixed while an executor is open.

    Attributes:
        manifest: of the bundle.
        sources: how many sources share the executor.
        steps: how many feature vectors the audio encoder gives.
        capacity: how many rows of each stream's ring one source writes.
        most: how many frames, chunks of sound and texts fit into one call.
    """

    manifest: Manifest
    sources: int
    steps: StepCounts
    capacity: Mapping[Modality, int]
    most: Mapping[Modality, int]

    def ring_rows(self, modality: Modality) -> int:
        """How many rows of a ring one source has.

        Where several sources share a call, each has one row more at the end: it holds the missing-stream token.
        """
        return self.capacity[modality] + (self.sources > 1)

    def row(self, source: int, modality: Modality, row: Rows) -> Rows:
        """Turn a row of one source's ring into a row of all rings."""
        return source * self.ring_rows(modality) + row

    def dim(self, modality: Modality) -> int:
        """The length of one feature vector."""
        return self.manifest.streams[modality].feature_dim

    def most_rows(self, modality: Modality) -> int:
        """How many feature vectors one call of an encoder gives at most."""
        if modality == "audio":
            return self.most["audio"] * max(self.steps.encoded(samples) for samples in self.steps.lengths)
        return self.most[modality] * (self.most_tokens if modality == "text" else 1)

    @property
    def most_tokens(self) -> int:
        """How many tokens a text has at most."""
        return self.manifest.text.max_tokens

    def fusion_shapes(self, live: frozenset[Modality]) -> dict[str, tuple[int, ...]]:
        """The fusion head's input shapes: whole rings (sources, rows, D) of live streams, one token (sources, 1, D) of
        the others, and their masks (sources, rows).
        """
        shapes: dict[str, tuple[int, ...]] = {}
        for m in MODALITIES:
            shapes[m] = (self.sources, self.ring_rows(m) if m in live else 1, self.dim(m))
            shapes[f"{m}_mask"] = shapes[m][:2]
        return shapes


def layout_on_device(manifest: Manifest, layout: Layout, engines: Mapping[str, Engine]) -> DeviceLayout:
    """The sizes for these sources and windows on these engines.

    Args:
        engines: by part.
    """
    counts = count_steps(manifest, lambda stream, samples: _step_counter(engines[stream])(samples))
    steps, capacity = counts["audio"], ring_capacity(manifest, layout.window_s, counts)
    most = {m: engines[m].span(dimension)[1] for m, dimension in _BATCH_DIMENSIONS.items()}
    return DeviceLayout(manifest, layout.sources, steps, capacity, most)


def _step_counter(audio: Engine) -> Callable[[int], int]:
    def count(samples: int) -> int:
        shape: tuple[int, ...] = audio.bind({"samples": (1, samples)}).shapes["features"]
        return shape[1]

    return count
