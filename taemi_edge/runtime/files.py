"""Runs a bundle over recorded files: writes predictions as JSON lines and, where wanted, an annotated video.

`run_file` runs one file. `run_together` runs several side by side, so that they share each call of the encoders.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.spec import Manifest
from taemi_edge.bundle.streams import StreamSpec, TextSpec, VideoSpec
from taemi_edge.errors import MediaError, OptionError, UsageError
from taemi_edge.media.content_checks import ContentLimits, ContentWatch
from taemi_edge.media.faces import Face
from taemi_edge.media.file_source import FileSource
from taemi_edge.media.hops import Hop
from taemi_edge.media.recognition import PACKAGED_MODEL, SAMPLE_RATE_HZ, transcribe
from taemi_edge.media.recordings.opening import split_topic
from taemi_edge.media.recordings.recorded_clock import Clock, clock_named
from taemi_edge.media.rehearsed_losses import Drop, require_known, words_after_drops
from taemi_edge.media.transcripts import Word
from taemi_edge.progress import SILENT, Progress
from taemi_edge.runtime.annotate import AnnotatedVideo
from taemi_edge.runtime.hop_groups import HopGrouper
from taemi_edge.runtime.hop_viewer import HopViewer, begin_viewing
from taemi_edge.runtime.json_lines import JsonLines
from taemi_edge.runtime.pipeline import Fleet, Pipeline
from taemi_edge.runtime.prediction import Prediction
from taemi_edge.runtime.prepared_hop import PreparedHop
from taemi_edge.runtime.run_summary import FleetSummary as FleetSummary
from taemi_edge.runtime.run_summary import RunSummary as RunSummary
from taemi_edge.runtime.sessions import Device
from taemi_edge.runtime.window import Source

log = logging.getLogger("taemi_edge.runtime")


@dataclass(frozen=True)
class RunOptions:
    """How to run files.

    Attributes:
        transcript: a file with the words and their times, for text streams without a file of their own.
        asr: recognise the words from the sound instead.
        asr_model: the model for that; see `taemi_edge.media.recognition.transcribe`.
        window_s: how far back a prediction looks, in seconds; the bundle's own by default.
        hop_s: how often a prediction is made, in seconds; the bundle's own by default.
        drops: losses to rehearse.
        annotate: where to write an annotated video, .mp4 or .mkv.
        device: where to run; by default what the bundle was built for.
        threads: of each part on a CPU, 0 for all cores; None takes the plan of the engines, else all cores.
        deadline_s: how long the first of several sources waits for the others' hops.
        streams: files of their own, by stream: video, audio, transcripts, series; of a recording also RECORDING#TOPIC.
        topics: of recordings, TOPIC or TOPIC.field by stream; what is not named is chosen by the types of messages.
        clock: of recordings: "header" for the stamps of messages, "log" for the times of logging, "auto" to choose.
        content: how long a frozen or black picture and digital silence count as good.
        viewer: is shown every hop with its prediction; the caller closes it.

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
    threads: int | None = None
    deadline_s: float = 0.05
    streams: Mapping[str, Path] = field(default_factory=dict)
    topics: Mapping[str, str] = field(default_factory=dict)
    clock: Clock = "auto"
    content: ContentLimits = ContentLimits()  # noqa: RUF009  (frozen)
    viewer: HopViewer | None = None

    def __post_init__(self) -> None:
        clock_named(self.clock)
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


