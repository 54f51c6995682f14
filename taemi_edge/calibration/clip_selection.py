"""Choosing the clips of a calibration: those that give ranges, and others that judge the result."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from taemi_edge.bundle.spec import MODALITIES, PRESENCE_PATTERNS
from taemi_edge.bundle.streams import pattern_name
from taemi_edge.calibration.clip_spool import ClipSpool, fed_patterns, spool_clips
from taemi_edge.calibration.recipe import CalibrationRecipe
from taemi_edge.corpora.labelled_clips import Clip, Corpus
from taemi_edge.errors import CalibrationError
from taemi_edge.progress import Progress, RenamedCounts


@dataclass(frozen=True, eq=False)
class CalibrationClips:
    """The clips of a calibration, on disk.

    Attributes:
        data: the name of the corpus.
        synthetic: whether its clips are synthetic.
        calibrating: the clips that ranges, exclusions and islands come from.
        judging: other clips, which measure what the result costs.
        patterns: the presence patterns that the fusion head is fed while ranges are found.
    """

    data: str
    synthetic: bool
    calibrating: ClipSpool
    judging: ClipSpool
    patterns: tuple[str, ...]

    @property
    def problems(self) -> dict[str, str]:
        """Why clips were left out, by clip id."""
        return {**self.calibrating.problems, **self.judging.problems}


def read_clips(
    corpus: Corpus, recipe: CalibrationRecipe, source: Path, scratch: Path, workers: int, progress: Progress
) -> CalibrationClips:
    """Choose the clips, read them and encode them with the FP32 encoders.

    Args:
        corpus: labelled clips, or clips without labels.
        recipe: says how many clips to take.
        source: the folder of the FP32 bundle.
        scratch: a folder for the clips; it must stay as long as the result is used.
        workers: how many processes read; 0 for as many as there are cores.
        progress: receives how many clips are read.

    Raises:
        CalibrationError: there are too few clips that can be read, or one stream is in none of them.
    """
    spools = {}
    for purpose, clips in zip(("calibrate", "judge"), _choose_clips(corpus, recipe), strict=True):
        spools[purpose] = spool_clips(
            corpus,
            clips,
            source,
            scratch / purpose,
            longest_s=recipe.longest_s,
            workers=workers,
            progress=RenamedCounts(progress, f"reading clips to {purpose} on"),
        )
    patterns = _require_variety(spools["calibrate"], recipe)
    synthetic = corpus.synthetic is not None
    return CalibrationClips(corpus.name, synthetic, spools["calibrate"], spools["judge"], patterns)


def _choose_clips(corpus: Corpus, recipe: CalibrationRecipe) -> tuple[list[Clip], list[Clip]]:
    """Draw clips to calibrate on and clips to judge on by the recipe's seed; no clip is both."""
    usable = {split: [clip for clip in corpus.split(split) if clip.has_media] for split in ("train", "valid", "test")}
    for clips in usable.values():
        random.Random(recipe.seed).shuffle(clips)  # noqa: S311  (a draw of clips, not a secret)
    train = usable["train"] or usable["valid"]
    others = usable["test"] + (usable["valid"] if usable["train"] else [])
    if not others:
        kept_back = min(recipe.held_out, max(len(train) // 4, min(recipe.min_clips, len(train) - recipe.min_clips)))
        train, others = train[kept_back:], train[:kept_back]
    calibrating, judging = train[: recipe.clips], others[: recipe.held_out]
    _require_clips(corpus, calibrating, recipe.min_clips, "calibrate on (split train)")
    _require_clips(corpus, judging, min(recipe.min_clips, recipe.held_out), "judge on (split test or valid)")
    return calibrating, judging


def _require_clips(corpus: Corpus, clips: list[Clip], least: int, purpose: str) -> None:
    if len(clips) < least:
        raise CalibrationError(
            f"{corpus.folder}: expected at least {least} clips to {purpose}, got {len(clips)}: "
            f"ranges of a few clips do not hold on others"
        )


def _require_variety(spool: ClipSpool, recipe: CalibrationRecipe) -> tuple[str, ...]:
    """Give the presence patterns that the fusion head will be fed; every stream must be in some clip."""
    if len(spool) < recipe.min_clips:
        first = next(iter(spool.problems.items()), ("", ""))
        raise CalibrationError(
            f"expected at least {recipe.min_clips} clips that can be read, got {len(spool)} "
            f"({first[0]}: {first[1]}): ranges of a few clips do not hold on others"
        )
    patterns = [clip.pattern for clip in spool]
    for m in MODALITIES:
        if not any(m in pattern for pattern in patterns):
            kinds = sorted({pattern_name(pattern) for pattern in patterns})
            raise CalibrationError(
                f"expected clips of several presence patterns, each stream live in some, got {', '.join(kinds)} alone: "
                f"nothing tells the range of {m}; add clips that have it"
            )
    fed = {pattern for number, pattern in enumerate(patterns) for pattern in fed_patterns(number, pattern)}
    return tuple(pattern_name(pattern) for pattern in PRESENCE_PATTERNS if pattern in fed)
