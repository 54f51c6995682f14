"""A prediction: the outputs that the model gave for a window, and the presence of the streams behind them."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from taemi_edge.runtime.presence import State

#: "no signal": every stream was replaced by what stands for it. "no prediction": a required stream is missing.
Status = Literal["ok", "no signal", "no prediction"]
#: Lines of JSON have these fields only where they say something.
ONLY_WHERE_SET = ("degraded", "model_id", "synthetic", "trained_on")


class Degraded(msgspec.Struct, frozen=True, kw_only=True):
    """What a live run leaves out because its machine cannot carry all.

    Attributes:
        frames_share: the share of the frames that encoders run on.
        hop_s: the time between two predictions, in seconds.
        reason: what took too long.
    """

    frames_share: float
    hop_s: float
    reason: str


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """One line of output.

    Attributes:
        source: the name of the source.
        time_s: the end of the window, in seconds on the source's clock.
        window_s: where the window begins and ends.
        outputs: what the model gave, by group of outputs: numbers by name, or the best class and the probabilities.
            A group is an attribute as well: `prediction.outputs["intensities"]` is `prediction.intensities`. None for
            each group where there is no prediction.
        presence: live, stale, missing or recovering, by stream.
        age_ms: the age of each stream's newest data; None where it is missing.
        latency_ms: each part's own time (of the call that it was batched into, where sources share one), `face`
            (detection and crop, of models that look at faces) and `total`, the wall time of the hop. 0 where a part did
            not run; None where it ran and was not timed, as in most hops on TensorRT. `total` is always there.
        reason: why a stream is not live, by stream.
        status: "no signal" where every stream was replaced by what stands for it: the outputs are then the model's
            prior. "no prediction" where a stream is missing that the model requires; `reason` says why.
        backend: where it was made: "cpu", "cuda", "tensorrt", or "tensorrt+graph" where a CUDA graph was replayed.
        model_id: which model made it, as twelve hexadecimal digits, in a live run that follows a link to its bundle; ""
            elsewhere, and then the line has no such field.
        synthetic: whether the model was trained on synthetic data. Lines have this field, and `trained_on`, only where
            it was; an output of the model that is called so keeps its name.
        trained_on: on what, in up to 200 characters; "" where it was not.
        degraded: what a live run leaves out for want of time; None, and not in JSON, where it leaves out nothing.

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
    outputs: dict[str, dict[str, Any] | None]
    presence: dict[str, State]
    age_ms: dict[str, float | None]
    latency_ms: dict[str, float | None]
    reason: dict[str, str]
    status: Status
    backend: str = "cpu"
    model_id: str = ""
    degraded: Degraded | None = None
    synthetic: bool = False
    trained_on: str = ""

    def __getattr__(self, name: str) -> Any:
        """A group of outputs by its name."""
        if not name.startswith("_") and name in self.outputs:
            return self.outputs[name]
        raise AttributeError(f"expected a field of a prediction, or one of its outputs, got {name!r}")

    def to_json(self) -> str:
        """One line, without the line end: each group of outputs stands under its own name, after `window_s`."""
        line: dict[str, Any] = {}
        for field in self.__struct_fields__:
            if field == "outputs":
                line.update(self.outputs)
            elif field in ONLY_WHERE_SET:
                if (value := getattr(self, field)) and field not in self.outputs:
                    line[field] = value
            else:
                line[field] = getattr(self, field)
        return msgspec.json.encode(line).decode()