def run_file(
    bundle: Bundle,
    source: Path | None,
    options: RunOptions,
    lines: JsonLines,
    progress: Progress = SILENT,
) -> RunSummary:
    """Run a bundle over the files of one source and write what the options ask for.

    Args:
        bundle: what `taemi_edge.bundle.folder.open_bundle` gave.
        source: a video or audio file, or one of series; None where `options.streams` names all files.
        lines: where predictions are written.
        progress: counts the seconds that were run.

    Raises:
        InputError: a file cannot be read, or the files are shorter than a hop: nothing is written then.
        UsageError: options that do not fit the files, or a device that is not there.
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
    read = [*_files_of(source, options), *bundle.folder.iterdir()]
    _refuse_source_as_target(read, {"--output": lines.file, "--annotate": options.annotate})
    summary = RunSummary()
    with _open_file_run(bundle, source, options, progress) as run:
        for prediction in run.predictions():
            lines.write(prediction.to_json())
            summary.predictions.append(prediction)
            progress.count(prediction.time_s, run.files.duration_s, "running")
        summary.damaged_packets, summary.lost = run.files.damaged_packets, run.pipeline.fleet.lost
    summary.media_s, summary.wall_s = summary.predictions[-1].time_s, time.perf_counter() - started
    summary.notes = run.files.notes
    return summary


def predict_file(bundle: Bundle, source: Path | None, options: RunOptions) -> Iterator[Prediction]:
    """The predictions of the files of one source, one after the other, as the caller asks for them.

    Raises:
        InputError, UsageError, BackendError: see `run_file`; with the first prediction.
    """
    with _open_file_run(bundle, source, options, SILENT) as run:
        told = _tell(run.files.notes)
        yield from run.predictions()
        _tell(run.files.notes, told)


def run_together(
    bundle: Bundle,
    sources: Sequence[Path],
    options: RunOptions,
    lines: JsonLines,
    progress: Progress = SILENT,
) -> FleetSummary:
    """Run a bundle over several files side by side: hop by hop, their inputs share each call.

    A file that ends or fails leaves the others to go on; the first failure is raised in the end.

    Args:
        bundle: what `taemi_edge.bundle.folder.open_bundle` gave.
        sources: video and audio files, or files of series.
        lines: where predictions are written, each with the name of its source.
        progress: counts the seconds that were run.

    Raises:
        InputError: a file cannot be read, or is shorter than a hop.
        UsageError, BackendError, OutputError: see `run_file`.
    """
    started = time.perf_counter()
    for source in sources:
        _refuse_source_as_target([source, *bundle.folder.iterdir()], {"--output": lines.file})
    summary = FleetSummary({source: RunSummary() for source in sources})
    with _open_files_run(bundle, sources, options, progress) as run:
        longest_s = max((files.duration_s or 0.0 for files in run.files), default=0.0)
        for group in run.groups():
            for index, prediction in group.items():
                lines.write(prediction.to_json())
                summary.sources[sources[index]].predictions.append(prediction)
            summary.calls += 1
            progress.count(max(prediction.time_s for prediction in group.values()), longest_s or None, "running")
        summary.wall_s, summary.lost = time.perf_counter() - started, run.fleet.lost
    for source, files in zip(sources, run.files, strict=True):
        one = summary.sources[source]
        one.media_s, one.wall_s = one.predictions[-1].time_s, summary.wall_s
        one.damaged_packets, one.notes = files.damaged_packets, files.notes
    return summary


def predict_files(bundle: Bundle, sources: Sequence[Path], options: RunOptions) -> Iterator[Prediction]:
    """The predictions of several files that are run side by side, as they are made.

    Raises:
        InputError, UsageError, BackendError: see `run_together`.
    """
    with _open_files_run(bundle, sources, options, SILENT) as run:
        told = _tell(note for files in run.files for note in files.notes)
        for group in run.groups():
            yield from group.values()
        _tell((note for files in run.files for note in files.notes), told)


def _tell(notes: Iterable[str], told: Collection[str] = ()) -> set[str]:
    """Log notes that were not told yet; returns what was told."""
    new = [note for note in notes if note not in told]
    for note in new:
        log.warning("%s", note)
    return {*told, *new}


@dataclass(frozen=True, eq=False)
class _FileRun:
    """The files of one source, open, with the pipeline that runs on them."""

    files: FileSource
    pipeline: Pipeline
    hop_s: float
    video: AnnotatedVideo | None
    content: ContentWatch
    viewer: HopViewer | None = None

    def predictions(self) -> Iterator[Prediction]:
        """The predictions; each hop is drawn with the prediction before it, which was known when it was seen."""
        last: Prediction | None = None
        for hop in self.files.hops(self.hop_s):
            faces, checked = self.pipeline.faces, self.content.checked(hop)
            prediction = self.pipeline.predict(checked)
            if self.viewer is not None:
                self.viewer.show(0, checked, prediction, self.pipeline.faces)
            yield prediction
            self._draw(hop, last, faces)
            last = prediction
        if last is None:
            raise MediaError(_too_short(self.files, self.hop_s))
        self._draw(self.files.rest(), last, self.pipeline.faces)

    def _draw(self, hop: Hop, prediction: Prediction | None, faces: Mapping[str, Face]) -> None:
        if self.video:
            if hop.words:  # a recording gives them on the way
                self.video.say(hop.words)
            self.video.add(hop, prediction, faces.get(hop.shown or ""))


@contextmanager
def _open_file_run(bundle: Bundle, source: Path | None, options: RunOptions, progress: Progress) -> Iterator[_FileRun]:
    window_s, hop_s = _window_and_hop(bundle, options)
    streams = bundle.manifest.streams
    require_known(options.drops, streams)
    with ExitStack() as stack:
        files = stack.enter_context(_open_files(source, streams, options, every_frame=options.annotate is not None))
        described = _described(bundle.manifest, files, options, progress)
        pipeline = stack.enter_context(
            Pipeline(bundle, described, device=options.device, threads=options.threads, window_s=window_s, hop_s=hop_s)
        )
        video = _annotated_video(stack, bundle.manifest, files, described, options)
        begin_viewing(options.viewer, [files], [described], window_s, hop_s)
        yield _FileRun(files, pipeline, hop_s, video, ContentWatch(options.content), options.viewer)


#: A hop that is prepared, with the hop itself where somebody is shown it.
_SeenHop: TypeAlias = tuple[PreparedHop, Hop | None]


@dataclass(frozen=True, eq=False)
class _FilesRun:
    """Several sources that are open, with the fleet that runs on them."""

    files: Sequence[FileSource]
    fleet: Fleet
    grouper: HopGrouper[_SeenHop]
    hop_s: float
    viewer: HopViewer | None

    def groups(self) -> Iterator[dict[int, Prediction]]:
        """The predictions that were made in one call, by the number of their source; at the end, what failed first."""
        made = set()
        for group in self.grouper:
            made |= set(group)
            predictions = self.fleet.predict({index: prepared for index, (prepared, _) in group.items()})
            made_now = dict(zip(sorted(group), predictions, strict=True))
            if self.viewer is not None:
                for index, prediction in made_now.items():
                    hop = group[index][1] or Hop(prediction.time_s)
                    self.viewer.show(index, hop, prediction, self.fleet.windows[index].faces)
            yield made_now
        for index, files in enumerate(self.files):
            if index in self.grouper.errors:
                raise self.grouper.errors[index]
            if index not in made:
                raise MediaError(_too_short(files, self.hop_s))


@contextmanager
def _open_files_run(
    bundle: Bundle, sources: Sequence[Path], options: RunOptions, progress: Progress
) -> Iterator[_FilesRun]:
    if options.streams:
        raise UsageError("expected --stream with one source, got several: run them one after the other")
    if len(set(sources)) < len(sources):
        raise UsageError("expected different sources, got one of them twice")
    window_s, hop_s = _window_and_hop(bundle, options)
    manifest = bundle.manifest
    require_known(options.drops, manifest.streams)
    with ExitStack() as stack:
        opened = [stack.enter_context(_open_files(source, manifest.streams, options)) for source in sources]
        described = [_described(manifest, files, options, progress) for files in opened]
        fleet = stack.enter_context(
            Fleet(bundle, described, device=options.device, threads=options.threads, window_s=window_s, hop_s=hop_s)
        )
        begin_viewing(options.viewer, opened, described, window_s, hop_s)
        seen = options.viewer is not None
        hops = [map(ContentWatch(options.content).checked, files.hops(hop_s)) for files in opened]
        feeds = [_prepared_hops(fleet, index, of_one, seen) for index, of_one in enumerate(hops)]
        grouper = stack.enter_context(HopGrouper(feeds, options.deadline_s))
        yield _FilesRun(opened, fleet, grouper, hop_s, options.viewer)


def _open_files(
    source: Path | None, streams: Mapping[str, StreamSpec], options: RunOptions, every_frame: bool = False
) -> FileSource:
    return FileSource(
        source,
        streams,
        options.streams,
        options.transcript,
        every_frame=every_frame,
        topics=options.topics,
        clock=options.clock,
    )


def _prepared_hops(fleet: Fleet, index: int, hops: Iterable[Hop], seen: bool) -> Iterator[_SeenHop]:
    """One source's hops with their faces found; this runs in the source's own thread."""
    for hop in hops:
        yield fleet.prepare(index, hop), hop if seen else None


def _described(manifest: Manifest, files: FileSource, options: RunOptions, progress: Progress) -> Source:
    """Describe the files of a source to the runtime, with their words."""
    words, absent = dict(files.words), dict(files.absent)
    texts = [n for n, spec in manifest.streams.items() if isinstance(spec, TextSpec) and not files.reads(n)]
    if options.asr:
        heard = _recognised(files, options, progress)
        words.update(dict.fromkeys(texts, heard))
        absent = {n: "no speech was recognised" if n in texts else why for n, why in absent.items() if not words.get(n)}
    return Source(files.name, words, options.drops, absent)


def _recognised(files: FileSource, options: RunOptions, progress: Progress) -> list[Word]:
    samples = files.read_sound(SAMPLE_RATE_HZ)
    if samples is None:
        raise UsageError(f"--asr: {files.name} has no audio stream to recognise speech in: leave --asr away")
    return transcribe(samples, options.asr_model, options.threads or 0, progress)


def _window_and_hop(bundle: Bundle, options: RunOptions) -> tuple[float, float]:
    hop_s = options.hop_s or bundle.manifest.window.hop_s
    window_s = options.window_s or bundle.manifest.window.length_s
    if hop_s > window_s:
        raise UsageError(
            f"expected a hop no longer than the window, got {hop_s:g} s and {window_s:g} s: words would be lost"
        )
    return window_s, hop_s


def _annotated_video(
    stack: ExitStack, manifest: Manifest, files: FileSource, source: Source, options: RunOptions
) -> AnnotatedVideo | None:
    if options.annotate is None:
        return None
    if files.picture is None and any(isinstance(spec, VideoSpec) for spec in manifest.streams.values()):
        raise UsageError(f"--annotate: {files.name} has no video stream to draw on: leave --annotate away")
    texts = [name for name, spec in manifest.streams.items() if isinstance(spec, TextSpec)]
    shown = words_after_drops(source.words_of(texts[0]), options.drops, texts[0]) if texts else []
    return stack.enter_context(AnnotatedVideo(options.annotate, manifest, files.frame_rate, shown))


def _files_of(source: Path | None, options: RunOptions) -> list[Path]:
    given = (source, options.transcript, *options.streams.values())
    return [split_topic(file)[0] for file in given if file is not None]


def _refuse_source_as_target(sources: Sequence[Path], targets: Mapping[str, Path | None]) -> None:
    for option, target in targets.items():
        if target is not None and target.exists() and any(s.exists() and target.samefile(s) for s in sources):
            raise UsageError(
                f"{option} {target}: expected another file than the source or one of the bundle: name a new one"
            )


def _too_short(files: FileSource, hop_s: float) -> str:
    length = "a single picture, or nothing that can be decoded" if files.length_s <= 0 else f"{files.length_s:.2f} s"
    named = files.files[0]
    return f"{named}: expected at least one hop of {hop_s:g} s, got {length}: give a shorter hop or a longer file"
