"""Comparing two artefacts on the same feeds: how far apart their outputs are, and whether that is within tolerance.

An artefact is a bundle or a checkpoint. A bundle alone is compared with the outputs that PyTorch gave when it was
exported (`golden.npz`), so this needs no PyTorch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from taemi_edge.bundle.outputs import PRESENT_FROM, ClassesSpec, OutputSpec, RegressionSpec
from taemi_edge.bundle.spec import Manifest
from taemi_edge.bundle.streams import Pattern, StreamSpec
from taemi_edge.bundle.values import HEAD, Array, Frozen, PartTolerances, Tolerance, end_to_end_tolerance
from taemi_edge.errors import BundleError, InputError, UsageError
from taemi_edge.media.inputs import Run
from taemi_edge.parity.artefact import Artefact, open_artefact
from taemi_edge.parity.golden import Case, bind_tokens, window_calls, window_cases
from taemi_edge.parity.metrics import pearson_of
from taemi_edge.parity.windows import head_feeds, window_features
from taemi_edge.runtime.sessions import Device

END_TO_END = "end-to-end"


class CaseResult(Frozen, frozen=True, omit_defaults=True):
    """How far apart the two artefacts are in one case of one part.

    Attributes:
        case: the name of the case, with the presence pattern for the head, and the output where it gives several.
        max_abs: the largest absolute difference.
        p99_abs: the 99th percentile of the absolute differences.
        cosine: of the angle between the two outputs as vectors.
        ok: whether all figures are within tolerance; a NaN never is.
        limit: what `max_abs` is held against where the output has a limit of its own; None for that of the stage.
    """

    case: str
    max_abs: float
    p99_abs: float
    cosine: float
    ok: bool
    limit: float | None = None


class StageResult(Frozen, frozen=True):
    """One part over all its cases, or the whole model from inputs to outputs: the worst value of each figure.

    Attributes:
        pearson: of each number that the head gives, over all rows; None where it is undefined (constant). Numbers are
            called by their names, and "OUTPUT.NAME" where there are several groups. None where the stage gives none.
        flips: the share of rows whose best class differs, by output; rows without any live stream do not count, for
            there the model can only guess. None where the stage gives no classes.
    """

    stage: str
    ok: bool
    max_abs: float
    p99_abs: float
    cosine: float
    pearson: dict[str, float | None] | None
    tolerance: Tolerance
    cases: tuple[CaseResult, ...]
    flips: dict[str, float] | None = None

    @property
    def lowest_pearson(self) -> float | None:
        known = [value for value in (self.pearson or {}).values() if value is not None]
        return min(known) if known else None

    def limit_of(self, case: CaseResult) -> float:
        """The largest error that is within tolerance in one of the cases."""
        return self.tolerance.max_abs if case.limit is None else case.limit

    @property
    def most_flips(self) -> float | None:
        return max(self.flips.values()) if self.flips else None


class ParityReport(Frozen, frozen=True):
    """The whole comparison of `a` and `b`; `first_failure` names the first stage that left its tolerance."""

    a: str
    b: str
    ok: bool
    first_failure: str | None
    stages: tuple[StageResult, ...]


@dataclass(frozen=True, eq=False)
class Pairs:
    """The compared outputs, for the plot: those of A and of B for each stage, flattened; and what A was trained on."""

    by_stage: Mapping[str, tuple[Array, Array]]
    trained_on: str = ""


def check_parity(
    a: Path | str, b: Path | str | None = None, *, device: Device | None = None, threads: int | None = None
) -> tuple[ParityReport, Pairs]:
    """Compare two artefacts on the same feeds, or one bundle with its golden outputs.

    Args:
        a: a bundle folder, `file.py:function` or `model.toml` of a declared model, a checkpoint folder or a recipe. A
            bundle can stand alone.
        b: another one, or None to compare the bundle `a` with the PyTorch outputs in its `golden.npz`. The tolerances
            are those of the bundle (of `b` where both are bundles), else of the recipe of `a`.
        device: "cpu", "cuda" or "tensorrt"; by default what suits the bundle.
        threads: of each part on a CPU, 0 for all cores; None takes the plan of the engines, else all cores.

    Returns:
        The report, and the compared outputs for `taemi_edge.parity.plot.plot_parity`.

    Raises:
        UsageError: one model alone that is no bundle, or two artefacts whose inputs or outputs have different shapes.
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
            raise UsageError(f"{a} is no bundle, so it has no golden feeds: name a second artefact to compare it with")
        if second is not None:
            _require_same_shapes(first, second)
        judge = next((x for x in (second, first) if x is not None and x.is_bundle), first)
        outputs = _compare(first, second, judge.cases())
        reference_name = second.name if second else "golden feeds in PyTorch"
        stages = tuple(
            _judge_stage(stage, rows, _limit(judge.tolerances, stage), first.outputs) for stage, rows in outputs.items()
        )
    failed = next((stage.stage for stage in stages if not stage.ok), None)
    report = ParityReport(a=first.name, b=reference_name, ok=failed is None, first_failure=failed, stages=stages)
    pairs = {
        stage: (_flat(row.ours for row in rows), _flat(row.theirs for row in rows)) for stage, rows in outputs.items()
    }
    return report, Pairs(pairs, first.trained_on)


