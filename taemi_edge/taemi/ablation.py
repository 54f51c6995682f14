"""Ablations: the model is trained with one thing changed at a time, as in Tables 3 and 4 of the paper.

For its Table 2 there are heads in the manner of other papers in place of its own (`taemi_edge.taemi.published_heads`).

The result says which of the paper's claims hold here. There are two kinds of data: the feature-level task of
`taemi_edge.taemi.synthetic.features`, or a feature store with the fusion of a recipe. Differences are paired by seed:
both variants see the same data in the same order.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from taemi_edge.bundle.recipe import load_recipe
from taemi_edge.bundle.values import Array, Frozen
from taemi_edge.bundle.workers import WorkerPool, require_shared, run_parallel
from taemi_edge.corpora.feature_store import open_store
from taemi_edge.errors import UsageError, expected_one_of
from taemi_edge.parity.metrics import Interval, mean_pearson, paired_interval
from taemi_edge.progress import SILENT, Progress
from taemi_edge.taemi.names import Modality
from taemi_edge.taemi.network import FusionHead
from taemi_edge.taemi.recipe import FusionRecipe, ModelRecipe, TrainingRecipe
from taemi_edge.taemi.synthetic.features import FeatureTask, draw_splits
from taemi_edge.taemi.train.feature_examples import FeatureSet, feature_set
from taemi_edge.taemi.train.trainer import Trainer, predict, set_statistics

#: The feature-level task's own head and schedule: small enough for a minute, large enough for the claims.
TASK_FUSION = FusionRecipe(dim=64, heads=2, hidden_dim=64, dropout=0.2, modality_dropout=0.15)
TASK_TRAINING = TrainingRecipe(epochs=10, batch_size=128, learning_rate=2e-3, keep="last")
TASK_CLIPS = (4000, 1000, 1000)
#: The same, for a test of half a minute.
QUICK_FUSION = msgspec.structs.replace(TASK_FUSION, dim=32, hidden_dim=32)
QUICK_TRAINING = msgspec.structs.replace(TASK_TRAINING, epochs=8, batch_size=64, learning_rate=4e-3)
QUICK_CLIPS = (2000, 100, 1000)


class Variant(Frozen, frozen=True):
    """One row of a table: what differs from the full model, and the figure that the paper reports."""

    name: str
    table: str
    paper: float | None = None
    fusion: dict[str, Any] = msgspec.field(default_factory=dict)
    modalities: tuple[Modality, ...] = ("vision", "audio", "text")
    task: dict[str, Any] = msgspec.field(default_factory=dict)


FULL, CONCAT = "full", "concat"
NO_DROPOUT, NO_ROBUSTNESS = "no modality dropout", "no tokens, no dropout"
HALLMEN, SAVCHENKO = "after Hallmen et al.", "after Savchenko"
ZHANG, YU = "after Zhang et al.", "after Yu et al."
PUBLISHED = "Table 2: heads after other papers"
#: The variants that the rows of Table 2 are compared with.
COMPARED = (FULL, CONCAT)
_ANCHOR, _BASELINE, _CONTROL, _CLEAN = "Table 4: anchors", "baselines by modality", "negative control", "clean training"
#: The paper's numbers are its Tables 3 and 4 (arXiv 2603.14976); it does not say what replaces the text anchor in its
#: .48, which stands here beside joint attention, the nearest.
VARIANTS = (
    Variant(name=FULL, table="Table 3", paper=0.55),
    Variant(name=CONCAT, table="Table 3", paper=0.45, fusion={"kind": "concat"}),
    Variant(name="late pooling", table="Table 3", fusion={"kind": "late-pooling"}),
    Variant(name="joint attention", table="Table 3", paper=0.48, fusion={"kind": "joint-attention"}),
    Variant(name="no missing tokens", table="Table 3", paper=0.52, fusion={"missing_tokens": False}),
    Variant(name=NO_DROPOUT, table="Table 3", paper=0.51, fusion={"modality_dropout": 0.0}),
    Variant(name=NO_ROBUSTNESS, table="Table 3", fusion={"missing_tokens": False, "modality_dropout": 0.0}),
    Variant(name="audio anchor", table=_ANCHOR, paper=0.51, fusion={"anchor": "audio"}),
    Variant(name="vision anchor", table=_ANCHOR, paper=0.39, fusion={"anchor": "vision"}),
    Variant(name=HALLMEN, table=PUBLISHED, fusion={"kind": "speech-lstm"}, modalities=("audio",)),
    Variant(name=SAVCHENKO, table=PUBLISHED, fusion={"kind": "statistics"}),
    Variant(name=ZHANG, table=PUBLISHED, fusion={"kind": "joint-transformer"}),
    Variant(name=YU, table=PUBLISHED, fusion={"kind": "tcn-bilstm"}),
    Variant(name="V", table=_BASELINE, fusion={"kind": "concat"}, modalities=("vision",)),
    Variant(name="A", table=_BASELINE, fusion={"kind": "concat"}, modalities=("audio",)),
    Variant(name="V + A", table=_BASELINE, fusion={"kind": "concat"}, modalities=("vision", "audio")),
    Variant(name="V + A + T", table=_BASELINE, fusion={"kind": "concat"}),
    Variant(name="full, clean training", table=_CLEAN, task={"natural": False}),
    Variant(name="no modality dropout, clean training", table=_CLEAN, fusion={"modality_dropout": 0.0},
            task={"natural": False}),
    Variant(name="full, one segment", table=_CONTROL, task={"segments": 1}),
    Variant(name="concat, one segment", table=_CONTROL, fusion={"kind": "concat"}, task={"segments": 1}),
)  # fmt: skip
#: What a feature store can show: it has its own losses and no negative control.
STORE_VARIANTS = tuple(v for v in VARIANTS if not v.task)

#: What each run is judged on: the test split as it is, its clips with every stream, and with streams taken away.
MEASURES: dict[str, tuple[Modality, ...]] = {
    "natural": (),
    "clean": (),
    "camera lost": ("vision",),
    "microphone lost": ("audio",),
    "words lost": ("text",),
    "text only": ("vision", "audio"),
    "audio only": ("vision", "text"),
}
#: Over these the paper's robustness is judged.
LOST = ("words lost", "text only", "audio only")


class Row(Frozen, frozen=True):
    """A variant with its mean Pearson by measure, one value for each seed; `lost` is the mean over `LOST`.

    A value is None where it is undefined: a model that sees sound alone predicts the same for every clip without it.
    """

    variant: Variant
    scores: dict[str, list[float | None]]

    def mean(self, measure: str) -> float | None:
        """The mean over the seeds whose value is defined; None where none is."""
        known = [value for value in self.scores[measure] if value is not None]
        return float(np.mean(known)) if known else None

    def paired(self, measure: str) -> Array:
        """One value for each seed, for differences. An undefined correlation counts as 0."""
        return np.array([value or 0.0 for value in self.scores[measure]])


class Claim(Frozen, frozen=True):
    """A paired difference between two variants: what is claimed, what was found, and how much it must be.

    Attributes:
        text: the claim in words.
        difference: the mean difference of mean Pearson.
        interval: its 95 % interval over the seeds.
        bar: the least difference that must be found; None where the claim is only reported.
        within: the difference must stay within the bar around 0 instead of reaching it.
    """

    text: str
    difference: float
    interval: Interval
    bar: float | None
    within: bool = False

    @property
    def holds(self) -> bool:
        """Whether the bar is met; without a bar, whether the interval lies above 0."""
        if self.bar is None:
            return self.interval.low > 0
        return abs(self.difference) <= self.bar if self.within else self.difference >= self.bar


class Ablation(Frozen, frozen=True):
    """The result of an ablation: one row for each variant, and the claims that they support or not.

    Attributes:
        provenance: the command, machine, versions and date, where it was asked for as JSON; empty in older files.
    """

    data: str
    seeds: int
    rows: tuple[Row, ...]
    claims: tuple[Claim, ...]
    seconds: float
    provenance: dict[str, Any] = msgspec.field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every asserted claim holds."""
        return all(claim.holds for claim in self.claims if claim.bar is not None)


