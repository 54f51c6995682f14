"""Calibration recipes: the TOML files in `calibration/` that say how ranges are found and what precisions may cost."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal

import msgspec

from taemi_edge.bundle.limits import MOST_BATCH, MOST_CALIBRATION_ROWS, MOST_CLIPS, MOST_PRESENCE_S
from taemi_edge.bundle.precisions import (
    FLAVOURS_OF,
    FURTHER,
    HOST_FLAVOURS,
    PRECISIONS,
    QUANTISED,
    Flavour,
    FurtherPrecision,
    Precision,
    QuantisedPrecision,
)
from taemi_edge.bundle.recipe import list_recipes, load_recipe
from taemi_edge.bundle.values import Frozen, PartTolerances, Tolerance, tolerance_by_output
from taemi_edge.errors import CalibrationError


class BudgetRecipe(Frozen, frozen=True):
    """What a precision below FP16 may cost.

    Attributes:
        pearson: the least Pearson correlation of a part's outputs with FP32.
        mean_pearson_drop: how much worse than FP32 the model's metric on labels may be, in its own unit. For the mean
            Pearson correlation, accuracy and whatever else lies between 0 and 1.
        metric_loss: the same for a metric of another unit, such as the mean absolute error; None for the limit above,
            or for metrics that have no limits a share of FP32's.
        metric_loss_share: that share.
    """

    pearson: float = 0.995
    mean_pearson_drop: float = 0.01
    metric_loss: float | None = None
    metric_loss_share: float = 0.02

    def allowed_loss(self, fp32: float, higher_is_better: bool) -> float:
        """Give how much worse than `fp32` the metric may be.

        >>> BudgetRecipe().allowed_loss(0.8, True), BudgetRecipe().allowed_loss(50.0, False)
        (0.01, 1.0)
        """
        if self.metric_loss is not None:
            return self.metric_loss
        bounded = higher_is_better and abs(fp32) <= 1
        return self.mean_pearson_drop if bounded else self.metric_loss_share * abs(fp32)


class RelativeTolerance(Frozen, frozen=True):
    """A tolerance for outputs of any size: the largest error as a share of the largest magnitude, and the cosine.

    The outputs of a part may be of different sizes: each has its own magnitude.
    """

    max_share: float
    cosine: float

    def of(self, magnitudes: Mapping[str, float], own: Tolerance) -> Tolerance:
        """Give the tolerance of a part whose outputs reach `magnitudes`; never tighter than `own`, the model's in FP32.

        >>> of_fp32 = Tolerance(max_abs=1e-4, cosine=0.99999)
        >>> RelativeTolerance(max_share=0.01, cosine=0.999).of({"speed": 24.0, "share": 1.0}, of_fp32)
        Tolerance(max_abs=0.24, cosine=0.999, pearson=None, flips=None, outputs={'share': 0.01})
        """
        limits = {name: max(own.of_output(name), self.max_share * peak) for name, peak in magnitudes.items()}
        return tolerance_by_output(limits or {"": own.max_abs}, min(own.cosine, self.cosine))


class OtherParts(Frozen, frozen=True):
    """The tolerances of the parts that a recipe does not name, by precision; None where it makes no such graphs."""

    fp16: RelativeTolerance
    int8: RelativeTolerance
    bf16: RelativeTolerance | None = None
    fp8: RelativeTolerance | None = None

    def of(self, precision: Precision) -> RelativeTolerance | None:
        """Give the tolerance in a precision below FP32."""
        found: RelativeTolerance | None = getattr(self, precision)
        return found


class CalibrationRecipe(Frozen, frozen=True):
    """`calibration/NAME.toml`: how ranges are found and which parts of a network keep a higher precision.

    Attributes:
        fp16, int8, bf16, fp8: the tolerances of each precision, by part.
        also: the precisions that are made beside FP32, FP16 and INT8. Each takes time and room, and not every device
            has it: so none is made unasked.
        others: the tolerances of the parts that these tables do not name, which follow from the magnitude of their
            outputs; without them every part must be named.
        clips, held_out: how many clips give ranges, and how many others judge the result.
        least_rows: where short clips hold fewer feature vectors of a stream than this, more clips give ranges, at most
            this many: one row of numbers a clip needs more clips than twenty seconds of sound.
        min_clips: a calibration with fewer clips is refused.
        frames_per_clip: how many pictures of a clip count, evenly over it, since neighbouring frames are nearly the
            same; and how many rows of a series whose rows are encoded one by one.
        trial_clips: how many clips methods and blocks are compared on.
        batch: how many frames or chunks run at a time; every tensor of a part is in memory for them.
        longest_s: how many seconds of a clip are read.
        rows: how many feature vectors of each tensor are kept, to choose its smoothing and its range.
        methods: the methods that find ranges. Where there are several, the one that keeps a part nearest to FP32 is
            used.
        percentile: of the magnitudes, for the method of that name.
        alphas: the strengths of SmoothQuant that are tried for each group of Linears, besides none.
        exclude: the blocks of a part that are never quantised, each with the reason; measurements may add to them.
        attention_matmuls, softmax, layer_norm: quantise the inputs of these operators too.
        fp8_attention_matmuls: quantise those of attention in FP8 alone.
        host: make the INT8 graphs that processors want, too ("int8-u8" and "int8-dynamic").
        fp16_keep: the scopes that stay in FP32 among FP16 and BF16, by part.
        fp16_margin: how many times larger a magnitude may become before it reaches FP16's largest number.
        budget: what a precision below FP16 may cost.
        seed: draws the clips and the rows.
    """

    name: str
    fp16: PartTolerances = msgspec.field(default_factory=dict)
    int8: PartTolerances = msgspec.field(default_factory=dict)
    bf16: PartTolerances = msgspec.field(default_factory=dict)
    fp8: PartTolerances = msgspec.field(default_factory=dict)
    also: tuple[FurtherPrecision, ...] = ()
    others: OtherParts | None = None
    clips: int = 64
    held_out: int = 60
    least_rows: int = 0
    min_clips: int = 8
    frames_per_clip: int = 8
    trial_clips: int = 12
    batch: int = 2
    longest_s: float = 20.0
    rows: int = 512
    methods: tuple[Literal["minmax", "percentile", "entropy"], ...] = ("minmax", "percentile", "entropy")
    percentile: float = 99.99
    alphas: tuple[float, ...] = (0.5, 0.6, 0.7, 0.8, 0.9)
    exclude: dict[str, dict[str, str]] = msgspec.field(default_factory=dict)
    attention_matmuls: bool = False
    fp8_attention_matmuls: bool = False
    softmax: bool = False
    layer_norm: bool = False
    host: bool = True
    fp16_keep: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    fp16_margin: float = 2.0
    budget: BudgetRecipe = BudgetRecipe()
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.min_clips <= self.clips:
            raise ValueError(f"expected 1 <= min_clips <= clips, got {self.min_clips} and {self.clips}")
        counts = ("held_out", "frames_per_clip", "trial_clips", "batch")
        if low := [name for name in counts if getattr(self, name) < 1]:
            raise ValueError(f"expected {low[0]} >= 1, got {getattr(self, low[0])}")
        if max(self.clips, self.held_out, self.trial_clips) > MOST_CLIPS:
            raise ValueError(f"expected clips, held_out and trial_clips of up to {MOST_CLIPS:,}, got more")
        if max(self.rows, self.frames_per_clip, self.least_rows) > MOST_CALIBRATION_ROWS or self.batch > MOST_BATCH:
            raise ValueError(
                f"expected rows, frames_per_clip and least_rows of up to {MOST_CALIBRATION_ROWS:,}, and a batch of up "
                f"to {MOST_BATCH}, got {self.rows}, {self.frames_per_clip}, {self.least_rows} and {self.batch}"
            )
        if self.least_rows < 0:
            raise ValueError(f"expected least_rows >= 0, got {self.least_rows}")
        if self.rows < 2:
            raise ValueError(f"expected rows >= 2, half of them to choose and half to check, got {self.rows}")
        if not 0 < self.percentile <= 100:
            raise ValueError(f"expected 0 < percentile <= 100, got {self.percentile}")
        if not 0 < self.longest_s <= MOST_PRESENCE_S or self.fp16_margin < 1:
            raise ValueError(
                f"expected longest_s > 0 and fp16_margin >= 1, got {self.longest_s} and {self.fp16_margin}"
            )
        if not self.methods:
            raise ValueError("expected at least one of minmax, percentile, entropy in methods, got none")
        if any(not 0 < alpha < 1 for alpha in self.alphas):
            raise ValueError(f"expected every alpha between 0 and 1, got {list(self.alphas)}")

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """What a calibration makes, from the highest precision to the lowest."""
        return tuple(p for p in PRECISIONS if p not in FURTHER or p in self.also)

    @property
    def quantised(self) -> tuple[QuantisedPrecision, ...]:
        """The precisions among them that are made by ranges."""
        return tuple(p for p in QUANTISED if p in self.precisions)

    @property
    def flavours(self) -> tuple[Flavour, ...]:
        """The graphs that a calibration writes of each part."""
        wanted = (flavour for precision in self.precisions for flavour in FLAVOURS_OF[precision])
        return tuple(flavour for flavour in wanted if self.host or flavour not in HOST_FLAVOURS)

    def quantises_attention(self, precision: QuantisedPrecision) -> bool:
        """Whether the products of two activations are quantised in a precision."""
        return self.attention_matmuls or (precision == "fp8" and self.fp8_attention_matmuls)

    def tolerances(self, precision: Precision) -> PartTolerances:
        """Give the tolerances that the recipe names for a precision below FP32, by part."""
        named: PartTolerances = getattr(self, precision)
        return named

    def require_parts(self, parts: Collection[str]) -> None:
        """Hold the parts that the recipe names against those of a model.

        Raises:
            CalibrationError: the model has no such part.
        """
        if unknown := sorted({*self.exclude, *self.fp16_keep} - set(parts)):
            raise CalibrationError(
                f"recipe {self.name}: expected {', '.join(parts)} in exclude and fp16_keep, got {unknown[0]!r}"
            )


def recipe_name_of(model: str) -> str:
    """Give the name of the calibration recipe of a model: its own, or "default" where it has none.

    >>> recipe_name_of("taemi-mobile"), recipe_name_of("another")
    ('taemi-mobile', 'default')
    """
    return model if model in list_recipes("calibration") else "default"


def load_recipe_of(model: str) -> CalibrationRecipe:
    """Read the calibration recipe of a model: its own, or the default one.

    Raises:
        RecipeError: the recipe is wrong.
    """
    return load_recipe("calibration", recipe_name_of(model), CalibrationRecipe)
