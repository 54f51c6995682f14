"""What a bundle promises: tensors, parts, modalities and tolerances as frozen, validated data; no I/O here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Modality = Literal["vision", "audio", "text"]
Part = Literal["vision", "audio", "text", "fusion"]

Precision = Literal["fp32", "fp16", "int8"]
#: A precision as a graph writes it: "int8" is Q/DQ in FP32, "int8-fp16" the same in strongly typed FP16.
Flavour = Literal["fp32", "fp16", "int8", "int8-fp16"]

FLAVOURS: tuple[Flavour, ...] = ("fp32", "fp16", "int8", "int8-fp16")
MODALITIES: tuple[Modality, ...] = ("vision", "audio", "text")
PARTS: tuple[Part, ...] = ("vision", "audio", "text", "fusion")
#: The six intensities in the order of the model's output (Hume-Vidmimic2; arXiv 2603.14976).
EMOTIONS = ("admiration", "amusement", "determination", "empathic_pain", "excitement", "joy")
#: All eight sets of live streams, the complete one first.
PRESENCE_PATTERNS: tuple[frozenset[Modality], ...] = tuple(
    frozenset(m for m, bit in zip(MODALITIES, (4, 2, 1), strict=True) if code & bit) for code in range(7, -1, -1)
)
SCHEMA = 1


def pattern_name(pattern: frozenset[Modality]) -> str:
    """`vision+text` for a set of live streams, `none` for the empty one."""
    return "+".join(m for m in MODALITIES if m in pattern) or "none"


def lost_name(pattern: str) -> str:
    """What a `pattern_name` means for who lost something: `no audio` for vision+text, `text only`, `no signal`.

    >>> lost_name("vision+text")
    'no audio'
    """
    left = [] if pattern == "none" else pattern.split("+")
    lost = [m for m in MODALITIES if m not in left]
    if not lost:
        return "all streams"
    return f"no {lost[0]}" if len(lost) == 1 else f"{left[0]} only" if left else "no signal"


class Frozen(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Immutable data whose types and unknown keys are checked when it is read from JSON or TOML."""


class TensorSpec(Frozen, frozen=True):
    """One input or output: name, dtype and shape, where a string names a dynamic dimension."""

    name: str
    dtype: Literal["uint8", "int32", "int64", "float16", "float32"]
    shape: tuple[int | str, ...]

    def mismatch(self, array: Array) -> str | None:
        """Why `array` may not be fed here, in words; None where it may.

        >>> TensorSpec(name="pixels", dtype="uint8", shape=("frames", 2, 2, 3)).mismatch(np.zeros((1, 2, 2), np.uint8))
        'pixels: expected uint8 (frames, 2, 2, 3), got uint8 (1, 2, 2)'
        """
        fits = len(array.shape) == len(self.shape) and all(
            size > 0 if isinstance(want, str) else size == want
            for want, size in zip(self.shape, array.shape, strict=True)
        )
        if fits and array.dtype == np.dtype(self.dtype):
            return None
        want = ", ".join(str(d) for d in self.shape)
        got = ", ".join(str(d) for d in array.shape)
        return f"{self.name}: expected {self.dtype} ({want}), got {array.dtype} ({got})"


class PartSpec(Frozen, frozen=True):
    """One of the four networks of a bundle: its file and its seams."""

    file: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    precision: Precision
    opset: int
    parameters: int

    def feed_problems(self, feeds: Mapping[str, Array]) -> list[str]:
        """Everything that is wrong with a set of feeds: unknown and missing names, dtypes and shapes."""
        known = {spec.name: spec for spec in self.inputs}
        problems = [f"unknown input {name!r}, expected {', '.join(known)}" for name in feeds if name not in known]
        for name, spec in known.items():
            problem = f"missing input {name!r}" if name not in feeds else spec.mismatch(feeds[name])
            problems += [problem] if problem else []
        return problems


