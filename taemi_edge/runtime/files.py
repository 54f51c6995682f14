"""Runs a bundle over media files: writes predictions as JSON lines and, where wanted, an annotated video.

`run_file` runs one file. `run_together` runs several side by side, so that they share each call of the encoders.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.spec import Manifest
from taemi_edge.bundle.streams import AudioSpec, TextSpec, VideoSpec
from taemi_edge.errors import MediaError, OptionError, UsageError
from taemi_edge.media.files import MediaFile, read_samples
from taemi_edge.media.recognition import PACKAGED_MODEL, SAMPLE_RATE_HZ, transcribe
from taemi_edge.media.rehearsed_losses import Drop, require_known, words_after_drops
from taemi_edge.media.series import Series
from taemi_edge.media.transcripts import Word, read_transcript
from taemi_edge.progress import SILENT, Progress
from taemi_edge.runtime.annotate import AnnotatedVideo
from taemi_edge.runtime.hop_groups import HopGrouper
from taemi_edge.runtime.json_lines import JsonLines
from taemi_edge.runtime.pipeline import Fleet, Pipeline
from taemi_edge.runtime.prediction import Prediction
from taemi_edge.runtime.prepared_hop import PreparedHop
from taemi_edge.runtime.series_tracks import open_tracks, with_tracks
from taemi_edge.runtime.sessions import Device
from taemi_edge.runtime.window import Source


@dataclass(frozen=True)
class RunOptions:
    """How to run files.

    Attributes:
        transcript: a file with the words and their times.
        asr: recognise the words from the sound instead.
        asr_model: the model for that; see `taemi_edge.media.recognition.transcribe`.
        window_s: how far back a prediction looks, in seconds; the bundle's own by default.
        hop_s: how often a prediction is made, in seconds; the bundle's own by default.
        drops: losses to rehearse.
        annotate: where to write an annotated video, .mp4 or .mkv.
        device: where to run; by default what the bundle was built for.
        threads: for ONNX Runtime, 0 for as many as there are cores.
        deadline_s: how long the first of several sources waits for the others' hops.
        streams: the file of each series that lies beside the media file, by stream.

    Raises:
        UsageError: a value that is out of range, or two options that exclude each other.
    """

    transcript: Path | None = None
    asr: bool = False
    asr_model: str = PACKAGED_MODEL
    window_s: float | None = None
    hop_s: float | None = None
    drops: tuple[Drop, ...] = ()
    annotate: Path | None = None
    device: Device | None = None
    threads: int = 0
    deadline_s: float = 0.05
    streams: Mapping[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 <= self.deadline_s <= 60:
            given = f"{self.deadline_s * 1e3:g} ms"
            raise OptionError("deadline_s:", "--deadline:", f"expected from 0 to 60000 ms, got {given}")
        for name, flag, value in (("window_s", "--window", self.window_s), ("hop_s", "--hop", self.hop_s)):
            if value is not None and not 0 < value <= 3600:
                raise OptionError(name, flag, f"{value:g}: expected seconds above 0 and up to 3600")
        if self.annotate is not None and self.annotate.suffix.lower() not in (".mp4", ".mkv"):
            raise OptionError("annotate", "--annotate", f"{self.annotate}: expected a file that ends in .mp4 or .mkv")
        if self.transcript is not None and self.asr:
            raise OptionError("transcript, asr:", "--transcript, --asr:", "expected one of the two, got both")


@dataclass
class RunSummary:
    """What a run over one file did.

    Attributes:
        predictions: all of them, in the order of time.
        media_s: how much of the file they cover, in seconds.
        wall_s: how long the run took, in seconds.
        damaged_packets: how many packets could not be decoded.
        lost: why the device was given up on the way; None where it was not.
    """

    predictions: list[Prediction] = field(default_factory=list)
    media_s: float = 0.0
    wall_s: float = 0.0
    damaged_packets: int = 0
    lost: str | None = None

    @property
    def real_time_factor(self) -> float:
        """Seconds of work for each second of media; below 1 is faster than live."""
        return self.wall_s / self.media_s if self.media_s else 0.0


@dataclass
class FleetSummary:
    """What a run over several files did.

    Attributes:
        sources: what the run did over each file.
        calls: how many groups of hops were run.
        wall_s: how long the run took, in seconds.
        lost: why the device was given up on the way; None where it was not.
    """

    sources: dict[Path, RunSummary]
    calls: int = 0
    wall_s: float = 0.0
    lost: str | None = None

    @property
    def predictions(self) -> int:
        """How many predictions were made in all."""
        return sum(len(summary.predictions) for summary in self.sources.values())


def run_file(
    bundle: Bundle,
    source: Path,
    options: RunOptions,
    lines: JsonLines,
    progress: Progress = SILENT,
) -> RunSummary:
    """Run a bundle over a media file and write what the options ask for.

    Args:
        bundle: what `taemi_edge.bundle.folder.open_bundle` gave.
        source: the media file.
        lines: where predictions are written.
        progress: counts the seconds of media that were run.

    Raises:
        MediaError: the file cannot be read, or is shorter than a hop: nothing is written then.
        TranscriptError: the transcript cannot be read.
        UsageError: options that do not fit the file, or a device that is not there.
        BackendError: the device failed.
        OutputError: a file cannot be written.

    Example:
        >>> import taemi_edge as te
        >>> with JsonLines(Path("predictions.jsonl")) as lines:
        ...     summary = run_file(te.open_bundle("export/taemi-tiny"), Path("talk.mp4"), RunOptions(), lines)
        >>> len(summary.predictions), summary.media_s
        (33, 16.5)
    """
    started = time.perf_counter()
    _refuse_source_as_target(source, {"--output": lines.file, "--annotate": options.annotate})
    predictions = []
    with _open_file_run(bundle, source, options, progress) as run:
        for prediction in run.predictions():
            lines.write(prediction.to_json())
            predictions.append(prediction)
            progress.count(prediction.time_s, run.media.duration_s, "running")
    wall_s = time.perf_counter() - started
    return RunSummary(predictions, predictions[-1].time_s, wall_s, run.media.damaged_packets, run.pipeline.fleet.lost)


def predict_file(bundle: Bundle, source: Path, options: RunOptions) -> Iterator[Prediction]:
    """The predictions of a media file, one after the other, as the caller asks for them.

    Raises:
        MediaError, TranscriptError, UsageError, BackendError: see `run_file`; with the first prediction.
    """
    with _open_file_run(bundle, source, options, SILENT) as run:
        yield from run.predictions()


def run_together(
    bundle: Bundle,
    sources: Sequence[Path],
    options: RunOptions,
    lines: JsonLines,
    progress: Progress = SILENT,
) -> FleetSummary:
    """Run a bundle over several media files side by side: hop by hop, their inputs share each call.

    A file that ends or fails leaves the others to go on; the first failure is raised in the end.

    Args:
        bundle: what `taemi_edge.bundle.folder.open_bundle` gave.
        sources: the media files.
        lines: where predictions are written, each with the name of its source.
        progress: counts the seconds of media that were run.

    Raises:
        MediaError: a file cannot be read, or is shorter than a hop.
        TranscriptError, UsageError, BackendError, OutputError: see `run_file`.
    """
    started = time.perf_counter()
    for source in sources:
        _refuse_source_as_target(source, {"--output": lines.file})
    summary = FleetSummary({source: RunSummary() for source in sources})
    with _open_files_run(bundle, sources, options, progress) as run:
        longest_s = max((media.duration_s or 0.0 for media in run.medias), default=0.0)
        for group in run.groups():
            for index, prediction in group.items():
                lines.write(prediction.to_json())
                summary.sources[sources[index]].predictions.append(prediction)
            summary.calls += 1
            progress.count(max(prediction.time_s for prediction in group.values()), longest_s or None, "running")
        summary.wall_s, summary.lost = time.perf_counter() - started, run.fleet.lost
    for source, media in zip(sources, run.medias, strict=True):
        one = summary.sources[source]
        one.media_s, one.wall_s = one.predictions[-1].time_s, summary.wall_s
        one.damaged_packets = media.damaged_packets
    return summary


def predict_files(bundle: Bundle, sources: Sequence[Path], options: RunOptions) -> Iterator[Prediction]:
    """The predictions of several media files that are run side by side, as they are made.

    Raises:
        MediaError, TranscriptError, UsageError, BackendError: see `run_together`.
    """
    with _open_files_run(bundle, sources, options, SILENT) as run:
        for group in run.groups():
            yield from group.values()


@dataclass(frozen=True, eq=False)
class _FileRun:
    """One file that is open, with the pipeline that runs on it."""

    source: Path
    media: MediaFile
    pipeline: Pipeline
    hop_s: float
    tracks: Mapping[str, Series]
    video: AnnotatedVideo | None

    def predictions(self) -> Iterator[Prediction]:
        """The file's predictions; each hop is drawn with the prediction before it, which was known when it was seen."""
        last: Prediction | None = None
        for hop in with_tracks(self.media.hops(self.hop_s), self.tracks):
            face = self.pipeline.face
            prediction = self.pipeline.predict(hop)
            yield prediction
            if self.video:
                self.video.add(hop, last, face)
            last = prediction
        rest = self.media.rest()
        if last is None:
            raise MediaError(_too_short(self.source, self.media, self.hop_s))
        if self.video:
            self.video.add(rest, last, self.pipeline.face)


