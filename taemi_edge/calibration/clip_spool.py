"""Clips on disk for calibration: the inputs and the FP32 features of each clip in a file of its own.

Reading a clip costs more than running a part on it, so each clip is read once. Only one clip at a time is in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from taemi_edge.bundle.folder import Bundle, open_bundle
from taemi_edge.bundle.streams import Pattern, TextSpec
from taemi_edge.bundle.values import HEAD, Array
from taemi_edge.bundle.workers import WorkerPool, run_parallel
from taemi_edge.calibration.clip_inputs import AnyClip, ReadClip, read_inputs
from taemi_edge.calibration.graph_sessions import GraphRunner, runner_of
from taemi_edge.calibration.head_feeds import fed_patterns, head_feeds, streams_in
from taemi_edge.calibration.stream_inputs import (
    Feeds,
    StreamInputs,
    encode_stream,
    is_thinned,
    statistics_feeds,
    thin_items,
)
from taemi_edge.corpora.sample_corpus import SampleClip
from taemi_edge.corpora.staging import drop_recordings
from taemi_edge.errors import CalibrationError, InputError
from taemi_edge.media.opencv import use_one_thread
from taemi_edge.media.tokens import WordTokenizer
from taemi_edge.parity.samples import tokenizers_of
from taemi_edge.progress import SILENT, Progress


@dataclass(frozen=True, eq=False)
class SpooledClip:
    """The inputs of one clip, and the features that the FP32 encoders make of them.

    Attributes:
        labels: float32, those of all outputs side by side; NaN where there are none.
        inputs: by stream.
        features: by stream, float32 (T, D); T is 0 where the clip lacks the stream.
        further_features: by stream, the features of its further feeds, one after the other, float32 (T, D).
    """

    labels: Array
    inputs: dict[str, StreamInputs]
    features: dict[str, Array]
    further_features: dict[str, Array]


@dataclass(frozen=True, eq=False)
class ClipSpool:
    """Clips in a folder. Iterating reads one after the other, in order.

    Attributes:
        files: one for each clip.
        problems: why clips were left out, by clip id.
    """

    files: tuple[Path, ...]
    problems: dict[str, str]

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[SpooledClip]:
        return map(_load, self.files)

    def first(self, count: int) -> ClipSpool:
        """Give a spool of the first `count` clips."""
        return ClipSpool(self.files[:count], self.problems)

    def with_more(self, more: ClipSpool) -> ClipSpool:
        """Give a spool of these clips and others behind them."""
        return ClipSpool((*self.files, *more.files), {**self.problems, **more.problems})


def spool_clips(
    clips: Sequence[AnyClip],
    bundle: Bundle,
    folder: Path,
    *,
    longest_s: float,
    workers: int | WorkerPool = 0,
    progress: Progress = SILENT,
) -> ClipSpool:
    """Read clips, encode them in FP32 and write a file for each.

    Args:
        clips: to read.
        bundle: in FP32.
        folder: where the files are written.
        longest_s: how many seconds of a clip are read. Where the order of steps matters to the head, a clip is no
            longer than the model's window.
        workers: how many processes read; 0 for as many as there are cores.
        progress: receives how many clips are read.

    Raises:
        CalibrationError: none of the clips can be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if bundle.manifest.head.order_matters:
        longest_s = min(longest_s, bundle.manifest.window.length_s)
    problems: dict[str, str] = {}
    tasks = [(clip, folder / f"{number:05d}.npz") for number, clip in enumerate(clips)]
    by_recording = sorted(tasks, key=lambda task: _recording_of(task[0]))  # which a worker may have to fetch
    for done, (clip_id, problem) in enumerate(
        run_parallel(_spool, by_recording, workers, _open_worker, (str(bundle.folder), longest_s)), 1
    ):
        if problem is not None:
            problems[clip_id] = problem
        progress.count(done, len(tasks), "reading clips")
    drop_recordings()
    files = tuple(file for _, file in tasks if file.is_file())
    if not files:
        clip_id, problem = next(iter(problems.items()), ("", "there is none"))
        raise CalibrationError(f"expected clips to calibrate on, got none that can be read ({clip_id}: {problem})")
    return ClipSpool(files, problems)


def _recording_of(clip: AnyClip) -> str:
    return str(clip.ranges[0].file) if isinstance(clip, SampleClip) and clip.ranges else ""


def part_feeds(spool: ClipSpool, bundle: Bundle, part: str, items: int, batch: int) -> Iterator[Feeds]:
    """Give the feeds that one part's statistics are collected on.

    The head is fed each clip as it is and once more with streams taken away.

    Args:
        spool: the clips.
        bundle: in FP32.
        part: the name of a stream, or of the head.
        items: how many pictures or rows of a clip are taken where they are encoded one by one, evenly over it.
        batch: how many pictures or chunks are fed at a time; every tensor of the part is in memory for them.
    """
    for number, clip in enumerate(spool):
        if part == HEAD:
            for pattern in fed_patterns(bundle, number, streams_in(bundle, clip.features)):
                yield head_feeds(bundle, clip.features, pattern)
        else:
            yield from statistics_feeds(bundle.manifest.streams[part], clip.inputs[part], items, batch)


