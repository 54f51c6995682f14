"""A prediction: the intensities that the model gave for a window, and the presence of the streams behind them."""

from __future__ import annotations

from typing import Literal

import msgspec

from taemi_edge.runtime.presence import State


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """One line of output.

    Attributes:
        source: the name of the source.
        time_s: the end of the window, in seconds on the source's clock.
        window_s: where the window begins and ends.
        intensities: six numbers in [0, 1], by emotion.
        presence: live, stale, missing or recovering, by stream.
        age_ms: the age of each stream's newest data; None where it is missing.
        latency_ms: each part's own time (of the call that it was batched into, where sources share one), `face`
            (detection and crop) and `total`, the wall time of the hop.
        reason: why a stream is not live, by stream.
        status: "no signal" where every stream was replaced by its token: the intensities are then the model's prior.
        backend: where it was made: "cpu", "cuda", "tensorrt", or "tensorrt+graph" where a CUDA graph was replayed.

    Example:
        >>> import taemi_edge as te
        >>> with te.load("export/taemi-tiny") as model:
        ...     prediction = model.predict(text="so it is")
        >>> prediction.status, prediction.window_s, list(prediction.intensities)[:2]
        ('ok', (-4.0, 0.0), ['admiration', 'amusement'])
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