@contextmanager
def _open_file_run(bundle: Bundle, source: Path, options: RunOptions, progress: Progress) -> Iterator[_FileRun]:
    window_s, hop_s = _window_and_hop(bundle, options)
    streams = bundle.manifest.streams
    require_known(options.drops, streams)
    tracks = open_tracks(options.streams, streams)
    with ExitStack() as stack:
        media = stack.enter_context(MediaFile(source, streams=streams, every_frame=options.annotate is not None))
        described = _described(bundle.manifest, media, options, progress)
        pipeline = stack.enter_context(
            Pipeline(bundle, described, device=options.device, threads=options.threads, window_s=window_s, hop_s=hop_s)
        )
        video = _annotated_video(stack, bundle.manifest, media, described, options)
        yield _FileRun(source, media, pipeline, hop_s, tracks, video)


@dataclass(frozen=True, eq=False)
class _FilesRun:
    """Several files that are open, with the fleet that runs on them."""

    sources: Sequence[Path]
    medias: Sequence[MediaFile]
    fleet: Fleet
    grouper: HopGrouper[PreparedHop]
    hop_s: float

    def groups(self) -> Iterator[dict[int, Prediction]]:
        """The predictions that were made in one call, by the number of their file; at the end, what failed first."""
        made = set()
        for group in self.grouper:
            made |= set(group)
            yield dict(zip(sorted(group), self.fleet.predict(group), strict=True))
        for index, (source, media) in enumerate(zip(self.sources, self.medias, strict=True)):
            if index in self.grouper.errors:
                raise self.grouper.errors[index]
            if index not in made:
                raise MediaError(_too_short(source, media, self.hop_s))


