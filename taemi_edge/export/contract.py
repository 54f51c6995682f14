"""The contract of a model: what an engineer declares so that everything behind it works.

A `Model` has streams, each with an encoder, and a head that reads the features of all streams. It is declared once, in
Python or in a TOML file that names ONNX files, and validated when it is made: every mistake is one sentence.

The head's `forward` takes the features of each stream under the stream's name, float32 (batch, steps, D), and, if it
wants them, a mask for each, int32 (batch, steps), under NAME_mask: all masks or none. An encoder that gives one vector
for an input gives one step. What a mistake in the shapes is can only be seen when the model runs;
`taemi_edge.export.inspection` looks at that.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec
import numpy as np

from taemi_edge.bundle.card_record import ModelCard
from taemi_edge.bundle.limits import LEAST_HOP_S, MOST_WINDOW_S
from taemi_edge.bundle.names import LATER_PREDICTION_FIELDS, model_name_problem, names_problem
from taemi_edge.bundle.outputs import OutputSpec
from taemi_edge.bundle.streams import PresenceSpec
from taemi_edge.bundle.values import END_TO_END, HEAD, Array, Tolerance
from taemi_edge.errors import ContractError, UsageError
from taemi_edge.export.declared_numbers import require_count, require_positive
from taemi_edge.export.declared_outputs import Classes, Regression
from taemi_edge.export.guarded import run_guarded
from taemi_edge.export.kinds import Audio, Kind, Series, Text, Video
from taemi_edge.export.samples import Sample, checked_sample
from taemi_edge.parity.judge import Judge

if TYPE_CHECKING:
    from torch import nn

#: Judges predictions: takes what the model gave and what is true, by output where there are several.
Metric: TypeAlias = Callable[[Any, Any], float]


@dataclass(frozen=True, eq=False)
class OnnxFile:
    """An encoder or a head that exists as an ONNX file already.

    Args:
        file: the ONNX file; its opset is 17 or later.
        inputs: the contract's name of an input by the file's own name, where they differ, such as
            {"input_ids": "ids", "attention_mask": "mask"}.
        output: which of its outputs holds the features; the first one by default.
        outputs: of a head: the contract's name of an output by the file's own name, where they differ.

    Example:
        >>> OnnxFile("export/taemi-tiny/text.onnx").input_names()
        ('ids', 'mask')
    """

    file: Path | str
    inputs: Mapping[str, str] = field(default_factory=dict)
    output: str | None = None
    outputs: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for what, names in (("inputs", self.inputs), ("outputs", self.outputs)):
            if not isinstance(names, Mapping) or not all(isinstance(name, str) for name in names.values()):
                raise ContractError(f"{self.file}: expected {what} as names by the file's own names, got {names!r:.60}")
            if len(set(names.values())) < len(names):
                raise ContractError(f"{self.file}: expected {what} with a name of its own for each, got {names!r:.80}")
        if not (self.output is None or isinstance(self.output, str)):
            raise ContractError(f"{self.file}: expected output as a name, got {self.output!r:.60}")
        if not os.path.isfile(self.file):
            raise ContractError(f"{self.file}: expected an ONNX file, found nothing there")

    def input_names(self) -> tuple[str, ...]:
        """The contract's names of the file's inputs, in the file's order.

        Raises:
            ContractError: it is no ONNX file.
        """
        import onnx

        try:
            graph = onnx.load(str(self.file), load_external_data=False).graph
        except Exception as error:  # protobuf raises its own classes, and onnx others
            raise ContractError(f"{self.file}: expected an ONNX file: {str(error)[:100]}") from error
        weights = {tensor.name for tensor in graph.initializer}
        names = [tensor.name for tensor in graph.input if tensor.name not in weights]
        if unknown := sorted(set(self.inputs) - set(names)):
            raise ContractError(f"{self.file}: expected inputs among {', '.join(names)}, got {unknown[0]!r}")
        return tuple(self.inputs.get(name, name) for name in names)


@dataclass(frozen=True, eq=False)
class Stream:
    """One stream of a model: of which kind it is, what encodes it, and what stands for it when it is missing.

    Args:
        kind: a `Video`, `Audio`, `Text` or `Series`.
        encoder: a module whose `forward` takes the kind's inputs in their order, or an `OnnxFile`. It gives features,
            float32 (batch, D) or (batch, steps, D), and is a pure function of its input.
        missing: what training showed the head in place of a missing stream: a vector (D,) or steps (T, D), "zeros",
            "mean" for the mean feature over the samples, or "mask" for zeros that the mask hides.
        required: whether there is no prediction without this stream.
        take: which part of the encoder's output holds the features, where it gives more than a tensor: a name such as
            "last_hidden_state", an index, or a function of the output.
        min_steps: the fewest steps that the head takes of this stream.
        max_steps: the most steps that it takes.
        tile: how often a `missing` of one step is repeated when it is bound: the length that training showed. Where
            it is left out, export measures whether the head is blind to the length: one step if it is, else as many
            as an ordinary window of the samples has.
        presence: when the stream is stale, missing, and back; by default what suits the rate of the kind.

    Example:
        >>> import torch
        >>> Stream(Series(channels=6), torch.nn.Linear(6, 4), missing=[0.0, 1.0, 0.0, 0.0], tile=2).stand_in.shape
        (2, 4)
    """

    kind: Kind
    encoder: nn.Module | OnnxFile
    missing: Literal["zeros", "mean", "mask"] | Any = "zeros"
    required: bool = False
    take: str | int | Callable[[Any], Any] | None = None
    min_steps: int = 1
    max_steps: int = 4096
    tile: int | None = None
    presence: PresenceSpec | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.kind, (Video, Audio, Text, Series)):
            raise ContractError(f"expected a Video, Audio, Text or Series as the kind of a stream, got {self.kind!r}")
        if not (isinstance(self.encoder, OnnxFile) or callable(getattr(self.encoder, "forward", None))):
            raise ContractError(f"expected an nn.Module or an OnnxFile as encoder, got a {type(self.encoder).__name__}")
        if not isinstance(self.required, bool):
            raise ContractError(f"expected required as True or False, got {self.required!r:.60}")
        if not (self.presence is None or isinstance(self.presence, PresenceSpec)):
            raise ContractError(f"expected presence as a PresenceSpec, got {self.presence!r}")
        require_count("min_steps", self.min_steps)
        require_count("max_steps", self.max_steps)
        if self.tile is not None:
            require_count("tile", self.tile)
        steps = self.repeats if self.stand_in is None else len(self.stand_in)
        if steps < self.min_steps:
            raise ContractError(
                f"expected missing of at least min_steps = {self.min_steps} steps, got {steps}: a vector is repeated "
                f"with tile={self.min_steps}"
            )
        if self.max_steps < self.min_steps:
            raise ContractError(f"expected max_steps >= min_steps, got {self.max_steps!r} and {self.min_steps!r}")
        if isinstance(self.missing, str):
            if self.missing not in ("zeros", "mean", "mask"):
                raise ContractError(
                    f"expected missing to be a vector (D,), steps (T, D), 'zeros', 'mean' or 'mask', got "
                    f"{self.missing!r}"
                )
        elif self.stand_in is None or not np.isfinite(self.stand_in).all():
            raise ContractError("expected missing as finite numbers (D,) or (T, D), got something else")

    @property
    def stand_in(self) -> Array | None:
        """What is bound at first, float32 (T, D): the given numbers, repeated; None where `missing` is a word."""
        given = self._given
        if given is None or len(given) > 1:
            return given
        return np.repeat(given, self.repeats, axis=0)

    @property
    def length_is_open(self) -> bool:
        """Whether export chooses the length of the stand-in: it has one step, and no `tile` is declared."""
        return self.tile is None and (self._given is None or len(self._given) == 1)

    @property
    def _given(self) -> Array | None:
        """The given numbers, float32 (T, D); None where `missing` is a word, or no numbers of that shape."""
        if isinstance(self.missing, str):
            return None
        detach = getattr(self.missing, "detach", None)
        try:
            given = np.asarray(detach().cpu().numpy() if detach else self.missing, np.float32)
        except (TypeError, ValueError):
            return None
        if given.ndim not in (1, 2) or not given.size:
            return None
        steps: Array = given[None] if given.ndim == 1 else given
        return steps

    @property
    def repeats(self) -> int:
        """How often a stand-in of one step is repeated before anything is measured."""
        return self.tile or self.min_steps

    def missing_kind(self) -> Literal["learned", "zeros", "mean", "mask"]:
        """How a manifest calls what stands for the stream."""
        return self.missing if isinstance(self.missing, str) else "learned"  # type: ignore[return-value]


@dataclass(frozen=True, eq=False)
class Model:
    """A trained model, as everything behind the export needs to know it.

    Args:
        streams: by name. A name is a Python identifier; `taemi_edge.bundle.names` tells which are taken.
        head: a module whose `forward` takes the streams by name, and a mask for each or for none; or an `OnnxFile`.
            It gives a tensor (batch, n), or several by name or in the order of `outputs`.
        outputs: by name.
        samples: recorded inputs, a list or a function that gives one. Each is a dict of "STREAM/INPUT" without batch
            axis; a stream that is left out is missing. Golden feeds are made of them.
        window_s: how far back a prediction looks, in seconds.
        hop_s: every how many seconds a prediction is made.
        metric: judges the model: a name of `taemi_edge.parity.metrics`, or a function of predicted and true values.
        tolerances: how far artefacts may be from this model, by part, and under "end_to_end" for the whole way. Those
            that are not given follow from how large the values are that the model gives, each output by itself.
        name: what the bundle is called; by default after its folder.
        patterns: further sets of live streams that are checked, where there are more than six streams.
        trained_on: what the model was trained on, in words. A model of synthetic data is marked wherever it predicts.
        card: what the model's card shall say of its use, its limits and its licence.

    Raises:
        ContractError: a mistake in the declaration, in one sentence.

    Example:
        >>> import taemi_edge as te, torch
        >>> class Head(torch.nn.Module):
        ...     def forward(self, imu, imu_mask):
        ...         return imu.mean(1)[:, :2]
        >>> model = te.Model(
        ...     streams={"imu": te.Stream(te.Series(channels=6), torch.nn.Linear(6, 4))},
        ...     head=Head(), outputs={"state": te.Classes(["still", "moving"])},
        ...     samples=[{"imu/values": [0.0] * 6}], window_s=1.0, hop_s=0.5)
        >>> model.head_takes_masks
        True
    """

    streams: Mapping[str, Stream]
    head: nn.Module | OnnxFile
    outputs: Mapping[str, Regression | Classes]
    samples: Iterable[Sample] | Callable[[], Iterable[Sample]]
    window_s: float
    hop_s: float
    metric: str | Metric | None = None
    tolerances: Mapping[str, Tolerance | Mapping[str, float]] | None = None
    name: str = ""
    patterns: Sequence[Iterable[str]] = ()
    trained_on: str = ""
    card: ModelCard | None = None

    def __post_init__(self) -> None:
        _require_named(self.streams, Stream, "stream")
        _require_named(self.outputs, (Regression, Classes), "output")
        if not isinstance(self.name, str) or not isinstance(self.trained_on, str):
            raise ContractError(f"expected name and trained_on as words, got {self.name!r} and {self.trained_on!r}")
        if taken := [name for name in self.outputs if name in LATER_PREDICTION_FIELDS]:
            raise ContractError(f"output: expected another name than {taken[0]!r}, which predictions use themselves")
        if self.card is not None and not isinstance(self.card, ModelCard):
            raise ContractError(f"expected card as a taemi_edge.ModelCard, got {self.card!r:.60}")
        if problem := names_problem(self.streams, self.outputs) or model_name_problem(self.name):
            raise ContractError(problem)
        require_positive("window_s", self.window_s)
        if not isinstance(self.hop_s, (int, float)) or not 0 < self.hop_s <= self.window_s:
            raise ContractError(f"expected 0 < hop_s <= window_s, got {self.hop_s!r} and {self.window_s!r}")
        if self.hop_s < LEAST_HOP_S:
            raise ContractError(f"expected hop_s from {LEAST_HOP_S:g} seconds, got {self.hop_s!r}")
        if self.window_s > MOST_WINDOW_S:
            raise ContractError(f"expected window_s of up to {MOST_WINDOW_S:g} seconds, got {self.window_s!r}")
        for pattern in self.patterns:
            if unknown := sorted(set(pattern) - set(self.streams)):
                raise ContractError(f"expected patterns of {', '.join(self.streams)}, got {unknown[0]!r}")
        self._require_metrics()
        self.given_tolerances()
        self._require_signature()

    @property
    def head_takes(self) -> tuple[str, ...]:
        """The streams and masks that the head takes, in the order of its `forward` or of its graph."""
        return tuple(_head_arguments(self.head, self.streams))

    @property
    def head_takes_masks(self) -> bool:
        """Whether the head takes a mask for each stream."""
        return any(name.endswith("_mask") for name in self.head_takes)

    def output_specs(self) -> dict[str, OutputSpec]:
        """The outputs for a manifest, by name."""
        specs = {}
        for name, output in self.outputs.items():
            try:
                specs[name] = output.spec()
            except (ValueError, TypeError) as error:
                raise ContractError(f"output {name!r}: {error}") from error
        return specs

    def given_tolerances(self) -> dict[str, Tolerance]:
        """The tolerances that the model declares, by part; those of other parts are chosen at export."""
        parts = (*self.streams, HEAD, END_TO_END)
        given: dict[str, Tolerance] = {}
        for part, tolerance in (self.tolerances or {}).items():
            if part not in parts:
                raise ContractError(f"expected tolerances of {', '.join(parts)}, got {part!r}")
            try:
                given[part] = found = msgspec.convert(msgspec.to_builtins(tolerance), Tolerance)
            except msgspec.ValidationError as error:
                raise ContractError(f"tolerances of {part}: expected max_abs and cosine: {error}") from error
            if not (0 <= found.max_abs < float("inf") and -1 <= found.cosine <= 1):
                raise ContractError(
                    f"tolerances of {part}: expected max_abs from 0 and cosine from -1 to 1, got {found.max_abs} and "
                    f"{found.cosine}"
                )
            names = tuple(self.outputs) if part in (HEAD, END_TO_END) else ("features",)
            if unknown := sorted(set(given[part].outputs or ()) - set(names)):
                raise ContractError(f"tolerances of {part}: expected outputs {', '.join(names)}, got {unknown[0]!r}")
        return given

    def read_samples(self) -> list[dict[str, Any]]:
        """The samples as arrays, each checked: streams and inputs that exist, and every stream that is required.

        Raises:
            ContractError: there is none, or one is wrong.
        """
        source = self.samples
        given = run_guarded(lambda: list(source() if callable(source) else source), "samples", "reading them raised")
        if not given:
            raise ContractError("expected at least one sample to make golden feeds of, got none")
        samples = [checked_sample(index, sample, self.streams, self.outputs) for index, sample in enumerate(given)]
        for name in self.streams:
            if not any(key.startswith(f"{name}/") for sample in samples for key in sample):
                raise ContractError(f"expected at least one sample with the stream {name!r}, got none")
        return samples

    def _require_metrics(self) -> None:
        """The model's metric, and those of its outputs, must be known and fit."""
        if not (self.metric is None or isinstance(self.metric, str) or callable(self.metric)):
            raise ContractError(f"expected metric as a name or a function of predicted and true, got {self.metric!r}")
        try:
            Judge(self.output_specs(), self.metric or _unjudged)
        except UsageError as error:
            raise ContractError(f"metric: {error}") from error

    def _require_signature(self) -> None:
        """The head's arguments must be the streams, and a mask for each of them or for none."""
        takes = _head_arguments(self.head, self.streams)
        masks = {name for name in takes if name.endswith("_mask") and name.removesuffix("_mask") in self.streams}
        if unknown := [name for name in takes if name not in self.streams and name not in masks]:
            raise ContractError(
                f"head: expected forward({', '.join(self.streams)}) or the same with NAME_mask, got the argument "
                f"{unknown[0]!r}, which is no stream"
            )
        if lacking := [name for name in self.streams if name not in takes]:
            raise ContractError(
                f"head: expected forward to take the stream {lacking[0]!r}, "
                f"got {', '.join(takes) or 'no named arguments'}"
            )
        if masks and (unmasked := [name for name in self.streams if f"{name}_mask" not in masks]):
            raise ContractError(f"head: expected a mask for every stream or for none, got none for {unmasked[0]!r}")
        if not masks and (hidden := [n for n, s in self.streams.items() if s.missing_kind() == "mask"]):
            raise ContractError(f"stream {hidden[0]!r}: expected a head with masks for missing='mask', got one without")


