"""Looks at a declared model by running it: which features its encoders give, and whether the head fits them.

What a declaration cannot say, the width of features and whether an encoder gives one vector or steps, is measured on
the model's samples. What does not fit is refused here, before anything is exported.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from taemi_edge.bundle.outputs import OutputSpec
from taemi_edge.bundle.streams import (
    AudioSpec,
    ChunkedSpec,
    MissingSpec,
    PresenceSpec,
    SeriesSpec,
    StreamSpec,
    TextSpec,
    VideoSpec,
)
from taemi_edge.bundle.values import HEAD, Array, TensorSpec
from taemi_edge.errors import ContractError, TaemiError
from taemi_edge.export.contract import Model, OnnxFile, Stream, unwrapped
from taemi_edge.export.declared_outputs import value_problem
from taemi_edge.export.kinds import Audio, Text, Video
from taemi_edge.export.mean_features import mean_feature
from taemi_edge.export.modules import called_in_order
from taemi_edge.export.parts import OnnxPart, Part, Tensors, TorchPart, hint_of
from taemi_edge.export.purity import require_padding_hidden, require_repeatable
from taemi_edge.export.real_feeds import feeds_of_features, feeds_of_rows
from taemi_edge.media.tokens import WordTokenizer
from taemi_edge.parity.samples import Row, calls_of, encoder_rows

#: How many steps of each stream the head is traced with; neighbours differ, so that no length passes for another.
_TRACED_STEPS = (5, 11, 8, 13, 6, 10, 7, 12, 9, 14, 4, 15)
#: How many rows of an encoder's batch are looked at.
_LOOKED_AT = 4
TOKENIZER = "tokenizer.json"
_LENGTHS = (
    ": each stream has a number of steps of its own, and one step where it is missing, so pool each stream for itself, "
    "and declare min_steps and max_steps where the head takes no others"
)


@dataclass(frozen=True, eq=False)
class Inspected:
    """A model whose shapes are known.

    Attributes:
        streams, outputs: for the manifest, by name. What stands for a missing stream has its steps; how the head reads
            it is measured later.
        parts: the encoders by stream, and the head under "fusion".
        inputs, outputs_of: the tensors of each part.
        lengths: the length of every dynamic dimension while a part is traced, by part.
        examples: real inputs of each part, the batch first, by part; see `taemi_edge.export.real_feeds`.
        tokens: what stands for each missing stream, float32 (steps, D).
        tokenizers: the text of tokenizer.json of each stream of text.
        masks: whether the head takes masks.
    """

    streams: dict[str, StreamSpec]
    outputs: dict[str, OutputSpec]
    parts: dict[str, Part]
    inputs: dict[str, Tensors]
    outputs_of: dict[str, Tensors]
    lengths: dict[str, dict[str, int]]
    examples: dict[str, dict[str, Array]]
    tokens: dict[str, Array]
    tokenizers: dict[str, str]
    masks: bool

    def run(self, part: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run a part of the reference: takes its feeds and gives its outputs, both by name.

        Raises:
            ContractError: it fails.
        """
        ordered = {spec.name: feeds[spec.name] for spec in self.inputs[part]}
        try:
            return self.parts[part].run(ordered, self.outputs_of[part])
        except TaemiError as error:
            raise ContractError(f"{_called(part)}: {error}") from error
        except (Exception, SystemExit) as error:  # a part of the user's may raise anything
            raise ContractError(
                f"{_called(part)}: it fails on {_shown(ordered)}: {_said(error)}{hint_of(self.parts[part], ordered)}"
                f"{_LENGTHS if part == HEAD else ''}"
            ) from error