def _require_same_shapes(first: Artefact, second: Artefact) -> None:
    """Refuse artefacts that take or give different shapes: they cannot run on the same feeds."""
    sides = [_shapes(first), _shapes(second)]
    names = list(dict.fromkeys((*sides[0], *sides[1])))
    different = [f"{n} {sides[0].get(n)} and {sides[1].get(n)}" for n in names if sides[0].get(n) != sides[1].get(n)]
    if different:
        raise UsageError(
            f"{first.name} and {second.name} are two different models ({', '.join(different)}): "
            f"compare artefacts of one recipe"
        )


def _shapes(artefact: Artefact) -> dict[str, object]:
    """What the inputs and outputs of an artefact depend on, by a name for messages."""
    takes: dict[str, object] = {}
    for field in ("size_hw", "clip_frames", "sample_rate_hz", "channels"):
        found = {name: getattr(spec, field) for name, spec in artefact.streams.items() if hasattr(spec, field)}
        takes |= {field if len(found) == 1 else f"{name} {field}": value for name, value in found.items()}
    widths = {f"{name} feature_dim": spec.feature_dim for name, spec in artefact.streams.items()}
    return takes | widths | {f"output {name}": spec.size for name, spec in artefact.outputs.items()}


def check_part(
    run: Run, part: str, cases: Sequence[Case], tokens: Mapping[str, Array], limit: Tolerance, manifest: Manifest
) -> StageResult:
    """Compare one part alone with the golden outputs of its cases.

    Args:
        run: runs the part; takes its feeds and gives its outputs by name.
        part: the name of a stream, or "fusion" for the head.
        cases: golden cases; those of other parts are left out.
        tokens: what stands for each missing stream, (D,) or (steps, D).
        limit: the tolerance of the part.
        manifest: of the bundle that the part belongs to.
    """
    rows: list[_Row] = []
    for case in cases:
        if case.part == part:
            outputs = run(_bound(case, tokens, manifest.streams))
            rows += _rows_of(case, outputs, case.expected or {})
    return _judge_stage(part, rows, limit, manifest.outputs)


@dataclass(frozen=True, eq=False)
class _Row:
    """One output of both sides in one case; `pattern` is None for encoders."""

    title: str
    output: str
    ours: Array
    theirs: Array
    pattern: Pattern | None


def _compare(first: Artefact, second: Artefact | None, cases: list[Case]) -> dict[str, list[_Row]]:
    """Run every case on both artefacts; gives the outputs of each case by stage, in the order of the parts."""
    rows: dict[str, list[_Row]] = {stage: [] for stage in (*first.streams, HEAD, END_TO_END)}
    for case in cases:
        ours = first.run(case.part, _bound(case, first.tokens, first.streams))
        theirs = second.run(case.part, _bound(case, second.tokens, second.streams)) if second else case.expected
        rows[case.part] += _rows_of(case, ours, theirs or {})
    live: dict[str, list[dict[str, Array]]] = {}
    for case in window_cases(cases):
        if case.name not in live:
            live[case.name] = [_live_feeds(side, cases, case.name) for side in (first, second) if side is not None]
        pattern, feeds = case.pattern or frozenset(), live[case.name]
        ours = first.run(HEAD, bind_tokens(feeds[0], pattern, first.tokens, first.streams))
        theirs = case.expected
        if second is not None:
            theirs = second.run(HEAD, bind_tokens(feeds[1], pattern, second.tokens, second.streams))
        rows[END_TO_END] += _rows_of(case, ours, theirs or {})
    if lacking := [stage for stage, found in rows.items() if not found]:
        raise BundleError(f"golden feeds: expected cases of {', '.join(lacking)}, found none: export the model again")
    return rows


def _rows_of(case: Case, ours: Mapping[str, Array], theirs: Mapping[str, Array]) -> list[_Row]:
    """Put the outputs of one case side by side; the padded steps of texts do not count."""
    rows = []
    for name, value in ours.items():
        if name not in theirs or theirs[name].shape != value.shape:
            other = theirs[name].shape if name in theirs else "not there"
            raise InputError(
                f"{case.part}, {case.title}: {name} is {value.shape} in A and {other} in B: these are two different "
                f"models"
            )
        title = case.title if len(ours) == 1 else f"{case.title}: {name}"
        rows.append(_Row(title, name, _unmasked(case, value), _unmasked(case, theirs[name]), case.pattern))
    return rows


def _unmasked(case: Case, features: Array) -> Array:
    """The steps of an output that count: those after the end of a padded text are masked wherever they are used."""
    mask = case.feeds.get("mask")
    steps = mask is not None and features.ndim == 3 and features.shape[:2] == mask.shape
    return features[mask > 0] if mask is not None and steps else features


def _bound(case: Case, tokens: Mapping[str, Array], streams: Mapping[str, StreamSpec]) -> Mapping[str, Array]:
    return case.feeds if case.pattern is None else bind_tokens(case.feeds, case.pattern, tokens, streams)


