"""Judging a calibrated bundle: what every precision costs on clips that had no part in making it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.records import Closeness
from taemi_edge.bundle.spec import MODALITIES, PARTS
from taemi_edge.bundle.values import Array, Flavour, Precision
from taemi_edge.bundle.workers import run_parallel
from taemi_edge.calibration.clip_selection import CalibrationClips
from taemi_edge.calibration.clip_spool import SpooledClip
from taemi_edge.calibration.graph_comparison import (
    ComparisonResult,
    compare_graph,
    predict_intensities,
    thin_frames,
)
from taemi_edge.calibration.graph_sessions import runner_of
from taemi_edge.calibration.recipe import CalibrationRecipe
from taemi_edge.calibration.sensitivity import ComparisonSetup
from taemi_edge.parity.metrics import mean_pearson
from taemi_edge.progress import Progress

#: The graphs that are compared with FP32.
_JUDGED: tuple[Flavour, ...] = ("fp16", "int8", "int8-fp16")
_PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
_Results = Mapping[tuple[str, str], ComparisonResult]  # by part and flavour


@dataclass(frozen=True)
class Judgement:
    """What was measured on held-out clips; without arguments, the judgement of a bundle that no clip judged.

    Attributes:
        held_out: how many clips judged.
        patterns: the presence patterns that the fusion head was fed while ranges were found.
        closeness: how near each part is to FP32, by part and flavour.
        mean_pearson: of intensities with labels by precision, all four parts in it; None where it is undefined.
        problems: why clips were left out, by clip id.
    """

    held_out: int = 0
    patterns: tuple[str, ...] = ()
    closeness: dict[str, dict[str, Closeness]] = field(default_factory=dict)
    mean_pearson: dict[str, float | None] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Judge:
    """Compares the graphs of a calibrated bundle with FP32.

    Attributes:
        bundle: in FP32.
        clips: of which only `clips.judging` is compared on.
        workers: how many processes compare; 0 for as many as there are cores.
    """

    bundle: Bundle
    clips: CalibrationClips
    recipe: CalibrationRecipe
    workers: int

    def judge(self, draft: Path, files: Mapping[str, Mapping[Flavour, str]], progress: Progress) -> Judgement:
        """Compare every flavour of every part, and all parts of one precision together.

        Args:
            draft: the folder that the graphs lie in.
            files: their names by part and flavour.
            progress: receives how many graphs are compared.
        """
        results = self._compare(draft, files, progress)
        return Judgement(
            held_out=len(self.clips.judging),
            patterns=self.clips.patterns,
            closeness={part: {flavour: results[part, flavour].closeness for flavour in _JUDGED} for part in PARTS},
            mean_pearson=self._score_precisions({p: draft / files["fusion"][p] for p in _PRECISIONS}, results),
            problems=self.clips.problems,
        )

    def _compare(self, draft: Path, files: Mapping[str, Mapping[Flavour, str]], progress: Progress) -> _Results:
        fp32: dict[str, Path] = {part: self.bundle.part_file(part) for part in PARTS}
        setup = ComparisonSetup(fp32, self.clips.judging, self.bundle.tokens, self.recipe, self.workers)
        tasks = [setup.task(part, flavour, file=draft / files[part][flavour]) for part in PARTS for flavour in _JUDGED]
        results: dict[tuple[str, str], ComparisonResult] = {}
        for result in run_parallel(compare_graph, tasks, self.workers):
            results[result.part, result.name] = result
            progress.count(len(results), len(tasks), "judging on held-out clips")
        return results

    def _score_precisions(self, fusion: Mapping[Precision, Path], results: _Results) -> dict[str, float | None]:
        """Give mean Pearson on labels by precision, with every encoder and the fusion head in it."""
        clips = [thin_frames(clip, self.recipe.frames_per_clip) for clip in self.clips.judging]
        labels = np.array([clip.labels for clip in clips])
        scores: dict[str, float | None] = {}
        for precision in _PRECISIONS:
            features: dict[str, list[Array]] = {
                m: results[m, precision].features for m in MODALITIES if precision != "fp32"
            }
            run, swapped = runner_of(str(fusion[precision])), _with_features(clips, features)
            scores[precision] = mean_pearson(predict_intensities(run, swapped, self.bundle.tokens), labels)
        return scores


def _with_features(clips: list[SpooledClip], features: Mapping[str, list[Array]]) -> list[SpooledClip]:
    return [
        replace(clip, features={**clip.features, **{m: values[row] for m, values in features.items()}})
        for row, clip in enumerate(clips)
    ]
