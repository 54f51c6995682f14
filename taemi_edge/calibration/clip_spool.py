"""Clips on disk for calibration: the inputs and the FP32 features of each clip in a file of its own.

Reading a clip costs more than running a part on it, so each clip is read once. Only one clip at a time is in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from taemi_edge.bundle.spec import MODALITIES, PRESENCE_PATTERNS, Modality
from taemi_edge.bundle.streams import AudioSpec
from taemi_edge.bundle.values import Array
from taemi_edge.bundle.workers import run_parallel
from taemi_edge.calibration.graph_sessions import GraphRunner
from taemi_edge.corpora.clip_reading import ClipInputs, Reading, read_clip
from taemi_edge.corpora.labelled_clips import Clip, Corpus
from taemi_edge.errors import CalibrationError, InputError
from taemi_edge.media.chunks import MAX_BATCH, kept_steps, of_equal_length
from taemi_edge.media.tokens import WordTokenizer
from taemi_edge.media.transcripts import Word
from taemi_edge.parity.artefact import Artefact, open_artefact
from taemi_edge.parity.golden import bind_tokens
from taemi_edge.progress import SILENT, Progress


@dataclass(frozen=True, eq=False)
class SpooledClip:
    """The inputs of one clip, and the features that the FP32 encoders make of them.

    Attributes:
        labels: float32 (6,).
        pixels: the face crops, uint8 (frames, H, W, 3).
        sound: float32 (chunks, samples); chunks of one length lie in one array.
        texts: `ids` and `mask`, int32 (1, T), of the first word, of the first half of the words and of all words; empty
            where the clip has no words.
        features: by modality, float32 (T, D); T is 0 where the clip lacks the stream.
        short_texts: the features of all texts but the last, one after the other, float32 (T, D).
    """

    labels: Array
    pixels: Array
    sound: list[Array]
    texts: list[dict[str, Array]]
    features: dict[str, Array]
    short_texts: Array

    @property
    def pattern(self) -> frozenset[Modality]:
        """The streams that the clip has."""
        return frozenset(m for m in MODALITIES if len(self.features[m]))


@dataclass(frozen=True, eq=False)
class ClipSpool:
    """Clips in a folder. Iterating reads one after the other, in order.

    Attributes:
        files: one for each clip.
        audio: how sound is cut into chunks.
        problems: why clips were left out, by clip id.
    """

    files: tuple[Path, ...]
    audio: AudioSpec
    problems: dict[str, str]

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[SpooledClip]:
        return map(_load, self.files)

    def first(self, count: int) -> ClipSpool:
        """Give a spool of the first `count` clips."""
        return ClipSpool(self.files[:count], self.audio, self.problems)


def spool_clips(
    corpus: Corpus,
    clips: list[Clip],
    bundle: Path,
    folder: Path,
    *,
    longest_s: float,
    workers: int = 0,
    progress: Progress = SILENT,
) -> ClipSpool:
    """Read clips, encode them in FP32 and write a file for each.

    Args:
        corpus: that the clips belong to.
        clips: to read.
        bundle: the folder of the FP32 bundle.
        folder: where the files are written.
        longest_s: how many seconds of a clip are read.
        workers: how many processes read; 0 for as many as there are cores.
        progress: receives how many clips are read.

    Raises:
        CalibrationError: none of the clips can be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    problems: dict[str, str] = {}
    tasks = [(clip, folder / f"{number:05d}-{clip.id}.npz") for number, clip in enumerate(clips)]
    for done, (clip_id, problem) in enumerate(
        run_parallel(_spool, tasks, workers, _open_worker, (str(bundle), longest_s)), 1
    ):
        if problem is not None:
            problems[clip_id] = problem
        progress.count(done, len(tasks), "reading clips")
    files = tuple(file for _, file in tasks if file.is_file())
    if not files:
        first = next(iter(problems.items()), ("", "there is none"))
        raise CalibrationError(f"{corpus.folder}: expected clips to calibrate on, got none ({first[0]}: {first[1]})")
    with open_artefact(str(bundle)) as artefact:
        return ClipSpool(files, artefact.audio, problems)


