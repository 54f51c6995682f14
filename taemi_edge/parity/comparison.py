"""Comparing two artefacts on the same feeds: how far apart their outputs are, and whether that is within tolerance.

An artefact is a bundle or a checkpoint. A bundle alone is compared with the outputs that PyTorch gave when it was
exported (`golden.npz`), so this needs no PyTorch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from taemi_edge.bundle.spec import EMOTIONS, MODALITIES, PARTS
from taemi_edge.bundle.values import Array, Frozen, PartTolerances, Tolerance, end_to_end_tolerance
from taemi_edge.errors import InputError, UsageError
from taemi_edge.media.inputs import Run
from taemi_edge.parity.artefact import Artefact, open_artefact
from taemi_edge.parity.golden import ENCODER_WINDOW_CASES, WINDOW, Case, bind_tokens, window_features
from taemi_edge.parity.metrics import pearson_of
from taemi_edge.runtime.sessions import Device

END_TO_END = "end-to-end"
STAGES = (*PARTS, END_TO_END)


class CaseResult(Frozen, frozen=True):
    """How far apart the two artefacts are in one case of one part.

    Attributes:
        case: the name of the case, with the presence pattern for the fusion head.
        max_abs: the largest absolute difference.
        p99_abs: the 99th percentile of the absolute differences.
        cosine: of the angle between the two outputs as vectors.
        ok: whether all figures are within tolerance; a NaN never is.
    """

    case: str
    max_abs: float
    p99_abs: float
    cosine: float
    ok: bool


class StageResult(Frozen, frozen=True):
    """One part over all its cases, or the whole model from inputs to intensities: the worst value of each figure."""

    stage: str
    ok: bool
    max_abs: float
    p99_abs: float
    cosine: float
    #: Pearson correlation of each intensity over all rows; None where it is undefined (constant) or not an intensity.
    pearson: dict[str, float | None] | None
    tolerance: Tolerance
    cases: tuple[CaseResult, ...]

    @property
    def lowest_pearson(self) -> float | None:
        known = [value for value in (self.pearson or {}).values() if value is not None]
        return min(known) if known else None


class ParityReport(Frozen, frozen=True):
    """The whole comparison of `a` and `b`; `first_failure` names the first stage that left its tolerance."""

    a: str
    b: str
    ok: bool
    first_failure: str | None
    stages: tuple[StageResult, ...]


@dataclass(frozen=True, eq=False)
class Pairs:
    """The compared outputs, for the plot: those of A and of B for each stage, flattened."""

    by_stage: Mapping[str, tuple[Array, Array]]


def check_parity(
    a: Path | str, b: Path | str | None = None, *, device: Device | None = None, threads: int = 0
) -> tuple[ParityReport, Pairs]:
    """Compare two artefacts on the same feeds, or one bundle with its golden outputs.

    Args:
        a: a bundle folder, a checkpoint folder or a recipe. A bundle can stand alone.
        b: another one, or None to compare the bundle `a` with the PyTorch outputs in its `golden.npz`. The tolerances
            are those of the bundle (of `b` where both are bundles), else of the recipe of `a`.
        device: "cpu", "cuda" or "tensorrt"; by default what suits the bundle.
        threads: of the backend on the CPU; 0 leaves the number to it.

    Returns:
        The report, and the compared outputs for `taemi_edge.parity.plot.plot_parity`.

    Raises:
        UsageError: one checkpoint alone, or two artefacts whose inputs or outputs have different shapes.
        InputError: nothing is found at `a` or `b`.
        BundleError: a bundle is damaged, or has no golden feeds.

    Example:
        >>> import taemi_edge as te
        >>> report, _ = te.check_parity("export/taemi-tiny")
        >>> report.ok, [stage.stage for stage in report.stages]
        (True, ['vision', 'audio', 'text', 'fusion', 'end-to-end'])
    """
    with ExitStack() as stack:
        first = stack.enter_context(open_artefact(str(a), device, threads))
        second = stack.enter_context(open_artefact(str(b), device, threads)) if b is not None else None
        if second is None and not first.is_bundle:
            raise UsageError(f"{a} is a checkpoint: name a second artefact to compare it with")
        if second is not None:
            _require_same_shapes(first, second)
        judge = next((x for x in (second, first) if x is not None and x.is_bundle), first)
        outputs = _compare(first, second, judge.cases())
        reference_name = second.name if second else "golden outputs of PyTorch"
        stages = tuple(_judge_stage(stage, outputs[stage], _limit(judge.tolerances, stage)) for stage in STAGES)
    failed = next((stage.stage for stage in stages if not stage.ok), None)
    report = ParityReport(a=first.name, b=reference_name, ok=failed is None, first_failure=failed, stages=stages)
    pairs = {
        stage: (_flat(x for _, x, _ in outputs[stage]), _flat(y for _, _, y in outputs[stage])) for stage in STAGES
    }
    return report, Pairs(pairs)


def _require_same_shapes(first: Artefact, second: Artefact) -> None:
    """Refuse artefacts that take or give different shapes: they cannot run on the same feeds."""
    sides = [
        {
            "size_hw": x.vision.size_hw,
            "sample_rate_hz": x.audio.sample_rate_hz,
            **{f"{m} feature_dim": getattr(x, m).feature_dim for m in MODALITIES},
        }
        for x in (first, second)
    ]
    different = [f"{name} {value} and {sides[1][name]}" for name, value in sides[0].items() if sides[1][name] != value]
    if different:
        raise UsageError(
            f"{first.name} and {second.name} are two different models ({', '.join(different)}): "
            f"compare artefacts of one recipe"
        )


def check_part(run: Run, part: str, cases: list[Case], tokens: Mapping[str, Array], limit: Tolerance) -> StageResult:
    """Compare one part alone with the golden outputs of its cases.

    Args:
        run: runs the part; takes its feeds and gives its outputs by name.
        part: "vision", "audio", "text" or "fusion".
        cases: golden cases; those of other parts are left out.
        tokens: the missing-modality tokens, (D,) each.
        limit: the tolerance of the part.
    """
    rows: list[_Row] = []
    for case in cases:
        if case.part == part:
            feeds = case.feeds if case.pattern is None else bind_tokens(case.feeds, case.pattern, tokens)
            outputs = run(feeds)
            for name, want in (case.expected or {}).items():
                rows.append((case.title, _unmasked(case, outputs[name]), _unmasked(case, want)))
    return _judge_stage(part, rows, limit)


#: A case's title and the two outputs.
_Row = tuple[str, Array, Array]


def _compare(first: Artefact, second: Artefact | None, cases: list[Case]) -> dict[str, list[_Row]]:
    """Run every case on both artefacts; gives the title and both outputs of each case, by stage."""
    rows: dict[str, list[_Row]] = {stage: [] for stage in STAGES}
    for case in cases:
        ours = _run_case(first, case)
        theirs = _run_case(second, case) if second else dict(case.expected or {})
        for name, value in ours.items():
            if theirs[name].shape != value.shape:
                raise InputError(
                    f"{case.part}, {case.title}: {name} is {value.shape} in A and {theirs[name].shape} in B: "
                    f"these are two different models"
                )
            rows[case.part].append((case.title, _unmasked(case, value), _unmasked(case, theirs[name])))
    window = [case for case in cases if case.part == "fusion" and case.name == WINDOW]
    inputs = {case.part: case.feeds for case in cases if ENCODER_WINDOW_CASES.get(case.part) == case.name}
    ours_live = _window_feeds(first, inputs)
    theirs_live = _window_feeds(second, inputs) if second else None
    for case in window:
        pattern = case.pattern or frozenset()
        x = first.run("fusion", bind_tokens(ours_live, pattern, first.tokens))["intensities"]
        if second is not None and theirs_live is not None:
            y = second.run("fusion", bind_tokens(theirs_live, pattern, second.tokens))["intensities"]
        else:
            y = (case.expected or {})["intensities"]
        rows[END_TO_END].append((case.title, x, y))
    return rows


def _unmasked(case: Case, features: Array) -> Array:
    """The steps of an output that count: those after the end of a padded text are masked wherever they are used."""
    mask = case.feeds.get("mask")
    return features if mask is None else features[mask > 0]


def _run_case(artefact: Artefact, case: Case) -> dict[str, Array]:
    feeds = case.feeds if case.pattern is None else bind_tokens(case.feeds, case.pattern, artefact.tokens)
    return artefact.run(case.part, feeds)


def _window_feeds(artefact: Artefact, inputs: Mapping[str, Mapping[str, Array]]) -> dict[str, Array]:
    """Encode the inputs of one window with the artefact's own encoders; gives the feeds of its fusion head."""
    encoded = {part: artefact.run(part, feeds)["features"] for part, feeds in inputs.items()}
    return window_features(artefact.audio, encoded, inputs["audio"]["samples"].shape[1])