@dataclass(frozen=True)
class AblationSetting:
    """What all training runs of an ablation share.

    Attributes:
        fusion: the full model, which variants change.
        training: how each is trained.
        clips: of the feature-level task: how many clips are in train, valid and test.
        store: a feature store instead of the feature-level task.
    """

    fusion: FusionRecipe = TASK_FUSION
    training: TrainingRecipe = TASK_TRAINING
    clips: tuple[int, int, int] = TASK_CLIPS
    store: Path | str | None = None


def make_setting(recipe: str | None, data: Path | str | None, quick: bool) -> AblationSetting:
    """Make the setting of the feature-level task, or of a store with the fusion and training of a recipe.

    Args:
        recipe: the name or TOML file of a recipe, together with `data`.
        data: a feature store, by its path or address.
        quick: a small feature-level task, for half a minute.

    Raises:
        UsageError: a recipe without data, data without a recipe, or a quick task with either.
    """
    if (recipe is None) != (data is None) or (quick and data is not None):
        raise UsageError("RECIPE and --data go together, without --quick: the feature-level task has its own head")
    if recipe is None:
        return AblationSetting(QUICK_FUSION, QUICK_TRAINING, QUICK_CLIPS) if quick else AblationSetting()
    loaded = load_recipe("export", recipe, ModelRecipe)
    return AblationSetting(loaded.fusion, loaded.training, store=data)


