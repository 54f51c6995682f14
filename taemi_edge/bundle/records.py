"""What a manifest says of how its bundle was made: calibrated, built, verified, and from what."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import msgspec

from taemi_edge.bundle.limits import MOST_THREADS
from taemi_edge.bundle.precisions import Flavour, Precision, QuantisedPrecision
from taemi_edge.bundle.values import Frozen


class Closeness(Frozen, frozen=True):
    """How near a part is to itself in FP32, over all clips.

    Attributes:
        pearson: over all output values; of the head over all clips and presence patterns, for the number or the group
            of classes that is worst. None where it is undefined.
        max_abs, p99_abs: the largest absolute error, and the 99th percentile.
        cosine, min_cosine: of single feature vectors, the mean and the worst.
        score: the model's metric on labels, every other part in FP32; None where it is undefined.
        flips: the share of clips whose label differs from FP32's, every other part in FP32; of the head over all
            presence patterns but the one without streams. None for a model without classes.
        mean_pearson: the score where the metric is Pearson.
    """

    pearson: float | None
    max_abs: float
    p99_abs: float
    cosine: float
    min_cosine: float
    score: float | None = None
    flips: float | None = None
    mean_pearson: float | None = None


class PatternScores(Frozen, frozen=True):
    """How a precision does on labels over all presence patterns but the one without streams.

    Attributes:
        mean: of the metric over the patterns in which it is defined; None where it is in none.
        worst_loss, worst_pattern: how much worse than FP32 it is in the pattern that loses most; None without labels.
        flips: the share of rows whose label differs from FP32's; None for a model without classes.
    """

    mean: float | None
    worst_loss: float | None = None
    worst_pattern: str | None = None
    flips: float | None = None


class QuantisedRecord(Frozen, frozen=True):
    """How the graphs of FP8 were made, by part; `CalibrationRecord` has the same of INT8."""

    methods: dict[str, str]
    alphas: dict[str, dict[str, int]]
    layer_error: dict[str, tuple[float, float]]
    excluded: dict[str, dict[str, str]]


class CalibrationRecord(Frozen, frozen=True):
    """How a calibrated bundle was made, and what its precisions cost on clips that had no part in making it.

    Attributes:
        data, synthetic: the corpus, and whether it is synthetic.
        quantiser: the name and version of the code that put in the Q/DQ pairs.
        clips, held_out: how many clips gave ranges, and how many others judged.
        patterns: the presence patterns that the head was fed.
        methods: how the ranges of each part in INT8 were found.
        alphas: how many tensors of a part have each strength of SmoothQuant ("none" without).
        layer_error: the mean error of a part's layers, on the rows that chose ranges and alphas and on other rows.
        excluded: the blocks of a part that stay out of INT8, each with the reason.
        islands: how many nodes of a part stay in FP32 among FP16.
        further: the same as these of INT8 for other quantised precisions, where there are any.
        host_excluded: by flavour for processors, the blocks of a part that stay in FP32 there, each with the reason.
        closeness: by part and flavour.
        metric, higher_is_better: the metric that was counted on labels, and which way it is better.
        scores: of the metric by precision and by flavour for processors, all parts in it; None where it is undefined.
        pattern_scores: the same over all presence patterns.
        mean_pearson: the scores where the metric is Pearson.
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
    seconds: float
    metric: str = "pearson"
    higher_is_better: bool = True
    scores: dict[str, float | None] = msgspec.field(default_factory=dict)
    pattern_scores: dict[str, PatternScores] = msgspec.field(default_factory=dict)
    mean_pearson: dict[str, float | None] = msgspec.field(default_factory=dict)
    further: dict[QuantisedPrecision, QuantisedRecord] | msgspec.UnsetType = msgspec.UNSET
    host_excluded: dict[Flavour, dict[str, dict[str, str]]] | msgspec.UnsetType = msgspec.UNSET

    def excluded_from(self, precision: QuantisedPrecision) -> dict[str, dict[str, str]]:
        """Give the blocks of each part that stay out of a precision, each with the reason."""
        if precision == "int8":
            return self.excluded
        found = (self.further or {}).get(precision)
        return {} if found is None else found.excluded


#: What the flag of a record begins with that says at which shapes a part was timed.
TIMED = "timed "


def form_in_words(precision: str, form: str) -> str:
    """Say a precision and which form of it, once.

    >>> form_in_words("int8", "int8-u8, fused"), form_in_words("fp32", "fused"), form_in_words("fp32", "")
    ('int8-u8, fused', 'fp32 fused', 'fp32')
    """
    return form if form.startswith(precision) else f"{precision} {form}".strip()