def inspect_model(model: Model, samples: Sequence[Mapping[str, Any]], parts: Mapping[str, Part]) -> Inspected:
    """Run every encoder and the head of a model on its samples.

    Args:
        model: as it was declared.
        samples: its samples, checked.
        parts: its encoders by stream, and its head under "fusion".

    Raises:
        ContractError: an encoder or the head does not give what it should, or a stand-in has the wrong width.
    """
    tokenizers = {n: read_tokenizer(n, s.kind.tokenizer) for n, s in model.streams.items() if isinstance(s.kind, Text)}
    names = list(dict.fromkeys(tokenizers.values()))
    streams: dict[str, StreamSpec] = {}
    inputs: dict[str, Tensors] = {}
    outputs_of: dict[str, Tensors] = {}
    lengths: dict[str, dict[str, int]] = {}
    examples: dict[str, dict[str, Array]] = {}
    tokens: dict[str, Array] = {}
    features: dict[str, Array] = {}
    for name, stream in model.streams.items():
        file = TOKENIZER if name not in tokenizers or names.index(tokenizers[name]) == 0 else f"{name}.{TOKENIZER}"
        draft = _bounded_spec(name, stream, model.hop_s, file)
        rows = _rows(name, draft, samples, tokenizers)
        inputs[name], lengths[name] = encoder_inputs(draft), _traced(draft)
        examples[name] = feeds_of_rows(rows)
        features[name], vector = _features(name, draft, parts[name], inputs[name], rows)
        width = features[name].shape[-1]
        outputs_of[name] = (_encoder_output(inputs[name], vector, width),)
        mean = np.zeros(width, np.float32)
        if stream.missing_kind() == "mean":
            mean = mean_feature(name, draft, parts[name], inputs[name], samples, tokenizers.get(name))
        tokens[name] = _stand_in(name, stream, mean)
        missing = MissingSpec(kind=stream.missing_kind(), steps=len(tokens[name]))
        streams[name] = msgspec.structs.replace(draft, feature_dim=width, missing=missing)
    masks = model.head_takes_masks
    inputs[HEAD], lengths[HEAD] = head_inputs(model, streams, masks)
    examples[HEAD] = feeds_of_features(features)
    outputs = model.output_specs()
    outputs_of[HEAD] = tuple(
        TensorSpec(name=name, dtype="float32", shape=("batch", spec.size)) for name, spec in outputs.items()
    )
    found = Inspected(streams, outputs, dict(parts), inputs, outputs_of, lengths, examples, tokens, tokenizers, masks)
    _require_head(found, features)
    _require_labels(outputs, samples)
    return found


def parts_of(model: Model) -> dict[str, Part]:
    """The encoders of a model by stream, and its head under "fusion", as parts that run and are exported."""
    parts: dict[str, Part] = {}
    for name, stream in model.streams.items():
        given = stream.encoder
        parts[name] = OnnxPart(given) if isinstance(given, OnnxFile) else TorchPart(unwrapped(given), stream.take)
    if isinstance(model.head, OnnxFile):
        parts[HEAD] = OnnxPart(model.head)
    else:
        parts[HEAD] = TorchPart(called_in_order(unwrapped(model.head), model.head_takes))
    return parts


def encoder_inputs(spec: StreamSpec) -> Tensors:
    """The tensors that the encoder of a stream takes; a string in a shape names a dimension that stays dynamic."""
    if isinstance(spec, VideoSpec):
        clip = (spec.clip_frames,) if spec.clip_frames > 1 else ()
        return (TensorSpec(name="pixels", dtype="uint8", shape=("frames", *clip, *spec.size_hw, 3)),)
    if isinstance(spec, TextSpec):
        return tuple(TensorSpec(name=name, dtype="int32", shape=("batch", "tokens")) for name in ("ids", "mask"))
    if isinstance(spec, AudioSpec):
        length: str | int = "samples" if spec.context_s else spec.chunk_samples
        return (TensorSpec(name="samples", dtype="float32", shape=("batch", length)),)
    if not spec.rate_hz:
        return (TensorSpec(name="values", dtype="float32", shape=("batch", spec.channels)),)
    length = "rows" if spec.context_s else spec.chunk_samples
    return (TensorSpec(name="values", dtype="float32", shape=("batch", length, spec.channels)),)


def head_inputs(model: Model, streams: Mapping[str, StreamSpec], masks: bool) -> tuple[Tensors, dict[str, int]]:
    """The tensors that the head takes, in the order of its `forward`, and the lengths that it is traced with."""
    specs: dict[str, TensorSpec] = {}
    lengths = {"batch": 2}
    for index, (name, spec) in enumerate(streams.items()):
        steps: str | int = spec.min_steps if spec.min_steps == spec.max_steps else f"{name}_steps"
        if isinstance(steps, str):
            traced = _TRACED_STEPS[index % len(_TRACED_STEPS)]
            lengths[steps] = max(spec.min_steps, min(traced, spec.max_steps))
        specs[name] = TensorSpec(name=name, dtype="float32", shape=("batch", steps, spec.feature_dim))
        if masks:
            specs[f"{name}_mask"] = TensorSpec(name=f"{name}_mask", dtype="int32", shape=("batch", steps))
    return tuple(specs[name] for name in model.head_takes), lengths


def read_tokenizer(stream: str, given: Any) -> str:
    """The text of a tokenizer.json that was given as a file, a folder, or an object of tokenizers or transformers.

    Raises:
        ContractError: it is none of these, or cannot be read.
    """
    backend = getattr(given, "backend_tokenizer", given)
    if hasattr(backend, "to_str"):
        return str(backend.to_str())
    if isinstance(given, (str, Path)):
        file = Path(given, TOKENIZER) if os.path.isdir(given) else Path(given)
        try:
            text = file.read_text(encoding="utf-8")
            WordTokenizer(text, 2)
        except OSError as error:
            raise ContractError(f"{stream}: expected a tokenizer.json at {given}: {error.strerror}") from error
        except Exception as error:  # tokenizers raises bare Exception
            raise ContractError(f"{stream}: {file} is no tokenizer.json: {str(error)[:200]}") from error
        return text
    raise ContractError(
        f"{stream}: expected a tokenizer as a file, a folder, or an object of tokenizers or transformers (a fast one), "
        f"got a {type(given).__name__}"
    )