def find_variants(names: Sequence[str], setting: AblationSetting, table: int | None = None) -> list[Variant]:
    """The variants of these names, or of one of the paper's tables; without either, all that the data can show.

    Args:
        names: of variants.
        setting: the data.
        table: 2, 3 or 4. The full model and plain concatenation come with it, to compare with.

    Raises:
        UsageError: an unknown name or table; the message lists the known ones. Or names beside a table.

    Example:
        >>> [variant.name for variant in find_variants((), AblationSetting(), table=4)]
        ['full', 'concat', 'audio anchor', 'vision anchor']
    """
    if table is not None:
        if names:
            raise UsageError("expected --table or --variant, got both: a table has all of its variants")
        return _variants_of_table(table)
    known = {v.name: v for v in (STORE_VARIANTS if setting.store else VARIANTS)}
    if unknown := [name for name in names if name not in known]:
        raise UsageError(f"--variant {expected_one_of(list(known), unknown[0])}")
    return [known[name] for name in names] or list(known.values())


def _variants_of_table(table: int) -> list[Variant]:
    found = [v for v in VARIANTS if v.table.startswith(f"Table {table}")]
    if not found:
        raise UsageError(f"--table {table}: expected 2, 3 or 4, the tables of the paper that can be trained here")
    compared = [v for v in VARIANTS if v.name in COMPARED and v not in found]
    if table == 2:  # there they stand in the table itself
        compared = [msgspec.structs.replace(v, table=PUBLISHED) for v in compared]
    return compared + found


def run_ablation(
    setting: AblationSetting,
    seeds: int = 3,
    variants: Sequence[Variant] | None = None,
    *,
    workers: int | WorkerPool = 0,
    progress: Progress = SILENT,
) -> Ablation:
    """Train every variant with every seed, and compare them.

    Args:
        setting: the data, and the full model.
        seeds: how many; each variant is trained once for each of them.
        variants: by default all that the data can show.
        workers: processes of one thread each; 0 for as many as there are cores.
        progress: counts the runs that are done.

    Raises:
        UsageError: there is no seed.
        StoreError: the store has no train or test split.
    """
    if seeds < 1:
        raise UsageError(f"expected at least one seed, got {seeds}")
    chosen = list(variants or (STORE_VARIANTS if setting.store else VARIANTS))
    name = "the feature-level task (synthetic)" if setting.store is None else open_store(setting.store).name
    require_shared(workers, [] if setting.store is None else [setting.store])
    started = time.perf_counter()
    tasks = [(variant, seed) for seed in range(seeds) for variant in chosen]
    found: dict[tuple[str, int], dict[str, float | None]] = {}
    for done, (variant, seed, scores) in enumerate(
        run_parallel(_train_one, tasks, workers, _open_worker, (setting,)), 1
    ):
        found[variant, seed] = scores
        progress.count(done, len(tasks), "training variants")
    rows = tuple(
        Row(variant=v, scores={m: [found[v.name, s][m] for s in range(seeds)] for m in (*MEASURES, "lost")})
        for v in chosen
    )
    claims = tuple(_claims({row.variant.name: row for row in rows}, assert_them=setting.store is None))
    return Ablation(data=name, seeds=seeds, rows=rows, claims=claims, seconds=time.perf_counter() - started)