class PresenceSpec(Frozen, frozen=True):
    """When a stream counts as stale, missing and recovered, in seconds without (or with) data."""

    stale_after_s: float
    missing_after_s: float
    recover_after_s: float

    def __post_init__(self) -> None:
        if not 0 < self.stale_after_s <= self.missing_after_s:
            raise ValueError(
                f"expected 0 < stale_after_s <= missing_after_s, got {self.stale_after_s} and {self.missing_after_s}"
            )
        if self.recover_after_s < 0:
            raise ValueError(f"expected recover_after_s >= 0, got {self.recover_after_s}")


class VisionSpec(Frozen, frozen=True):
    """Face crops: `size_hw` pixels, `frames_per_second` of them, one feature vector each."""

    feature_dim: int
    size_hw: tuple[int, int]
    frames_per_second: float
    presence: PresenceSpec

    def __post_init__(self) -> None:
        if self.frames_per_second <= 0:
            raise ValueError(f"expected frames_per_second > 0, got {self.frames_per_second}")


class AudioSpec(Frozen, frozen=True):
    """Mono PCM in chunks of `chunk_s` seconds, each encoded with `context_s` seconds before it."""

    feature_dim: int
    sample_rate_hz: int
    chunk_s: float
    context_s: float
    presence: PresenceSpec

    def __post_init__(self) -> None:
        if self.chunk_s <= 0 or self.context_s < 0:
            raise ValueError(f"expected chunk_s > 0 and context_s >= 0, got {self.chunk_s} and {self.context_s}")

    @property
    def chunk_samples(self) -> int:
        return round(self.chunk_s * self.sample_rate_hz)

    @property
    def context_samples(self) -> int:
        return round(self.context_s * self.sample_rate_hz)


class TextSpec(Frozen, frozen=True):
    """The window's words as at most `max_tokens` token ids."""

    feature_dim: int
    max_tokens: int
    presence: PresenceSpec


class WindowSpec(Frozen, frozen=True):
    """How far back a prediction looks and how often one is made, in seconds."""

    length_s: float
    hop_s: float

    def __post_init__(self) -> None:
        if not 0 < self.hop_s <= self.length_s:
            raise ValueError(f"expected 0 < hop_s <= length_s, got {self.hop_s} and {self.length_s}")


class Tolerance(Frozen, frozen=True):
    """How far a part may be from PyTorch: absolute error of its largest output, cosine, Pearson."""

    max_abs: float
    cosine: float
    pearson: float | None = None


class PartTolerances(Frozen, frozen=True):
    """One tolerance a part, and one for the whole way from raw inputs to intensities (the fusion's by default)."""

    vision: Tolerance
    audio: Tolerance
    text: Tolerance
    fusion: Tolerance
    end_to_end: Tolerance | None = None

    def of(self, part: str) -> Tolerance:
        tolerance: Tolerance = getattr(self, part)
        return tolerance


class Parts(Frozen, frozen=True):
    """The four networks."""

    vision: PartSpec
    audio: PartSpec
    text: PartSpec
    fusion: PartSpec

    def of(self, part: str) -> PartSpec:
        spec: PartSpec = getattr(self, part)
        return spec


class Closeness(Frozen, frozen=True):
    """How near a part is to itself in FP32, over all clips.

    `pearson` is over all output values (of the fusion head: over all clips and presence patterns, the worst emotion);
    `cosine` and `min_cosine` are of single feature vectors: mean and worst.
    """

    pearson: float | None
    max_abs: float
    p99_abs: float
    cosine: float
    min_cosine: float
    #: Mean Pearson of intensities with labels, every other part in FP32; None where it is undefined.
    mean_pearson: float | None