def _live_feeds(artefact: Artefact, cases: Sequence[Case], window: str) -> dict[str, Array]:
    """Encode the inputs of one window with the artefact's own encoders; gives the feeds of its head."""
    calls = window_calls(cases, window, artefact.streams)
    return head_feeds(window_features(artefact.run, calls, artefact.streams), artefact.specs.head.masks)


def _limit(tolerances: PartTolerances, stage: str) -> Tolerance:
    return end_to_end_tolerance(tolerances) if stage == END_TO_END else tolerances[stage]


def _judge_stage(
    stage: str, rows: Sequence[_Row], tolerance: Tolerance, outputs: Mapping[str, OutputSpec]
) -> StageResult:
    cases = tuple(_judge_case(row, tolerance) for row in rows)
    gives = outputs if stage in (HEAD, END_TO_END) else {}
    pearson, flips = _pearson_of_numbers(rows, gives), _flips_of_classes(rows, gives)
    known = [value for value in (pearson or {}).values() if value is not None]
    correlated = tolerance.pearson is None or all(value >= tolerance.pearson for value in known)
    kept = tolerance.flips is None or all(value <= tolerance.flips for value in (flips or {}).values())
    return StageResult(
        stage=stage,
        ok=correlated and kept and all(case.ok for case in cases),
        max_abs=max(case.max_abs for case in cases),
        p99_abs=max(case.p99_abs for case in cases),
        cosine=min(case.cosine for case in cases),
        pearson=pearson,
        tolerance=tolerance,
        cases=cases,
        flips=flips,
    )


def _judge_case(row: _Row, tolerance: Tolerance) -> CaseResult:
    error = np.abs(row.ours.astype(np.float64) - row.theirs.astype(np.float64))
    max_abs, cosine = float(error.max()), cosine_of(row.ours, row.theirs)
    limit = tolerance.of_output(row.output)
    # a single number that may as well be zero has a sign by chance, and no direction
    directed = row.theirs.size > 1 or not abs(row.theirs.item()) <= limit
    return CaseResult(
        case=row.title,
        max_abs=max_abs,
        p99_abs=float(np.quantile(error, 0.99)),
        cosine=cosine,
        ok=max_abs <= limit and (cosine >= tolerance.cosine or not directed),  # written so that a NaN fails
        limit=None if limit == tolerance.max_abs else limit,
    )


def cosine_of(x: Array, y: Array) -> float:
    """Cosine of the angle between two arrays of one shape, taken as vectors. Two zero vectors give 1.

    Example:
        >>> round(cosine_of(np.array([1.0, 0.0]), np.array([2.0, 0.0])), 6)
        1.0
    """
    a, b = x.ravel().astype(np.float64), y.ravel().astype(np.float64)
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norms if norms else float(np.array_equal(a, b))


def label_flips(ours: Array, theirs: Array, spec: ClassesSpec) -> float:
    """The share of rows whose best class differs; of classes that may be present together, whose set of them differs.

    Args:
        ours, theirs: what the head gives on both sides, (N, classes).
        spec: what the classes are.

    Example:
        >>> doors = ClassesSpec(names=("open", "shut"))
        >>> label_flips(np.array([[2.0, 1.0], [0.0, 3.0]]), np.array([[2.0, 1.9], [3.0, 0.0]]), doors)
        0.5
    """
    if not len(ours):
        return 0.0
    a, b = spec.values(ours), spec.values(theirs)
    if spec.exclusive:
        return float(np.mean(a.argmax(-1) != b.argmax(-1)))
    return float(np.mean(((a >= PRESENT_FROM) != (b >= PRESENT_FROM)).any(-1)))


def _pearson_of_numbers(rows: Sequence[_Row], outputs: Mapping[str, OutputSpec]) -> dict[str, float | None] | None:
    """Pearson correlation of each number over all rows of all cases; None where one side is constant."""
    found: dict[str, float | None] = {}
    for output, spec in outputs.items():
        if isinstance(spec, RegressionSpec):
            a = np.concatenate([row.ours for row in rows if row.output == output]).astype(np.float64)
            b = np.concatenate([row.theirs for row in rows if row.output == output]).astype(np.float64)
            prefix = "" if len(outputs) == 1 else f"{output}."
            found |= {f"{prefix}{name}": pearson_of(a[:, i], b[:, i]) for i, name in enumerate(spec.names)}
    return found or None


def _flips_of_classes(rows: Sequence[_Row], outputs: Mapping[str, OutputSpec]) -> dict[str, float] | None:
    """The share of flipped labels of each group of classes, over all patterns with a live stream."""
    found: dict[str, float] = {}
    for output, spec in outputs.items():
        if isinstance(spec, ClassesSpec):
            counted = [row for row in rows if row.output == output and row.pattern]
            nothing = [np.zeros((0, spec.size))]
            ours = np.concatenate([row.ours for row in counted] or nothing)
            found[output] = label_flips(ours, np.concatenate([row.theirs for row in counted] or nothing), spec)
    return found or None


def _flat(values: Iterable[Array]) -> Array:
    return np.concatenate([value.ravel() for value in values])