def _bounded_spec(name: str, stream: Stream, hop_s: float, tokenizer: str) -> StreamSpec:
    """The stream for a manifest, with a width that is not known yet.

    Raises:
        ContractError: a number of it is larger than a manifest takes.
    """
    try:
        return _spec(stream, hop_s, tokenizer)
    except ValueError as error:
        raise ContractError(f"{name}: {error}") from error


def _spec(stream: Stream, hop_s: float, tokenizer: str) -> StreamSpec:
    kind = stream.kind
    common: dict[str, Any] = {
        "feature_dim": 1,
        "presence": stream.presence or _presence(kind, hop_s),
        "required": stream.required,
        "min_steps": stream.min_steps,
        "max_steps": stream.max_steps,
    }
    if isinstance(kind, Video):
        size_hw = (int(kind.size_hw[0]), int(kind.size_hw[1]))
        rate = float(kind.frames_per_second)
        return VideoSpec(
            **common, size_hw=size_hw, frames_per_second=rate, crop=kind.crop, clip_frames=kind.clip_frames
        )
    if isinstance(kind, Text):
        return TextSpec(**common, max_tokens=kind.max_tokens, tokenizer=tokenizer)
    rate_hz = kind.sample_rate_hz if isinstance(kind, Audio) else kind.rate_hz
    whole = {"chunk_s": round(kind.chunk_s * rate_hz), "context_s": round(kind.context_s * rate_hz)}
    # as long as they are in whole samples: rings and engines have room for as many chunks as a window really has
    chunks: dict[str, Any] = {name: samples / rate_hz if rate_hz else 0.0 for name, samples in whole.items()}
    if isinstance(kind, Audio):
        return AudioSpec(**common, **chunks, sample_rate_hz=kind.sample_rate_hz)
    return SeriesSpec(**common, **chunks, channels=kind.channels, rate_hz=float(kind.rate_hz), max_rows=kind.max_rows)


def _presence(kind: Any, hop_s: float) -> PresenceSpec:
    """When a stream is stale and missing, where the model does not say: after 2.5 and 5 periods, at least .5 and 1.5 s.

    Words are rarer: a speaker pauses for seconds.
    """
    if isinstance(kind, Text):
        return PresenceSpec(stale_after_s=max(2.0, hop_s), missing_after_s=max(4.0, 2 * hop_s), recover_after_s=0.0)
    period_s = 1 / kind.frames_per_second if isinstance(kind, Video) else kind.chunk_s or hop_s
    return PresenceSpec(
        stale_after_s=max(0.5, 2.5 * period_s), missing_after_s=max(1.5, 5 * period_s), recover_after_s=0.5
    )


def _traced(spec: StreamSpec) -> dict[str, int]:
    """The length of each dynamic dimension while an encoder is traced."""
    if isinstance(spec, VideoSpec):
        return {"frames": 2}
    if isinstance(spec, TextSpec):
        return {"batch": 2, "tokens": min(7, spec.max_tokens)}
    if isinstance(spec, ChunkedSpec) and spec.context_s:
        whole = spec.chunk_samples + spec.context_samples
        return {"batch": 2, "samples" if isinstance(spec, AudioSpec) else "rows": whole}
    return {"batch": 2}


def _rows(
    name: str, spec: StreamSpec, samples: Sequence[Mapping[str, Any]], tokenizers: Mapping[str, str]
) -> list[Row]:
    """The first rows of an encoder's batch that the samples hold."""
    tokenizer = WordTokenizer(tokenizers[name], spec.max_tokens) if isinstance(spec, TextSpec) else None
    rows: list[Row] = []
    for index, sample in enumerate(samples):
        rows += encoder_rows(name, spec, sample, tokenizer, f"sample {index}")
        if len(rows) >= _LOOKED_AT:
            break
    if not rows:
        wanted = f"fills a chunk of {spec.chunk_samples}" if isinstance(spec, ChunkedSpec) else "has data"
        key = f"{name}/{encoder_inputs(spec)[0].name}"
        raise ContractError(f"{key}: expected at least one sample that {wanted}, got none")
    return rows[:_LOOKED_AT]