def unwrapped(module: Any) -> Any:
    """The module inside of `DataParallel`, `DistributedDataParallel` and `torch.compile`: it computes the same."""
    inner = {"DataParallel": "module", "DistributedDataParallel": "module", "OptimizedModule": "_orig_mod"}
    while name := inner.get(type(module).__name__):
        module = getattr(module, name)
    return module


def _unjudged(predicted: Any, true: Any) -> None:
    """Stands for a metric where only those of the outputs are looked at."""


def _head_arguments(head: Any, streams: Iterable[str]) -> list[str]:
    """The names that the head's `forward`, or its graph, takes."""
    if isinstance(head, OnnxFile):
        return list(head.input_names())
    forward = getattr(unwrapped(head), "forward", None)
    if not callable(forward):
        raise ContractError(f"expected an nn.Module or an OnnxFile as head, got a {type(head).__name__}")
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    found = inspect.signature(forward).parameters.values()
    optional = {p.name for p in found if p.default is not inspect.Parameter.empty}
    wanted = {*streams, *(f"{name}_mask" for name in streams)}
    return [p.name for p in found if p.kind in named and (p.name in wanted or p.name not in optional)]


def _require_named(given: Any, of: type | tuple[type, ...], what: str) -> None:
    if not isinstance(given, Mapping) or not given:
        raise ContractError(f"expected at least one {what} by name, got {given!r:.60}")
    for name, value in given.items():
        if not isinstance(value, of):
            kinds = " or ".join(k.__name__ for k in (of if isinstance(of, tuple) else (of,)))
            raise ContractError(f"{what} {name!r}: expected a {kinds}, got a {type(value).__name__}")