def _limit(tolerances: PartTolerances, stage: str) -> Tolerance:
    return end_to_end_tolerance(tolerances) if stage == END_TO_END else tolerances[stage]


def _judge_stage(stage: str, rows: list[_Row], tolerance: Tolerance) -> StageResult:
    cases = tuple(_judge_case(title, x, y, tolerance) for title, x, y in rows)
    pearson = pearson_of_intensities(rows) if stage in ("fusion", END_TO_END) else None
    known = [value for value in (pearson or {}).values() if value is not None]
    correlated = tolerance.pearson is None or all(value >= tolerance.pearson for value in known)
    return StageResult(
        stage=stage,
        ok=correlated and all(case.ok for case in cases),
        max_abs=max(case.max_abs for case in cases),
        p99_abs=max(case.p99_abs for case in cases),
        cosine=min(case.cosine for case in cases),
        pearson=pearson,
        tolerance=tolerance,
        cases=cases,
    )


def _judge_case(title: str, x: Array, y: Array, tolerance: Tolerance) -> CaseResult:
    error = np.abs(x.astype(np.float64) - y.astype(np.float64))
    max_abs, cosine = float(error.max()), cosine_of(x, y)
    # written so that a NaN fails
    ok = max_abs <= tolerance.max_abs and cosine >= tolerance.cosine
    return CaseResult(case=title, max_abs=max_abs, p99_abs=float(np.quantile(error, 0.99)), cosine=cosine, ok=ok)


def cosine_of(x: Array, y: Array) -> float:
    """Cosine of the angle between two arrays of one shape, taken as vectors. Two zero vectors give 1.

    Example:
        >>> round(cosine_of(np.array([1.0, 0.0]), np.array([2.0, 0.0])), 6)
        1.0
    """
    a, b = x.ravel().astype(np.float64), y.ravel().astype(np.float64)
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norms if norms else float(np.array_equal(a, b))


def pearson_of_intensities(rows: Iterable[_Row]) -> dict[str, float | None]:
    """Pearson correlation of each intensity over all rows of all cases; None where one side is constant."""
    pairs = [(x, y) for _, x, y in rows]
    a = np.concatenate([x for x, _ in pairs]).astype(np.float64)
    b = np.concatenate([y for _, y in pairs]).astype(np.float64)
    return {name: pearson_of(a[:, i], b[:, i]) for i, name in enumerate(EMOTIONS)}


def _flat(values: Iterable[Array]) -> Array:
    return np.concatenate([value.ravel() for value in values])
