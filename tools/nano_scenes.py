"""What taemi-nano is trained on: the clips of a synthetic corpus, and each of their four scenes as a clip of its own.

Of a clip only one scene shows the feeling of its labels, and only the words say which. An encoder of a few ten thousand
parameters does not learn from some hundred such riddles what a smile is. In a scene there is nothing to find: its face
and its voice show one feeling, which the plan of the clip knows. Words are drawn for it as they are for a clip.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np

from taemi_edge.bundle.workers import WorkerPool
from taemi_edge.corpora.clip_reading import ClipInputs, Reading
from taemi_edge.corpora.labelled_clips import Clip
from taemi_edge.corpora.opening import open_folder
from taemi_edge.media.tokens import WordTokenizer
from taemi_edge.media.transcripts import Word
from taemi_edge.progress import SILENT, Progress
from taemi_edge.taemi.checkpoint import Checkpoint
from taemi_edge.taemi.reference import stream_specs_of
from taemi_edge.taemi.synthetic.clip_plan import SCENES, draw_lines, plan_clip
from taemi_edge.taemi.train.clip_examples import ClipExamples, KeptClips, open_examples
from taemi_edge.taemi.train.run import TrainingData
from taemi_edge.taemi.vidmimic2 import open_corpus
from tools.cue_times import line_ends_s

#: Between the end of a scene's words and the next scene (`taemi_edge.taemi.synthetic.rendering`).
_PAUSE_S = 0.12
#: The clips of a few thousand scenes at 48 x 48.
_ROOM_BYTES = 8 << 30


def clips_and_scenes(
    checkpoint: Checkpoint, corpus: Path, seed: int, workers: int | WorkerPool = 0, progress: Progress = SILENT
) -> TrainingData:
    """The training clips of a corpus with all their scenes, and its whole clips to choose the best epoch by.

    Args:
        checkpoint: the untrained model, with its vocabulary.
        corpus: synthetic clips.
        seed: that the corpus was made with.
        workers: what reads the clips.
        progress: counts the clips that are read.
    """
    opened, specs = open_corpus(open_folder(corpus)), stream_specs_of(checkpoint)
    tokenizer = WordTokenizer(checkpoint.tokenizer_json, specs.text.max_tokens)
    clips, kept = [clip for clip in opened.clips if clip.split != "test"], KeptClips(_ROOM_BYTES)
    progress.stage("reading clips")
    found, problems = open_examples(clips, specs.vision, specs.audio, tokenizer, workers, progress, kept)
    whole = [clip for clip in clips if clip.split == "train" and clip.id not in problems]
    scenes = [scene for clip in whole for scene in scenes_of(clip, seed, kept)]
    train = ClipExamples([*whole, *scenes], specs.vision, specs.audio, tokenizer, Reading(), kept)
    described = f"{len(whole)} clips of {opened.name} and their {len(scenes)} scenes, end to end"
    digest = sha256(f"{opened.labels_sha256} with scenes".encode()).hexdigest()
    return TrainingData(train, found["valid"], None, described, digest, problems)


def scenes_of(clip: Clip, seed: int, kept: KeptClips) -> Iterator[Clip]:
    """Each scene of a clip as a clip of its own, with what was read of it among what is kept.

    A clip without words tells no times, so it has no scenes.
    """
    inputs = kept.get(clip.id)
    if inputs is None or clip.transcript is None:
        return
    plan = plan_clip(np.random.default_rng([seed, int(clip.id)]))
    rng = np.random.default_rng([seed, int(clip.id), 1])
    begin_s = 0.0
    for number, (shot, end_s) in enumerate(zip(plan.shots, line_ends_s(clip.transcript), strict=True)):
        scene = replace(clip, id=f"{clip.id} scene {number}", labels=tuple(map(float, shot.feeling)))
        said = " ".join(draw_lines(rng, shot.feeling, SCENES[shot.scene]))
        kept.add(scene.id, cut(inputs, begin_s, end_s + _PAUSE_S, said))
        begin_s = end_s + _PAUSE_S
        yield scene


def cut(inputs: ClipInputs, begin_s: float, end_s: float, said: str) -> ClipInputs:
    """What was read of a clip between two times, with other words."""
    return ClipInputs(
        crops=[crop for crop in inputs.crops if begin_s <= crop.time_s < end_s],
        segments=[segment for segment in inputs.segments if begin_s <= (segment.start_s + segment.end_s) / 2 < end_s],
        words=[Word(begin_s, end_s, word) for word in said.split()],
    )