def _claims(rows: Mapping[str, Row], assert_them: bool) -> list[Claim]:
    """The claims that these rows can support. Only robust ones have a bar, and only on the task made for them."""

    def claim(text: str, better: str, worse: str, measure: str, bar: float | None = None, within: bool = False) -> None:
        if better not in rows or worse not in rows:
            return
        differences = rows[better].paired(measure) - rows[worse].paired(measure)
        claims.append(
            Claim(
                text=text,
                difference=float(differences.mean()),
                interval=paired_interval(differences),
                bar=bar if assert_them else None,
                within=within,
            )
        )

    claims: list[Claim] = []
    claim("text-anchored attention beats concatenation", FULL, CONCAT, "natural", 0.05)
    claim("text-anchored attention beats late pooling", FULL, "late pooling", "natural", 0.05)
    claim("text-anchored attention beats joint self-attention", FULL, "joint attention", "natural", 0.05)
    claim("text is a better anchor than audio", FULL, "audio anchor", "natural", 0.06)
    claim("text is a better anchor than vision", FULL, "vision anchor", "natural", 0.06)
    claim(
        "modality dropout pays where streams are lost, when training saw no losses",
        "full, clean training",
        "no modality dropout, clean training",
        "lost",
        0.015,
    )
    claim(
        "with nothing to localise, attention equals concatenation (control)",
        "full, one segment",
        "concat, one segment",
        "natural",
        0.02,
        within=True,
    )
    claim("modality dropout raises the headline figure", FULL, NO_DROPOUT, "natural")
    claim("modality dropout pays where streams are lost, when training saw losses", FULL, NO_DROPOUT, "lost")
    claim("learned tokens raise the headline figure", FULL, "no missing tokens", "natural")
    claim("learned tokens pay where streams are lost", FULL, "no missing tokens", "lost")
    for published in (HALLMEN, SAVCHENKO, ZHANG, YU):
        claim(f"the head {published} is behind text-anchored attention", FULL, published, "natural", 0.05)
    for published in (SAVCHENKO, ZHANG, YU):
        claim(f"the head {published} is behind plain concatenation", CONCAT, published, "natural")
    claim("audio is a better anchor than vision", "audio anchor", "vision anchor", "natural")
    claims += _camera_claim(rows)
    return claims


def _camera_claim(rows: Mapping[str, Row]) -> list[Claim]:
    """Losing the camera costs less with tokens and dropout than without."""
    if FULL not in rows or NO_ROBUSTNESS not in rows:
        return []
    without, full = (rows[name].paired("natural") - rows[name].paired("camera lost") for name in (NO_ROBUSTNESS, FULL))
    saved = without - full
    return [
        Claim(
            text="losing the camera costs less with tokens and modality dropout than without",
            difference=float(saved.mean()),
            interval=paired_interval(saved),
            bar=None,
        )
    ]


# ----------------------------------------------------------------------------------------------------- in a worker

_setting = AblationSetting()


def _open_worker(setting: AblationSetting) -> None:
    global _setting
    _setting = setting
    _stored.cache_clear()
    torch.set_num_threads(1)


def _train_one(task: tuple[Variant, int]) -> tuple[str, int, dict[str, float | None]]:
    """Train one variant with one seed; gives its mean Pearson by measure, None where it is undefined."""
    variant, seed = task
    train, valid, test, clean = _data(variant, seed)
    fusion = msgspec.convert({**msgspec.to_builtins(_setting.fusion), **variant.fusion, "weights": ""}, FusionRecipe)
    training = msgspec.structs.replace(_setting.training, modalities=variant.modalities)
    head = FusionHead({m: train.feature_dims[m] for m in ("vision", "audio", "text")}, fusion, seed)
    set_statistics(head, train)
    trainer = Trainer(head, train, valid, training, fusion.modality_dropout, seed)
    trainer.run()
    trainer.keep_best()

    def judged(examples: FeatureSet) -> float | None:
        return mean_pearson(predict(head, examples, training).numpy(), examples.labels.numpy())

    scores = {m: judged(clean if m == "clean" else test.without(lost)) for m, lost in MEASURES.items()}
    scores["lost"] = float(np.mean([scores[m] or 0.0 for m in LOST]))
    return variant.name, seed, scores


def _data(variant: Variant, seed: int) -> tuple[FeatureSet, FeatureSet | None, FeatureSet, FeatureSet]:
    """Train, valid, test as it is, and the test clips with every stream."""
    if _setting.store is None:
        splits = draw_splits(FeatureTask(**variant.task), seed, *_setting.clips)
        return splits.train, splits.valid, splits.test, splits.clean_test
    return _stored(_setting.store)


@lru_cache(maxsize=1)
def _stored(place: Path | str) -> tuple[FeatureSet, FeatureSet | None, FeatureSet, FeatureSet]:
    """The splits of a store, which a worker reads once: every variant is trained on the same."""
    store = open_store(place)
    test = feature_set(store, "test")
    valid = feature_set(store, "valid") if store.count("valid") else None
    return feature_set(store, "train"), valid, test, test.complete()
