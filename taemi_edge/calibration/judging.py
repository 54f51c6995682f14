"""Judging a calibrated bundle: what every precision costs on clips that had no part in making it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.precisions import FLAVOURS, FLAVOURS_OF, HOST_FLAVOURS, PRECISIONS, Flavour
from taemi_edge.bundle.records import Closeness, PatternScores
from taemi_edge.bundle.streams import Pattern
from taemi_edge.bundle.values import HEAD, Array
from taemi_edge.bundle.workers import WorkerPool, run_parallel
from taemi_edge.calibration.clip_selection import CalibrationClips
from taemi_edge.calibration.clip_spool import thin_clip
from taemi_edge.calibration.graph_comparison import (
    ComparisonResult,
    ComparisonTask,
    compare_graph,
    predict,
    with_features,
)
from taemi_edge.calibration.graph_sessions import runnable_graph, runner_of
from taemi_edge.calibration.recipe import CalibrationRecipe
from taemi_edge.calibration.scoring import count_flips
from taemi_edge.calibration.sensitivity import ComparisonSetup
from taemi_edge.parity.judge import Judge
from taemi_edge.progress import Progress

_Results = Mapping[tuple[str, str], ComparisonResult]  # by part and flavour
_Predictions = Mapping[Pattern, dict[str, Array]]


@dataclass(frozen=True)
class Judgement:
    """What was measured on held-out clips; without arguments, the judgement of a bundle that no clip judged.

    Attributes:
        held_out: how many clips judged.
        patterns: the presence patterns that the head was fed while ranges were found.
        closeness: how near each part is to FP32, by part and flavour.
        scores: the metric on labels by precision and by flavour for processors, all parts in it; None where it is
            undefined.
        pattern_scores: the same over all presence patterns.
        problems: why clips were left out, by clip id.
    """

    held_out: int = 0
    patterns: tuple[str, ...] = ()
    closeness: dict[str, dict[str, Closeness]] = field(default_factory=dict)
    scores: dict[str, float | None] = field(default_factory=dict)
    pattern_scores: dict[str, PatternScores] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class GraphJudge:
    """Compares the graphs of a calibrated bundle with FP32.

    Attributes:
        bundle: in FP32.
        clips: of which only `clips.judging` is compared on.
        metric: what is counted on labels.
        workers: how many processes compare; 0 for as many as there are cores.
    """

    bundle: Bundle
    clips: CalibrationClips
    recipe: CalibrationRecipe
    metric: Judge
    workers: int | WorkerPool

    def judge(self, draft: Path, files: Mapping[str, Mapping[Flavour, str]], progress: Progress) -> Judgement:
        """Compare every flavour of every part, and all parts of one precision together.

        Args:
            draft: the folder that the graphs lie in.
            files: their names by part and flavour; all parts have the same flavours.
            progress: receives how many graphs are compared.
        """
        precisions = [precision for precision in PRECISIONS if FLAVOURS_OF[precision][0] in files[HEAD]]
        flavours = [flavour for flavour in FLAVOURS if flavour in files[HEAD] and flavour != "fp32"]
        setup = ComparisonSetup(self.bundle, self.clips.judging, self.recipe, self.metric, self.workers)
        tasks = [
            setup.task(part, flavour, file=draft / files[part][flavour], flavour=flavour)
            for part in setup.parts
            for flavour in flavours
        ]
        results = self._compare(tasks, progress)
        whole: dict[str, Flavour] = {precision: FLAVOURS_OF[precision][0] for precision in precisions}
        whole |= {flavour: flavour for flavour in HOST_FLAVOURS if flavour in flavours}
        predicted = {name: self._predict(draft, files[HEAD], flavour, results) for name, flavour in whole.items()}
        complete = self.bundle.manifest.patterns[0]
        fp32, labels = predicted["fp32"], setup.labels
        return Judgement(
            held_out=len(self.clips.judging),
            patterns=self.clips.patterns,
            closeness={
                part: {flavour: self._closeness(setup, results[part, flavour], fp32[complete]) for flavour in flavours}
                for part in setup.parts
            },
            scores={name: self.metric.value(predicted[name][complete], labels) for name in whole},
            pattern_scores={name: self._over_patterns(predicted[name], fp32, labels) for name in whole},
            problems=self.clips.problems,
        )

    def _compare(self, tasks: Sequence[ComparisonTask], progress: Progress) -> _Results:
        results: dict[tuple[str, str], ComparisonResult] = {}
        for result in run_parallel(compare_graph, tasks, self.workers):
            results[result.part, result.name] = result
            progress.count(len(results), len(tasks), "judging on held-out clips")
        return results

    def _closeness(self, setup: ComparisonSetup, result: ComparisonResult, fp32: dict[str, Array]) -> Closeness:
        """Give how near a graph is to FP32, with its score and how many labels differ."""
        found = setup.scored(result)
        if result.part == HEAD:
            return found
        return msgspec.structs.replace(found, flips=count_flips(self.metric.outputs, fp32, result.outputs))

    def _predict(self, draft: Path, heads: Mapping[Flavour, str], flavour: Flavour, results: _Results) -> _Predictions:
        """Run a whole flavour, every encoder and the head in it, on the clips in every presence pattern."""
        manifest = self.bundle.manifest
        clips = [thin_clip(clip, self.bundle, self.recipe.frames_per_clip) for clip in self.clips.judging]
        features = {name: results[name, flavour].features for name in manifest.streams if flavour != "fp32"}
        run = runner_of(runnable_graph(draft / heads[flavour], flavour), flavour)
        swapped = with_features(clips, features)
        return {pattern: predict(run, self.bundle, swapped, pattern) for pattern in manifest.patterns}

    def _over_patterns(self, predicted: _Predictions, fp32: _Predictions, labels: dict[str, Array]) -> PatternScores:
        """Sum up all presence patterns but the one without streams, where a near-tied prior may flip for nothing."""
        scores, losses, flips = [], {}, []
        for pattern in filter(None, predicted):
            before, after = (self.metric.value(found[pattern], labels) for found in (fp32, predicted))
            scores += [] if after is None else [after]
            if (loss := self.metric.loss(before, after)) is not None:
                losses[self.bundle.manifest.pattern_name(pattern)] = loss
            share = count_flips(self.metric.outputs, fp32[pattern], predicted[pattern])
            flips += [] if share is None else [share]
        worst = max(losses, key=lambda name: losses[name], default=None)
        return PatternScores(
            mean=float(np.mean(scores)) if scores else None,
            worst_loss=None if worst is None else losses[worst],
            worst_pattern=worst,
            flips=float(np.mean(flips)) if flips else None,
        )