@contextmanager
def _open_files_run(
    bundle: Bundle, sources: Sequence[Path], options: RunOptions, progress: Progress
) -> Iterator[_FilesRun]:
    if options.streams:
        raise UsageError("expected --stream with one file, got several: run them one after the other")
    if len(set(sources)) < len(sources):
        raise UsageError("expected different sources, got one of them twice")
    window_s, hop_s = _window_and_hop(bundle, options)
    manifest = bundle.manifest
    require_known(options.drops, manifest.streams)
    with ExitStack() as stack:
        medias = [stack.enter_context(MediaFile(source, streams=manifest.streams)) for source in sources]
        described = [_described(manifest, media, options, progress) for media in medias]
        fleet = stack.enter_context(
            Fleet(bundle, described, device=options.device, threads=options.threads, window_s=window_s, hop_s=hop_s)
        )
        feeds = [_prepared_hops(fleet, index, media, hop_s) for index, media in enumerate(medias)]
        grouper = stack.enter_context(HopGrouper(feeds, options.deadline_s))
        yield _FilesRun(sources, medias, fleet, grouper, hop_s)


def _prepared_hops(fleet: Fleet, index: int, media: MediaFile, hop_s: float) -> Iterator[PreparedHop]:
    """One source's hops with their faces found; this runs in the source's own thread."""
    for hop in media.hops(hop_s):
        yield fleet.prepare(index, hop)