class CalibrationRecord(Frozen, frozen=True):
    """How a calibrated bundle was made, and what its precisions cost on clips that had no part in making it.

    `closeness` is by part and flavour; `mean_pearson` on labels by precision, all four parts in it.
    """

    data: str
    synthetic: bool
    quantiser: str
    clips: int
    held_out: int
    patterns: tuple[str, ...]
    recipe: str
    recipe_sha256: str
    ranges_sha256: str
    methods: dict[str, str]
    #: How many tensors of a part took which strength of SmoothQuant ("none" without).
    alphas: dict[str, dict[str, int]]
    #: Mean error of what a part's layers give, on the rows that chose ranges and alphas and on rows that did not.
    layer_error: dict[str, tuple[float, float]]
    excluded: dict[str, dict[str, str]]
    islands: dict[str, int]
    closeness: dict[str, dict[str, Closeness]]
    mean_pearson: dict[str, float | None]
    seconds: float


class Candidate(Frozen, frozen=True):
    """One precision of one part on one target: how fast it was, and why it was kept or not.

    `median_ms` is of the usual shape, None where it was not timed.
    """

    part: Part
    precision: Precision
    median_ms: float | None
    p95_ms: float | None
    bytes: int
    build_s: float
    kept: bool
    reason: str


class StageVerdict(Frozen, frozen=True):
    """What parity on the golden feeds gave for a part, or for the whole way."""

    stage: str
    ok: bool
    cases: int
    max_abs: float
    cosine: float
    pearson: float | None


class EngineRecord(Frozen, frozen=True):
    """What an engine bundle was built for, by what, from what, and whether parity held.

    `machine` and `tensorrt` (or ONNX Runtime's version) are what it may run on; `verification` is empty and `failure`
    says why where parity could not be run.
    """

    target: str
    backend: str
    library: str
    machine: dict[str, str]
    source: str
    asked: str
    #: The target as it was when the engines were built, whatever `--set` changed.
    recipe: dict[str, Any]
    flags: dict[str, str]
    build_key: str
    part_keys: dict[str, str]
    candidates: tuple[Candidate, ...]
    verification: tuple[StageVerdict, ...] = ()
    failure: str = ""


class Provenance(Frozen, frozen=True):
    """Where a bundle comes from."""

    made_by: str
    made_at: str
    source: str
    recipe_sha256: str
    versions: dict[str, str]
    weights: dict[str, str]
    #: Of each encoder's weights as PyTorch had them: what a feature store is recognised by.
    encoder_sha256: dict[str, str] = msgspec.field(default_factory=dict)


class Manifest(Frozen, frozen=True):
    """`manifest.json`: everything that a runtime must know of a bundle, and the hash of each of its files."""

    schema: int
    name: str
    trained: bool
    parts: Parts
    vision: VisionSpec
    audio: AudioSpec
    text: TextSpec
    window: WindowSpec
    tolerances: PartTolerances
    provenance: Provenance
    sha256: dict[str, str]
    #: What the fusion head was trained on, in words; empty where it was not.
    trained_on: str = ""
    #: Further graphs of each part by flavour, where there are any: what `build-engine` chooses from.
    graphs: dict[str, dict[Flavour, str]] = msgspec.field(default_factory=dict)
    #: The tolerances of each precision that `graphs` offers.
    tolerances_by: dict[Precision, PartTolerances] = msgspec.field(default_factory=dict)
    calibration: CalibrationRecord | None = None
    #: Of an engine bundle: whether parity held on this device after building. None where nothing was built.
    verified: bool | None = None
    engine: EngineRecord | None = None

    def graph_file(self, part: str, flavour: Flavour) -> str | None:
        """The file of a part's graph in a flavour, None where the bundle has none."""
        main = self.parts.of(part)
        if part not in self.graphs and main.precision == flavour and main.file.endswith(".onnx"):
            return main.file
        return self.graphs.get(part, {}).get(flavour)

    def tolerances_of(self, precision: Precision) -> PartTolerances:
        """What a precision is held to; the bundle's own where nothing else is said."""
        return self.tolerances_by.get(precision, self.tolerances)

    def presence_of(self, modality: str) -> PresenceSpec:
        spec: VisionSpec | AudioSpec | TextSpec = getattr(self, modality)
        return spec.presence

    def feature_dim_of(self, modality: str) -> int:
        spec: VisionSpec | AudioSpec | TextSpec = getattr(self, modality)
        return spec.feature_dim