def part_feeds(
    spool: ClipSpool, part: str, tokens: Mapping[str, Array], frames_per_clip: int, batch: int
) -> Iterator[dict[str, Array]]:
    """Give the feeds that one part's statistics are collected on.

    The fusion head is fed each clip as it is and once more with streams taken away.

    Args:
        spool: the clips.
        part: "vision", "audio", "text" or "fusion".
        tokens: the missing-modality token of each modality, (D,).
        frames_per_clip: how many frames of a clip are taken, evenly over it.
        batch: how many frames or chunks are fed at a time; every tensor of the part is in memory for them.
    """
    for number, clip in enumerate(spool):
        if part == "vision":
            chosen = np.linspace(0, len(clip.pixels) - 1, min(frames_per_clip, len(clip.pixels))).astype(int)
            for at in range(0, len(chosen), batch):
                yield {"pixels": clip.pixels[chosen[at : at + batch]]}
        elif part == "audio":
            for sound in clip.sound:
                for at in range(0, len(sound), batch):
                    yield {"samples": sound[at : at + batch]}
        elif part == "text":
            yield from clip.texts
        else:
            for pattern in fed_patterns(number, clip.pattern):
                yield fusion_feeds(clip.features, pattern, tokens)


def fed_patterns(number: int, came: frozenset[Modality]) -> list[frozenset[Modality]]:
    """Give the presence patterns in which the fusion head is fed a clip: its own, and one with streams taken away.

    Args:
        number: of the clip; it decides which streams are taken away.
        came: the streams that the clip has.

    Example:
        >>> [sorted(pattern) for pattern in fed_patterns(3, frozenset({"vision", "audio"}))]
        [['audio', 'vision'], ['vision']]
    """
    return list(dict.fromkeys((came, came & PRESENCE_PATTERNS[number % len(PRESENCE_PATTERNS)])))


def fusion_feeds(
    features: Mapping[str, Array], pattern: frozenset[Modality], tokens: Mapping[str, Array]
) -> dict[str, Array]:
    """Give the feeds of the fusion head for one clip.

    Args:
        features: by modality, (T, D); T is 0 where the clip lacks the stream.
        pattern: the streams that are used; tokens are bound for the others and for those that the clip lacks.
        tokens: the missing-modality token of each modality, (D,).

    Returns:
        Each modality float32 (1, T, D) and its mask int32 (1, T).
    """
    feeds: dict[str, Array] = {}
    for m in MODALITIES:
        values = features[m] if len(features[m]) else tokens[m][None]
        feeds[m] = np.ascontiguousarray(values[None], np.float32)
        feeds[f"{m}_mask"] = np.ones(feeds[m].shape[:2], np.int32)
    live: frozenset[Modality] = frozenset(m for m in MODALITIES if m in pattern and len(features[m]))
    return bind_tokens(feeds, live, tokens)


def encode_stream(run: GraphRunner, part: str, clip: SpooledClip, audio: AudioSpec, dim: int) -> Array:
    """Run an encoder on its stream of a clip, in the chunks and batches of the runtime.

    Args:
        run: runs the encoder.
        part: "vision", "audio" or "text".
        clip: its inputs are read.
        audio: how sound is cut into chunks.
        dim: D.

    Returns:
        The features, float32 (T, D); T is 0 where the clip lacks the stream.
    """
    nothing = np.zeros((0, dim), np.float32)
    if part == "vision":
        found = [
            run({"pixels": clip.pixels[at : at + MAX_BATCH]})["features"]
            for at in range(0, len(clip.pixels), MAX_BATCH)
        ]
    elif part == "audio":
        found = [
            chunk[-kept_steps(audio.chunk_samples, sound.shape[1], len(chunk)) :]
            for sound in clip.sound
            for chunk in run({"samples": sound})["features"]
        ]
    else:
        found = [run(feeds)["features"][0] for feeds in clip.texts[-1:]]
    return np.concatenate(found) if found else nothing


def encode_short_texts(run: GraphRunner, clip: SpooledClip, dim: int) -> Array:
    """Run the text encoder on all texts of a clip but the last: few words have other ranges than many.

    Returns:
        The features of these texts one after the other, float32 (T, D).
    """
    found = [run(feeds)["features"][0] for feeds in clip.texts[:-1]]
    return np.concatenate(found) if found else np.zeros((0, dim), np.float32)