def _described(manifest: Manifest, media: MediaFile, options: RunOptions, progress: Progress) -> Source:
    """Describe a file to the runtime, with its words."""
    words = tuple(_words(media, options, progress))
    return Source(media.path.name, words, options.drops, _absent(manifest, media, words, options))


def _words(media: MediaFile, options: RunOptions, progress: Progress) -> list[Word]:
    if options.transcript is not None:
        return read_transcript(options.transcript, media.duration_s)
    if not options.asr:
        return []
    if not media.has_audio:
        raise UsageError(f"--asr: {media.path} has no audio stream to recognise speech in: leave --asr away")
    samples = read_samples(media.path, SAMPLE_RATE_HZ)
    return transcribe(samples, options.asr_model, options.threads, progress)


def _window_and_hop(bundle: Bundle, options: RunOptions) -> tuple[float, float]:
    hop_s = options.hop_s or bundle.manifest.window.hop_s
    window_s = options.window_s or bundle.manifest.window.length_s
    if hop_s > window_s:
        raise UsageError(
            f"expected a hop no longer than the window, got {hop_s:g} s and {window_s:g} s: words would be lost"
        )
    return window_s, hop_s


def _absent(manifest: Manifest, media: MediaFile, words: Sequence[Word], options: RunOptions) -> dict[str, str]:
    """Why streams will never come from a file, by stream."""
    absent = {}
    for name, spec in manifest.streams.items():
        if isinstance(spec, VideoSpec) and not media.has_video:
            absent[name] = "the file has no video stream"
        if isinstance(spec, AudioSpec) and not media.has_audio:
            absent[name] = "the file has no audio stream"
        if isinstance(spec, TextSpec) and not words:
            absent[name] = "no speech was recognised" if options.asr else "no transcript was given"
    return absent


def _annotated_video(
    stack: ExitStack, manifest: Manifest, media: MediaFile, source: Source, options: RunOptions
) -> AnnotatedVideo | None:
    if options.annotate is None:
        return None
    if not media.has_video and any(isinstance(spec, VideoSpec) for spec in manifest.streams.values()):
        raise UsageError(f"--annotate: {media.path} has no video stream to draw on: leave --annotate away")
    texts = [name for name, spec in manifest.streams.items() if isinstance(spec, TextSpec)]
    shown = words_after_drops(source.words_of(texts[0]), options.drops, texts[0]) if texts else []
    return stack.enter_context(AnnotatedVideo(options.annotate, manifest, media.frame_rate, shown))


def _refuse_source_as_target(source: Path, targets: Mapping[str, Path | None]) -> None:
    for option, target in targets.items():
        if target is not None and target.exists() and source.exists() and target.samefile(source):
            raise UsageError(f"{option} {target}: expected another file than the source: name a new one")


def _too_short(source: Path, media: MediaFile, hop_s: float) -> str:
    length = "nothing that can be decoded" if media.length_s <= 0 else f"{media.length_s:.2f} s"
    return f"{source}: expected at least one hop of {hop_s:g} s, got {length}: give a shorter hop or a longer file"