def _features(name: str, spec: StreamSpec, part: Part, inputs: Tensors, rows: Sequence[Row]) -> tuple[Array, bool]:
    """All feature vectors of some rows, float32 (n, D), and whether the encoder gives one vector for an input."""
    wanted = (TensorSpec(name="features", dtype="float32", shape=("batch",)),)
    shapes: set[tuple[int, int]] = set()
    found: list[Array] = []
    for feeds in calls_of(rows):
        try:
            given = part.run({tensor.name: feeds[tensor.name] for tensor in inputs}, wanted)["features"]
        except TaemiError as error:
            raise ContractError(f"{name}: {error}") from error
        except (Exception, SystemExit) as error:  # an encoder of the user's may raise anything
            raise ContractError(
                f"{name}: the encoder fails on {_shown(feeds)}: {_said(error)}{hint_of(part, feeds)}"
            ) from error
        batch = len(next(iter(feeds.values())))
        if given.ndim not in (2, 3) or len(given) != batch or given.dtype != np.float32:
            raise ContractError(
                f"{name}: expected an encoder that gives float32 ({batch}, D) or ({batch}, steps, D), got "
                f"{given.dtype} {given.shape}"
            )
        if not given.size:
            raise ContractError(f"{name}: expected at least one step and one number of an encoder, got {given.shape}")
        if not np.isfinite(given).all():
            raise ContractError(f"{name}: the encoder gives NaN or infinity for a sample")
        shapes.add((given.ndim, given.shape[-1]))
        found.append(given.reshape(-1, given.shape[-1]))
    if len(shapes) > 1:
        raise ContractError(f"{name}: expected one rank and width at all lengths, got {sorted(shapes)}")
    [(rank, _)] = shapes
    require_repeatable(name, lambda given: part.run(given, wanted), {t.name: feeds[t.name] for t in inputs})
    if isinstance(spec, TextSpec):
        require_padding_hidden(name, lambda given: part.run(given, wanted), {t.name: feeds[t.name] for t in inputs})
    by_itself = isinstance(spec, VideoSpec) or (isinstance(spec, SeriesSpec) and not spec.rate_hz)
    if rank == 3 and by_itself:
        raise ContractError(f"{name}: expected one vector (batch, D) for an input, got steps: pool them in the encoder")
    return np.concatenate(found), rank == 2


def _encoder_output(inputs: Tensors, vector: bool, width: int) -> TensorSpec:
    batch = inputs[0].shape[0]
    steps = "tokens" if inputs[0].name == "ids" else "steps"
    shape = (batch, width) if vector else (batch, steps, width)
    return TensorSpec(name="features", dtype="float32", shape=shape)


def _stand_in(name: str, stream: Stream, otherwise: Array) -> Array:
    """What is bound where the stream is missing, float32 (steps, D): what was declared, or else a vector (D,)."""
    given = stream.stand_in
    if given is None:
        return np.repeat(otherwise[None], stream.repeats, axis=0)
    if given.shape[1] != len(otherwise):
        raise ContractError(
            f"{name}: expected `missing` as wide as the encoder's features, {len(otherwise)}, got {given.shape[1]}"
        )
    return given


def _require_head(found: Inspected, features: Mapping[str, Array]) -> None:
    """Run the head on the features of the samples; refuse what does not give the declared outputs."""
    feeds: dict[str, Array] = {}
    for name, spec in found.streams.items():
        steps = max(spec.min_steps, min(3, spec.max_steps))
        feeds[name] = np.resize(features[name], (2, steps, spec.feature_dim)).astype(np.float32)
        if found.masks:
            feeds[f"{name}_mask"] = np.ones((2, steps), np.int32)
    given = found.run(HEAD, feeds)
    for name, output in found.outputs.items():
        value = given[name]
        if value.shape != (2, output.size) or value.dtype != np.float32:
            raise ContractError(
                f"head: expected {name} as float32 (batch, {output.size}), one for each of its names, got "
                f"{value.dtype} {value.shape} for a batch of 2"
            )
        if not np.isfinite(value).all():
            raise ContractError(f"head: {name} is NaN or infinite for the features of a sample")
        if problem := value_problem(output, value):
            raise ContractError(f"head: {name}: {problem}")
    require_repeatable("head", lambda given: found.run(HEAD, given), feeds)


def _require_labels(outputs: Mapping[str, OutputSpec], samples: Sequence[Mapping[str, Any]]) -> None:
    """Labels are one number for each name, or, of classes that exclude each other, the number of the class."""
    for index, sample in enumerate(samples):
        for name, output in outputs.items():
            label = sample.get(f"label/{name}")
            if label is None:
                continue
            value = np.asarray(label)
            is_class = value.ndim == 0 and getattr(output, "exclusive", False) and float(value) in range(output.size)
            if not is_class and value.shape != (output.size,):
                raise ContractError(
                    f"sample {index}: expected label/{name} to fit the {output.size} names of {name}, got "
                    f"{value.tolist()!r:.60}"
                )


def _called(part: str) -> str:
    return "head" if part == HEAD else part


def _shown(feeds: Mapping[str, Array]) -> str:
    return ", ".join(f"{name} {value.dtype} {value.shape}" for name, value in feeds.items())


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