class Candidate(Frozen, frozen=True, omit_defaults=True):
    """One precision of one part on one target: how fast it was, and why it was kept or not.

    `form` says which of several graphs of that precision it is, such as "int8-dynamic, fused"; "" for the first one,
    which is not written: older readers do not know the word.
    `median_ms` and `p95_ms` are the mean over the shapes that live hops usually have, which the flags of the record
    name; None where it was not timed.
    """

    part: str
    precision: Precision
    median_ms: float | None
    p95_ms: float | None
    bytes: int
    build_s: float
    kept: bool
    reason: str
    form: str = ""

    @property
    def name(self) -> str:
        """Its precision and form, by which the candidates of a part are told apart."""
        return form_in_words(self.precision, self.form)


class SessionPlan(Frozen, frozen=True, omit_defaults=True):
    """How ONNX Runtime opens the engine of one part on a processor, and what that asks of the processor.

    Where nothing is set the sums of the engine fit as they are, with weights of seven bits.

    Attributes:
        exact_kernels: whether its sums are right only where the integer kernels do not saturate.
        unsigned_weights: let the integer kernels of x86 take unsigned weights; those never saturate, and are slower.
        bf16_products: compute matrix products of FP32 in BF16, where an ARM processor has instructions for it.
        as_written: compute Q/DQ pairs as they are written, in FP32.
    """

    exact_kernels: bool = False
    unsigned_weights: bool = False
    bf16_products: bool = False
    as_written: bool = False


class StageVerdict(Frozen, frozen=True):
    """The result of parity on the golden feeds for one part, or for the whole way from inputs to outputs.

    Attributes:
        pearson: the lowest one of a number that the stage gives; None where it is undefined or gives none.
        flips: the largest share of rows whose best class differs; None where the stage gives no classes.
    """

    stage: str
    ok: bool
    cases: int
    max_abs: float
    cosine: float
    pearson: float | None
    flips: float | None = None


class HostPlan(Frozen, frozen=True):
    """How a processor runs a hop, as it was measured where the engines were built.

    Attributes:
        threads: of each part.
        side_by_side: whether encoders run at the same time, each in a thread of its own, or one after the other.
        pinned: whether each of these threads keeps to one core.
        largest: how many inputs a part takes in one call; parts that are not named take what there is.
        cores: how many cores the process could use then.
        how: how it was chosen, and what each way took, in words.
    """

    threads: dict[str, int]
    side_by_side: bool = False
    pinned: bool = False
    largest: dict[str, int] = msgspec.field(default_factory=dict)
    cores: int = 1
    how: str = ""

    def __post_init__(self) -> None:
        counts = {**{f"threads.{part}": count for part, count in self.threads.items()}, "cores": self.cores}
        counts |= {f"largest.{part}": count for part, count in self.largest.items()}
        for name, count in counts.items():
            if not 1 <= count <= MOST_THREADS:
                raise ValueError(f"expected {name} from 1 to {MOST_THREADS}, got {count}")


class EngineRecord(Frozen, frozen=True):
    """How an engine bundle was built, and whether parity held.

    Attributes:
        target, recipe: the target's name, and the target as it was when the engines were built (`--set` included).
        backend, library: what compiled and runs the engines, with its version.
        machine: the device that the engines may run on.
        source: the folder of the bundle of graphs, as it is seen from the folder of the engines.
        source_place: where that folder lay when the engines were built.
        source_digests: the sha256 of every file of that bundle.
        asked: the precision that was asked for.
        flags: the options of the compiler, in words; besides, for each part, "profiles of PART", which the engine was
            built for, and "timed PART", at which shapes and how `auto` timed it.
        build_key, part_keys: of the engine cache.
        candidates: everything that was built or refused.
        verification: the verdict of parity on each stage; empty where parity was not run.
        failure: why the engines are not verified; empty where they are.
        sessions: how ONNX Runtime opens the parts that it must open in a way of their own. Not written where there are
            none. A reader that does not know it refuses the bundle: it would open such an engine wrongly.
        host: how a processor runs a hop; unset where that was not measured, as for other devices.
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
    source_place: str = ""
    source_digests: dict[str, str] = msgspec.field(default_factory=dict)
    sessions: dict[str, SessionPlan] | msgspec.UnsetType = msgspec.UNSET
    host: HostPlan | msgspec.UnsetType = msgspec.UNSET

    def session_plan(self, part: str) -> SessionPlan | None:
        """Give how a part is opened; None where nothing is said of it, as of parts without integer kernels."""
        return (self.sessions or {}).get(part)


class Provenance(Frozen, frozen=True):
    """Where a bundle comes from.

    Attributes:
        made_by, made_at: the package and its version, and the time in UTC.
        source: what it was made from.
        recipe_sha256: of the recipe that the model was made with; of nothing where it has none, but was declared.
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

    @property
    def was_declared(self) -> bool:
        """Whether the model was declared by its user, and not made with a recipe of this toolkit."""
        return self.recipe_sha256 == sha256(b"").hexdigest()
