"""The data of a bundle as frozen, validated classes. Nothing here reads or writes a file: `folder.py` does."""

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
#: How a graph is written: "int8" has Q/DQ pairs among FP32, "int8-fp16" has them among strongly typed FP16.
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
    """Give the name of a set of live streams; the empty set is `none`.

    >>> pattern_name(frozenset({"text", "vision"}))
    'vision+text'
    """
    return "+".join(m for m in MODALITIES if m in pattern) or "none"


def lost_name(pattern: str) -> str:
    """Say in words which streams a `pattern_name` lacks: `no audio`, `text only` or `no signal`.

    >>> lost_name("vision+text")
    'no audio'
    """
    left = [] if pattern == "none" else pattern.split("+")
    lost = [m for m in MODALITIES if m not in left]
    if not lost:
        return "all streams"
    return f"no {lost[0]}" if len(lost) == 1 else f"{left[0]} only" if left else "no signal"


class Frozen(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Immutable data. Types are checked and unknown keys are refused when it is read from JSON or TOML."""


class TensorSpec(Frozen, frozen=True):
    """One input or output of a part. A string in its shape names a dynamic dimension."""

    name: str
    dtype: Literal["uint8", "int32", "int64", "float16", "float32"]
    shape: tuple[int | str, ...]

    def mismatch(self, array: Array) -> str | None:
        """Say in words why `array` does not fit this input; None where it fits.

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
    """One of the four networks of a bundle.

    Attributes:
        file: its name in the bundle's folder.
        inputs, outputs: the tensors that it takes and gives.
        parameters: how many weights it has.
    """

    file: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    precision: Precision
    opset: int
    parameters: int

    def feed_problems(self, feeds: Mapping[str, Array]) -> list[str]:
        """List everything that is wrong with a set of feeds: unknown and missing names, wrong dtypes and shapes."""
        known = {spec.name: spec for spec in self.inputs}
        problems = [f"unknown input {name!r}, expected {', '.join(known)}" for name in feeds if name not in known]
        for name, spec in known.items():
            problem = f"missing input {name!r}" if name not in feeds else spec.mismatch(feeds[name])
            problems += [problem] if problem else []
        return problems


class PresenceSpec(Frozen, frozen=True):
    """When a stream is stale and missing (seconds without data), and when it has recovered (seconds with data)."""

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
    """Face crops of `size_hw` pixels at `frames_per_second`; the encoder makes one feature vector of each."""

    feature_dim: int
    size_hw: tuple[int, int]
    frames_per_second: float
    presence: PresenceSpec

    def __post_init__(self) -> None:
        if self.frames_per_second <= 0:
            raise ValueError(f"expected frames_per_second > 0, got {self.frames_per_second}")


class AudioSpec(Frozen, frozen=True):
    """Mono PCM in chunks of `chunk_s` seconds. Each is encoded together with the `context_s` seconds before it."""

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
        """The length of a chunk in samples."""
        return round(self.chunk_s * self.sample_rate_hz)

    @property
    def context_samples(self) -> int:
        """The length of the context before a chunk in samples."""
        return round(self.context_s * self.sample_rate_hz)


class TextSpec(Frozen, frozen=True):
    """The words of the window, as at most `max_tokens` token ids."""

    feature_dim: int
    max_tokens: int
    presence: PresenceSpec


class WindowSpec(Frozen, frozen=True):
    """How many seconds a prediction looks back (`length_s`), and every how many seconds one is made (`hop_s`)."""

    length_s: float
    hop_s: float

    def __post_init__(self) -> None:
        if not 0 < self.hop_s <= self.length_s:
            raise ValueError(f"expected 0 < hop_s <= length_s, got {self.hop_s} and {self.length_s}")


class Tolerance(Frozen, frozen=True):
    """How far outputs may be from PyTorch's: the largest absolute error, least cosine, least Pearson if any."""

    max_abs: float
    cosine: float
    pearson: float | None = None


class PartTolerances(Frozen, frozen=True):
    """The tolerance of each part, and of the whole way from inputs to intensities (None: that of the fusion head)."""

    vision: Tolerance
    audio: Tolerance
    text: Tolerance
    fusion: Tolerance
    end_to_end: Tolerance | None = None

    def of(self, part: str) -> Tolerance:
        """Give the tolerance of a part by its name."""
        tolerance: Tolerance = getattr(self, part)
        return tolerance


class Parts(Frozen, frozen=True):
    """The four networks."""

    vision: PartSpec
    audio: PartSpec
    text: PartSpec
    fusion: PartSpec

    def of(self, part: str) -> PartSpec:
        """Give a part by its name."""
        spec: PartSpec = getattr(self, part)
        return spec


class Closeness(Frozen, frozen=True):
    """How near a part is to itself in FP32, over all clips.

    Attributes:
        pearson: over all output values; of the fusion head over all clips and presence patterns, for the worst emotion.
            None where it is undefined.
        max_abs, p99_abs: the largest absolute error, and the 99th percentile.
        cosine, min_cosine: of single feature vectors, the mean and the worst.
        mean_pearson: of intensities with labels, every other part in FP32; None where it is undefined.
    """

    pearson: float | None
    max_abs: float
    p99_abs: float
    cosine: float
    min_cosine: float
    mean_pearson: float | None


class CalibrationRecord(Frozen, frozen=True):
    """How a calibrated bundle was made, and what its precisions cost on clips that had no part in making it.

    Attributes:
        data, synthetic: the corpus, and whether it is synthetic.
        quantiser: the name and version of the code that put in the Q/DQ pairs.
        clips, held_out: how many clips gave ranges, and how many others judged.
        patterns: the presence patterns that the fusion head was fed.
        methods: how the ranges of each part were found.
        alphas: how many tensors of a part have each strength of SmoothQuant ("none" without).
        layer_error: the mean error of a part's layers, on the rows that chose ranges and alphas and on other rows.
        excluded: the blocks of a part that stay in higher precision, each with the reason.
        islands: how many nodes of a part stay in FP32 among FP16.
        closeness: by part and flavour.
        mean_pearson: of intensities with labels by precision, all four parts in it; None where it is undefined.
        seconds: how long the calibration took.
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
    alphas: dict[str, dict[str, int]]
    layer_error: dict[str, tuple[float, float]]
    excluded: dict[str, dict[str, str]]
    islands: dict[str, int]
    closeness: dict[str, dict[str, Closeness]]
    mean_pearson: dict[str, float | None]
    seconds: float


class Candidate(Frozen, frozen=True):
    """One precision of one part on one target: how fast it was, and why it was kept or not.

    `median_ms` and `p95_ms` are of the shape that a live hop usually has; None where it was not timed.
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
    """The result of parity on the golden feeds for one part, or for the whole way from inputs to intensities."""

    stage: str
    ok: bool
    cases: int
    max_abs: float
    cosine: float
    pearson: float | None


class EngineRecord(Frozen, frozen=True):
    """How an engine bundle was built, and whether parity held.

    Attributes:
        target, recipe: the target's name, and the target as it was when the engines were built (`--set` included).
        backend, library: what compiled and runs the engines, with its version.
        machine: the device that the engines may run on.
        source: the folder of the bundle of graphs.
        asked: the precision that was asked for.
        flags: the options of the compiler, in words.
        build_key, part_keys: of the engine cache.
        candidates: everything that was built or refused.
        verification: the verdict of parity on each stage; empty where parity was not run.
        failure: why the engines are not verified; empty where they are.
    """

    target: str
    backend: str
    library: str
    machine: dict[str, str]
    source: str
    asked: str
    recipe: dict[str, Any]
    flags: dict[str, str]
    build_key: str
    part_keys: dict[str, str]
    candidates: tuple[Candidate, ...]
    verification: tuple[StageVerdict, ...] = ()
    failure: str = ""


class Provenance(Frozen, frozen=True):
    """Where a bundle comes from.

    Attributes:
        made_by, made_at: the package and its version, and the time in UTC.
        source: what it was made from.
        versions: of libraries, by name.
        weights: where each weight comes from, in words.
        encoder_sha256: of each encoder's weights in PyTorch; a feature store is recognised by it.
    """

    made_by: str
    made_at: str
    source: str
    recipe_sha256: str
    versions: dict[str, str]
    weights: dict[str, str]
    encoder_sha256: dict[str, str] = msgspec.field(default_factory=dict)


class Manifest(Frozen, frozen=True):
    """`manifest.json`: everything that the runtime must know about a bundle, and the hash of each of its files."""

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
    #: The graphs of each part by flavour, where there are several; `build-engine` chooses from them.
    graphs: dict[str, dict[Flavour, str]] = msgspec.field(default_factory=dict)
    #: The tolerances of each precision that `graphs` offers.
    tolerances_by: dict[Precision, PartTolerances] = msgspec.field(default_factory=dict)
    calibration: CalibrationRecord | None = None
    #: Of an engine bundle: whether parity held on the device that built it. None of a bundle of graphs.
    verified: bool | None = None
    engine: EngineRecord | None = None

    def graph_file(self, part: str, flavour: Flavour) -> str | None:
        """Give the name of a part's graph in a flavour; None where the bundle has no such graph."""
        main = self.parts.of(part)
        if part not in self.graphs and main.precision == flavour and main.file.endswith(".onnx"):
            return main.file
        return self.graphs.get(part, {}).get(flavour)

    def tolerances_of(self, precision: Precision) -> PartTolerances:
        """Give the tolerances of a precision; those of the bundle where it has no others."""
        return self.tolerances_by.get(precision, self.tolerances)

    def presence_of(self, modality: str) -> PresenceSpec:
        """Give the presence settings of a modality by its name."""
        spec: VisionSpec | AudioSpec | TextSpec = getattr(self, modality)
        return spec.presence

    def feature_dim_of(self, modality: str) -> int:
        """Give the length D of a modality's feature vectors by its name."""
        spec: VisionSpec | AudioSpec | TextSpec = getattr(self, modality)
        return spec.feature_dim