def thin_clip(clip: SpooledClip, bundle: Bundle, items: int) -> SpooledClip:
    """Give the clip with at most `items` pictures or rows of a stream, taken evenly, and the features of those."""
    inputs, features = dict(clip.inputs), dict(clip.features)
    for name, spec in bundle.manifest.streams.items():
        if not is_thinned(spec):
            continue
        inputs[name], chosen = thin_items(clip.inputs[name], items)
        if chosen is not None:
            count = sum(len(next(iter(feeds.values()))) for feeds in clip.inputs[name].feeds)
            by_item = clip.features[name].reshape(count, -1, spec.feature_dim)
            features[name] = by_item[chosen].reshape(-1, spec.feature_dim)
    return replace(clip, inputs=inputs, features=features)


# ----------------------------------------------------------------------------------------------------- in a worker


@dataclass(frozen=True, eq=False)
class _Worker:
    bundle: Bundle
    longest_s: float
    tokenizers: Mapping[str, WordTokenizer]
    encoders: Mapping[str, GraphRunner]


_worker: _Worker | None = None


def _open_worker(folder: str, longest_s: float) -> None:
    global _worker
    use_one_thread()
    bundle = open_bundle(folder)
    streams = bundle.manifest.streams
    texts = [name for name, spec in streams.items() if isinstance(spec, TextSpec)]
    words = {name: bundle.read_tokenizer(name) for name in texts}
    encoders = {name: runner_of(bundle.read_part(name)) for name in streams}
    _worker = _Worker(bundle, longest_s, tokenizers_of(streams, words), encoders)


def _spool(task: tuple[AnyClip, Path]) -> tuple[str, str | None]:
    """Read, encode and write one clip; give its id and, where it cannot be read, the reason."""
    if _worker is None:
        raise RuntimeError("_open_worker comes first")
    clip, file = task
    try:
        read = read_inputs(clip, _worker.bundle, _worker.tokenizers, _worker.longest_s)
        spooled = _encoded(read, _worker)
    except InputError as error:
        return clip.id, str(error)
    _save(spooled, file)
    return clip.id, None


def _encoded(read: ReadClip, worker: _Worker) -> SpooledClip:
    """Give a clip with the features of the FP32 encoders."""
    manifest = worker.bundle.manifest
    features, further = {}, {}
    for name, spec in manifest.streams.items():
        inputs = read.inputs[name]
        for feeds in (*inputs.feeds, *inputs.further):
            if problems := manifest.parts[name].feed_problems(feeds):
                raise InputError(f"{name}: {problems[0]}")
        features[name] = encode_stream(worker.encoders[name], spec, inputs.feeds)
        further[name] = encode_stream(worker.encoders[name], spec, inputs.further)
    came = streams_in(worker.bundle, features)
    if lost := [name for name, spec in manifest.streams.items() if spec.required and name not in came]:
        raise InputError(f"expected every required stream, got a clip without {lost[0]}")
    return SpooledClip(read.labels, read.inputs, features, further)


def _save(clip: SpooledClip, file: Path) -> None:
    arrays: dict[str, Array] = {"labels|": clip.labels}
    arrays |= {f"features|{name}": value for name, value in clip.features.items()}
    arrays |= {f"further_features|{name}": value for name, value in clip.further_features.items()}
    for stream, inputs in clip.inputs.items():
        for kind, batches in (("feeds", inputs.feeds), ("further", inputs.further)):
            for number, feeds in enumerate(batches):
                arrays |= {f"{kind}|{stream}|{number}|{name}": value for name, value in feeds.items()}
    draft = file.with_suffix(".part.npz")
    np.savez(draft, allow_pickle=False, **arrays)
    draft.rename(file)


def _load(file: Path) -> SpooledClip:
    by_kind: dict[str, dict[str, Array]] = {"labels": {}, "features": {}, "further_features": {}}
    batches: dict[tuple[str, str], dict[int, Feeds]] = {}
    with np.load(file, allow_pickle=False) as stored:
        for key in stored.files:
            kind, name, *rest = key.split("|")
            if rest:
                batches.setdefault((name, kind), {}).setdefault(int(rest[0]), {})[rest[1]] = stored[key]
            else:
                by_kind[kind][name] = stored[key]
    inputs = {
        name: StreamInputs(*(list(batches.get((name, kind), {}).values()) for kind in ("feeds", "further")))
        for name in by_kind["features"]
    }
    return SpooledClip(by_kind["labels"][""], inputs, by_kind["features"], by_kind["further_features"])


def patterns_of(spool: ClipSpool, bundle: Bundle) -> list[Pattern]:
    """Give the streams that each clip has, in the order of the clips."""
    return [streams_in(bundle, clip.features) for clip in spool]
