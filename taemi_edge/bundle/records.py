"""What a manifest says of how its bundle was made: calibrated, built, verified, and from what."""

from __future__ import annotations

from typing import Any

import msgspec

from taemi_edge.bundle.values import Frozen, Precision


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

    part: str
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
