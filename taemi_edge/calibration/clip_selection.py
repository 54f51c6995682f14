"""Choosing the clips of a calibration: those that give ranges, and others that judge the result."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from pathlib import Path

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.workers import WorkerPool
from taemi_edge.calibration.clip_inputs import AnyClip
from taemi_edge.calibration.clip_spool import ClipSpool, patterns_of, spool_clips
from taemi_edge.calibration.head_feeds import fed_patterns
from taemi_edge.calibration.recipe import CalibrationRecipe
from taemi_edge.calibration.stream_inputs import is_thinned
from taemi_edge.corpora.drives import for_model
from taemi_edge.corpora.labelled_clips import SPLITS, Clip
from taemi_edge.corpora.opening import AnyCorpus
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
        patterns: the presence patterns that the head is fed while ranges are found.
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
    corpus: AnyCorpus,
    recipe: CalibrationRecipe,
    bundle: Bundle,
    scratch: Path,
    workers: int | WorkerPool,
    progress: Progress,
) -> CalibrationClips:
    """Choose the clips, read them and encode them with the FP32 encoders.

    Args:
        corpus: clips with labels or without.
        recipe: says how many clips to take.
        bundle: in FP32.
        scratch: a folder for the clips; it must stay as long as the result is used.
        workers: how many processes read; 0 for as many as there are cores.
        progress: receives how many clips are read.

    Raises:
        CalibrationError: there are too few clips that can be read, or one stream is in none of them.
    """

    def spooled(clips: list[AnyClip], folder: str, purpose: str) -> ClipSpool:
        counts = RenamedCounts(progress, f"reading clips to {purpose} on")
        return spool_clips(
            clips, bundle, scratch / folder, longest_s=recipe.longest_s, workers=workers, progress=counts
        )

    corpus = for_model(corpus, bundle.manifest.streams, bundle.manifest.window.length_s)
    usable, judging = _choose_clips(corpus, recipe)
    calibrating = spooled(usable[: recipe.clips], "calibrate", "calibrate")
    if more := usable[recipe.clips : _clips_wanted(calibrating, recipe, bundle)]:
        calibrating = calibrating.with_more(spooled(more, "calibrate-more", "calibrate"))
    patterns = _require_variety(calibrating, recipe, bundle)
    judges = spooled(judging, "judge", "judge")
    return CalibrationClips(corpus.name, corpus.synthetic is not None, calibrating, judges, patterns)


def _clips_wanted(first: ClipSpool, recipe: CalibrationRecipe, bundle: Bundle) -> int:
    """How many clips it takes until every stream has `least_rows` rows, by what the first clips hold."""
    rows = dict.fromkeys(bundle.manifest.streams, 0)
    for clip in first:
        for name, spec in bundle.manifest.streams.items():
            steps = len(clip.features[name])
            rows[name] += min(steps, recipe.frames_per_clip) if is_thinned(spec) else steps
    fewest = max(1, min(rows.values())) / max(1, len(first))
    return min(math.ceil(recipe.least_rows / fewest), max(recipe.clips, recipe.least_rows))


def _choose_clips(corpus: AnyCorpus, recipe: CalibrationRecipe) -> tuple[list[AnyClip], list[AnyClip]]:
    """Draw clips to calibrate on, all that there are, and clips to judge on by the recipe's seed; no clip is both."""
    usable = {split: [clip for clip in corpus.split(split) if _has_media(clip)] for split in SPLITS}
    for clips in usable.values():
        random.Random(recipe.seed).shuffle(clips)  # noqa: S311  (a draw of clips, not a secret)
    train = usable["train"] or usable["valid"] or usable["test"]
    others = [clip for split in ("test", "valid") if usable[split] is not train for clip in usable[split]]
    if not others:
        kept_back = min(recipe.held_out, max(len(train) // 4, min(recipe.min_clips, len(train) - recipe.min_clips)))
        train, others = train[kept_back:], train[:kept_back]
    judging = others[: recipe.held_out]
    _require_clips(corpus, train, recipe.min_clips, "calibrate on (split train)")
    _require_clips(corpus, judging, min(recipe.min_clips, recipe.held_out), "judge on (split test or valid)")
    return train, judging


def _require_clips(corpus: AnyCorpus, clips: list[AnyClip], least: int, purpose: str) -> None:
    if len(clips) < least:
        raise CalibrationError(
            f"{corpus.folder}: expected at least {least} clips to {purpose}, got {len(clips)}: "
            f"ranges of a few clips do not hold on others"
        )


def _has_media(clip: AnyClip) -> bool:
    return clip.has_media if isinstance(clip, Clip) else True


def _require_variety(spool: ClipSpool, recipe: CalibrationRecipe, bundle: Bundle) -> tuple[str, ...]:
    """Give the presence patterns that the head will be fed; every stream must be in some clip."""
    if len(spool) < recipe.min_clips:
        first = next(iter(spool.problems.items()), ("", ""))
        raise CalibrationError(
            f"expected at least {recipe.min_clips} clips that can be read, got {len(spool)} "
            f"({first[0]}: {first[1]}): ranges of a few clips do not hold on others"
        )
    manifest, patterns = bundle.manifest, patterns_of(spool, bundle)
    for name in manifest.streams:
        if not any(name in pattern for pattern in patterns):
            kinds = sorted({manifest.pattern_name(pattern) for pattern in patterns})
            raise CalibrationError(
                f"expected clips of several presence patterns, each stream live in some, got {', '.join(kinds)} alone: "
                f"nothing shows the range of {name}; add clips that have it"
            )
    fed = {pattern for number, came in enumerate(patterns) for pattern in fed_patterns(bundle, number, came)}
    known = [*manifest.patterns, *sorted(fed.difference(manifest.patterns), key=manifest.pattern_name)]
    return tuple(manifest.pattern_name(pattern) for pattern in known if pattern in fed)
