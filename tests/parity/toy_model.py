"""A model of every kind of stream, in numpy: what golden cases need of a reference, and nothing that a device lacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from taemi_edge.bundle.outputs import ClassesSpec, OutputSpec, RegressionSpec
from taemi_edge.bundle.spec import HeadSpec
from taemi_edge.bundle.streams import (
    AudioSpec,
    MissingSpec,
    PresenceSpec,
    SeriesSpec,
    StreamSpec,
    TextSpec,
    VideoSpec,
)
from taemi_edge.bundle.values import Tolerance
from taemi_edge.parity.artefact import Artefact
from taemi_edge.parity.golden import ModelSpecs
from taemi_edge.parity.sample_cases import make_cases
from taemi_edge.parity.windows import Features

DIM = 4
TIMES = PresenceSpec(stale_after_s=1.0, missing_after_s=2.0, recover_after_s=0.5)
HIDDEN = MissingSpec(kind="mask")

STREAMS: dict[str, StreamSpec] = {
    "front": VideoSpec(feature_dim=DIM, presence=TIMES, size_hw=(2, 3), frames_per_second=5.0, clip_frames=2),
    "mic": AudioSpec(feature_dim=DIM, presence=TIMES, sample_rate_hz=8, chunk_s=0.5, context_s=0.5),
    "said": TextSpec(feature_dim=DIM, presence=TIMES, max_tokens=6),
    "imu": SeriesSpec(feature_dim=DIM, presence=TIMES, channels=3, rate_hz=4.0, chunk_s=1.0, missing=HIDDEN),
    "pulse": SeriesSpec(feature_dim=DIM, presence=TIMES, channels=1, missing=MissingSpec(steps=2)),
}
SPECS = ModelSpecs(STREAMS, window_s=2.0)
TOKENS = {
    name: np.full((spec.missing.steps, DIM), 0.1 * i, np.float32) for i, (name, spec) in enumerate(STREAMS.items())
}


def without_masks(specs: ModelSpecs) -> ModelSpecs:
    return replace(specs, head=HeadSpec(masks=False))


@dataclass
class ToyModel:
    """Encoders that give one step for each value of a chunk (or one vector), and a head that averages under its mask.

    `positions` weighs each step by its place, as a recurrence does.
    """

    positions: bool = False
    calls: int = 0

    def run(self, part: str, feeds: Mapping[str, Any]) -> dict[str, Any]:
        self.calls += 1
        if part != "fusion":
            values = next(iter(feeds.values())).astype(np.float32) / (255 if part == "front" else 1)
            flat = values.reshape(*values.shape[:2], -1).mean(-1) if values.ndim > 2 else values
            if part in ("front", "pulse"):  # one vector for each clip or row
                return {"features": np.repeat(flat.mean(1)[:, None], DIM, 1).astype(np.float32)}
            return {"features": np.repeat(flat[..., None], DIM, 2).astype(np.float32)}
        total = np.zeros(len(next(iter(feeds.values()))))
        for number, (name, features) in enumerate(feeds.items()):
            if name.endswith("_mask"):
                continue
            weight = feeds.get(f"{name}_mask", np.ones(features.shape[:2])).astype(np.float64)
            if self.positions:
                weight = weight * 0.9 ** np.arange(weight.shape[1])
            share = weight / np.maximum(weight.sum(1, keepdims=True), 1e-9) if not self.positions else weight
            total += (number + 1) * np.einsum("bt,btd->b", share, features.astype(np.float64))
        tilt = np.sin(total)
        return {
            "mood": np.stack([np.tanh(total), np.cos(total)], 1).astype(np.float32),
            "door": np.stack([tilt, -tilt, 0 * tilt], 1).astype(np.float32),
        }


def sample(seed: int, *, steps: int = 3, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """One window: `steps` chunks, pictures and rows of numbers."""
    rng = np.random.default_rng(seed)
    arrays = {
        "front/pixels": rng.integers(0, 255, (steps + 1, 2, 3, 3), dtype=np.uint8),
        "mic/samples": rng.standard_normal(4 * steps).astype(np.float32),
        "said/ids": np.arange(1, steps + 1, dtype=np.int32),
        "imu/values": rng.standard_normal((4 * steps, 3)).astype(np.float32),
        "pulse/values": rng.standard_normal((steps, 1)),
    }
    return {name: value for name, value in arrays.items() if name.partition("/")[0] not in without}


OUTPUTS: dict[str, OutputSpec] = {
    "mood": RegressionSpec(names=("valence", "arousal")),
    "door": ClassesSpec(names=("open", "shut", "ajar")),
}


def toy_artefact(source: str) -> Artefact | None:
    """What a guest gives for the source "toy"."""
    if source != "toy":
        return None
    model = ToyModel()
    return Artefact(
        name="toy",
        is_bundle=False,
        run=model.run,
        specs=SPECS,
        outputs=OUTPUTS,
        metric="macro_f1",
        tokens=TOKENS,
        tokenizers={},
        tolerances={part: Tolerance(max_abs=1e-5, cosine=0.99) for part in (*STREAMS, "fusion")},
        trained_on="nothing",
        cases=lambda: make_cases(SPECS, {}, model.run, TOKENS, [sample(0), sample(1, steps=5)]),
        weights_sha256=lambda: dict.fromkeys(STREAMS, "0"),
    )


def features_of(steps: int) -> Features:
    return {name: np.ones((steps, DIM), np.float32) for name in STREAMS}
