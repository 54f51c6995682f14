"""A prediction: what the model gave for a window, and what it rests on."""

from __future__ import annotations

from typing import Literal

import msgspec

from taemi_edge.runtime.presence import State


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """One line of output: six intensities with what they rest on.

    `status` is "no signal" where all three tokens were bound: the intensities are then the model's prior.
    `reason` says why a stream is not live. `age_ms` is the age of a stream's newest data, null where it is missing.
    `latency_ms` holds each part's own time (of the call that it was batched into, where sources share one), `face`
    (detection and crop) and `total`, the wall time of the hop. `backend` is where it was made: "cpu", "cuda",
    "tensorrt", or "tensorrt+graph" where a CUDA graph was replayed.
    """

    source: str
    time_s: float
    window_s: tuple[float, float]
    intensities: dict[str, float]
    presence: dict[str, State]
    age_ms: dict[str, float | None]
    latency_ms: dict[str, float]
    reason: dict[str, str]
    status: Literal["ok", "no signal"]
    backend: str = "cpu"

    def to_json(self) -> str:
        """One line, without the line end."""
        return msgspec.json.encode(self).decode()