# ----------------------------------------------------------------------------------------------------- in a worker

_worker: tuple[Artefact, WordTokenizer, float] | None = None
_held_open = ExitStack()  # until the worker process ends


def _open_worker(bundle: str, longest_s: float) -> None:
    global _worker
    cv2.setNumThreads(1)
    _held_open.close()
    artefact = _held_open.enter_context(open_artefact(bundle, threads=1))
    _worker = artefact, WordTokenizer(artefact.tokenizer_json, artefact.text.max_tokens), longest_s


def _spool(task: tuple[Clip, Path]) -> tuple[str, str | None]:
    """Read, encode and write one clip; give its id and, where it cannot be read, the reason."""
    if _worker is None:
        raise RuntimeError("_open_worker comes first")
    artefact, tokenizer, longest_s = _worker
    clip, file = task
    try:
        inputs = read_clip(clip, artefact.vision, artefact.audio, Reading(longest_s=longest_s))
    except InputError as error:
        return clip.id, str(error)
    _save(_encoded(_with_inputs(clip, inputs, artefact, tokenizer), artefact), file)
    return clip.id, None


def _with_inputs(clip: Clip, inputs: ClipInputs, artefact: Artefact, tokenizer: WordTokenizer) -> SpooledClip:
    """Give a clip with its inputs and without features."""
    height, width = artefact.vision.size_hw
    pixels = [crop.pixels for crop in inputs.crops if crop.pixels is not None]
    return SpooledClip(
        labels=np.array(clip.labels, np.float32),
        pixels=np.stack(pixels) if pixels else np.zeros((0, height, width, 3), np.uint8),
        sound=[np.stack([s.samples for s in batch]) for batch in of_equal_length(inputs.segments)],
        texts=[tokenizer.feeds([text]) for text in _texts(inputs.words)],
        features={},
        short_texts=np.zeros((0, 0), np.float32),
    )


def _encoded(clip: SpooledClip, artefact: Artefact) -> SpooledClip:
    """Give a clip with the features of the FP32 encoders."""
    dims = {m: len(artefact.tokens[m]) for m in MODALITIES}
    return replace(
        clip,
        short_texts=encode_short_texts(artefact.part("text"), clip, dims["text"]),
        features={m: encode_stream(artefact.part(m), m, clip, artefact.audio, dims[m]) for m in MODALITIES},
    )


def _texts(words: list[Word]) -> list[str]:
    """Give the texts that the runtime encodes while a clip runs: of the first word, of half of them, of all of them."""
    counts = sorted({count for count in (1, len(words) // 2, len(words)) if 0 < count <= len(words)})
    return [" ".join(word.text for word in words[:count]) for count in counts]


def _save(clip: SpooledClip, file: Path) -> None:
    arrays: dict[str, Array] = {"labels": clip.labels, "pixels": clip.pixels}
    arrays |= {f"sound|{number}": batch for number, batch in enumerate(clip.sound)}
    arrays |= {f"texts|{number}|{k}": v for number, feeds in enumerate(clip.texts) for k, v in feeds.items()}
    arrays["short_texts"] = clip.short_texts
    arrays |= {f"features|{m}": value for m, value in clip.features.items()}
    draft = file.with_suffix(".part.npz")
    np.savez(draft, allow_pickle=False, **arrays)
    draft.rename(file)


def _load(file: Path) -> SpooledClip:
    with np.load(file, allow_pickle=False) as stored:
        arrays = {key: stored[key] for key in stored.files}

    def group(name: str) -> dict[str, Array]:
        return {key.partition("|")[2]: value for key, value in arrays.items() if key.startswith(f"{name}|")}

    sound, texts = group("sound"), group("texts")
    return SpooledClip(
        labels=arrays["labels"],
        pixels=arrays["pixels"],
        sound=[sound[key] for key in sorted(sound, key=int)],
        texts=[{k: texts[f"{n}|{k}"] for k in ("ids", "mask")} for n in range(len(texts) // 2)],
        features=group("features"),
        short_texts=arrays["short_texts"],
    )
