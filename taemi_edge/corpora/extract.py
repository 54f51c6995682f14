"""A corpus and a model's frozen encoders in, a feature store out; the same reading of media as the runtime's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import msgspec
import numpy as np

from taemi_edge.bundle.atomic import new_file
from taemi_edge.bundle.spec import MODALITIES, Array, AudioSpec, VisionSpec
from taemi_edge.bundle.workers import run_parallel
from taemi_edge.corpora.feature_store import WORDS, FeatureStore, StoreWriter, write_pending
from taemi_edge.corpora.labelled_clips import Clip, Corpus
from taemi_edge.errors import CorpusError, InputError, MediaError, UsageError
from taemi_edge.media.chunks import Segment
from taemi_edge.media.crops import FaceCrop
from taemi_edge.media.files import MediaFile, read_samples
from taemi_edge.media.hops import FrameGrid
from taemi_edge.media.inputs import InputReader, encode_crops, encode_segments
from taemi_edge.media.recognition import SAMPLE_RATE_HZ, transcribe
from taemi_edge.media.tokens import WordTokenizer
from taemi_edge.media.transcripts import Word, read_transcript
from taemi_edge.parity.artefact import Artefact, EncoderKey, open_artefact
from taemi_edge.progress import SILENT, Progress
from taemi_edge.runtime.sessions import Device
from taemi_edge.taemi.pickled_features import load_array

#: How much of a file is decoded at a time.
STEP_S = 2.0


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """How clips are read.

    Attributes:
        longest_s: how much of a clip counts; the data set has one of 1,250 s.
        faces: "detect" finds them in the video as the runtime does, "provided" takes face_images where there are any.
        asr_model: recognise speech with this model where a clip has no transcript; None leaves it without words.
        features: read a modality's features from pickles in this folder of the corpus instead of encoding it.
    """

    longest_s: float = 60.0
    faces: str = "detect"
    asr_model: str | None = None
    features: dict[str, str] = msgspec.field(default_factory=dict)

    def as_words(self) -> dict[str, str]:
        """For the store's index."""
        words = {"longest_s": f"{self.longest_s:g}", "faces": self.faces, "asr": self.asr_model or "none"}
        return words | {f"{m} features": folder for m, folder in sorted(self.features.items())}


@dataclass
class ClipInputs:
    """A clip as the encoders take it: crops, chunks of sound, words; and what was noticed while reading it."""

    crops: list[FaceCrop] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    words: list[Word] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ExtractResult:
    """The store, and what is to be told of it."""

    store: FeatureStore
    encoded: int
    problems: dict[str, str]
    remarks: dict[str, tuple[str, ...]]
    #: Media that no label file names.
    unlabelled: list[str]


def extract_features(
    corpus: Corpus,
    source: str,
    output: Path,
    *,
    reading: Reading = Reading(),  # noqa: B008  (frozen)
    splits: tuple[str, ...] = (),
    workers: int = 0,
    device: Device | None = None,
    strict: bool = False,
    progress: Progress = SILENT,
) -> ExtractResult:
    """Encode every clip of a corpus once; a run that was stopped or killed goes on where it was.

    Args:
        source: the bundle, checkpoint or recipe whose encoders are used.
        splits: only these; all by default.
        workers: processes; 0 for as many as there are cores.
        strict: stop at the first clip that cannot be read instead of listing them at the end.
        progress: counts the clips that are done.

    Raises:
        StoreError: `output` holds another store. InputError: with `strict`, the first clip that cannot be read.
    """
    unlabelled = corpus.unlabelled()
    chosen = [clip for clip in corpus.clips if not splits or clip.split in splits]
    if not chosen:
        raise CorpusError(f"{corpus.folder}: expected clips in {', '.join(splits)}, found none: it has other splits")
    corpus = Corpus(corpus.folder, tuple(chosen), corpus.synthetic, corpus.labels_sha256)
    with open_artefact(source, device, 1) as artefact:
        keys = artefact.encoder_keys()
    for modality, folder in reading.features.items():
        keys[modality] = _provided_key(corpus, modality, folder)
    words = reading.as_words() | ({"splits": ", ".join(splits)} if splits else {})
    writer = StoreWriter(output, corpus, keys, words)
    problems: dict[str, str] = {}
    by_id = {clip.id: clip for clip in corpus.clips}
    waiting = [by_id[clip_id] for clip_id in writer.missing()]
    done = len(by_id) - len(waiting)
    progress.count(done, len(by_id), "encoding clips")
    if waiting:
        results = run_parallel(
            _encode, waiting, workers, _open_worker, (source, device, output, corpus.folder, reading)
        )
        for clip_id, remarks, problem in results:
            if problem is None:
                writer.add(clip_id, remarks)
            elif strict:
                raise InputError(f"clip {clip_id}: {problem}")
            else:
                problems[clip_id] = problem
            done += 1
            progress.count(done, len(by_id), "encoding clips")
    store = writer.finish(problems)
    noticed = {i: entry.remarks for i, entry in sorted(store.index.clips.items()) if entry.remarks}
    return ExtractResult(store, len(waiting) - len(problems), dict(sorted(problems.items())), noticed, unlabelled)


def read_clip(
    clip: Clip,
    vision: VisionSpec,
    audio: AudioSpec,
    reading: Reading = Reading(),  # noqa: B008  (frozen)
    words_folder: Path | None = None,
) -> ClipInputs:
    """Read one clip as the runtime would read it as a stream, up to `reading.longest_s`.

    Raises:
        MediaError: there is no media, or it cannot be decoded. TranscriptError: the transcript cannot be parsed.
    """
    if not clip.has_media:
        raise MediaError(
            f"expected raw/{clip.id}.mp4, audio/{clip.id}.mp3 or face_images/{clip.id}, found none of them"
        )
    inputs = ClipInputs()
    duration_s = 0.0
    if clip.video is not None:
        duration_s = _read_media(clip.video, vision, audio, inputs, reading.longest_s)
    if clip.audio is not None and not inputs.segments:
        duration_s = max(duration_s, _read_media(clip.audio, vision, audio, inputs, reading.longest_s))
    if clip.faces is not None and (reading.faces == "provided" or clip.video is None):
        inputs.crops = list(_provided_faces(clip.faces, vision, duration_s, inputs.remarks))
    _note_what_is_missing(clip, inputs)
    inputs.words = [w for w in _words(clip, inputs, reading, duration_s, words_folder) if w.end_s <= reading.longest_s]
    if not inputs.words:
        inputs.remarks.append("no words")
    return inputs


def encode_clip(artefact: Artefact, tokenizer: WordTokenizer, inputs: ClipInputs) -> dict[str, Array]:
    """The features of a clip, float32 (T, D) a modality; T is 0 where the clip has nothing of it."""
    features = {
        "vision": encode_crops(artefact.part("vision"), inputs.crops)[1],
        "audio": encode_segments(artefact.part("audio"), inputs.segments)[1],
        "text": np.zeros((0, 0), np.float32),
    }
    if inputs.words:
        feeds = tokenizer.feeds([" ".join(word.text for word in inputs.words)])
        features["text"] = artefact.run("text", feeds)["features"][0]
    widths = {m: len(token) for m, token in artefact.tokens.items()}
    return {m: values if len(values) else np.zeros((0, widths[m]), np.float32) for m, values in features.items()}


# ----------------------------------------------------------------------------------------------------- in a worker


@dataclass(frozen=True, eq=False)
class _Worker:
    artefact: Artefact
    tokenizer: WordTokenizer
    output: Path
    corpus: Path
    reading: Reading


_worker: _Worker | None = None
_open = ExitStack()  # what a worker holds until its process ends


def _open_worker(source: str, device: Device, output: Path, corpus: Path, reading: Reading) -> None:
    global _worker
    cv2.setNumThreads(1)
    _single_thread_torch()
    _open.close()
    artefact = _open.enter_context(open_artefact(source, device, 1))
    tokenizer = WordTokenizer(artefact.tokenizer_json, artefact.text.max_tokens)
    _worker = _Worker(artefact, tokenizer, output, corpus, reading)


def _single_thread_torch() -> None:
    """Workers share the cores: two threads each would make every one of them wait."""
    import sys

    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def _encode(clip: Clip) -> tuple[str, tuple[str, ...], str | None]:
    """Encode one clip into `pending`; gives its id, remarks and, where it cannot be read, why."""
    if _worker is None:
        raise RuntimeError("_open_worker comes first")
    artefact = _worker.artefact
    try:
        inputs = read_clip(clip, artefact.vision, artefact.audio, _worker.reading, _worker.output / WORDS)
        features = encode_clip(artefact, _worker.tokenizer, inputs)
        for modality, folder in _worker.reading.features.items():
            features[modality] = _provided_features(_worker.corpus / folder / f"{clip.id}.pkl", inputs)
        if bad := [m for m in MODALITIES if not np.isfinite(features[m]).all()]:
            raise MediaError(f"the {bad[0]} encoder gave NaN or infinity")
    except InputError as error:
        return clip.id, (), str(error)
    write_pending(_worker.output, clip.id, features, tuple(inputs.remarks))
    return clip.id, tuple(inputs.remarks), None


# --------------------------------------------------------------------------------------------------------- reading


def _read_media(place: Path, vision: VisionSpec, audio: AudioSpec, inputs: ClipInputs, longest_s: float) -> float:
    """Add a file's faces and sound; gives how long it is."""
    reader = InputReader(vision, audio)
    with MediaFile(place, audio.sample_rate_hz, vision.frames_per_second) as media:
        for hop in media.hops(STEP_S):
            inputs.crops += reader.crops(f for f in hop.frames if f.time_s <= longest_s)
            inputs.segments += reader.segments(hop.samples, min(hop.end_s, longest_s))
            if hop.end_s >= longest_s:
                inputs.remarks.append(f"cut at {longest_s:g} s")
                return longest_s
        rest = media.rest()
        inputs.crops += reader.crops(rest.frames)
        inputs.segments += reader.segments(rest.samples, rest.end_s)
        if media.damaged_packets:
            inputs.remarks.append(f"{media.damaged_packets} damaged packets")
        if media.length_s <= 0:
            raise MediaError(f"{place}: nothing in it can be decoded")
        return media.length_s


def _note_what_is_missing(clip: Clip, inputs: ClipInputs) -> None:
    if clip.video is None:
        inputs.remarks.append("no video")
    if not any(crop.pixels is not None for crop in inputs.crops):
        inputs.remarks.append("no face")
    if not inputs.segments:
        inputs.remarks.append("no sound, or less than a chunk of it")


def _provided_faces(folder: Path, vision: VisionSpec, duration_s: float, remarks: list[str]) -> Iterator[FaceCrop]:
    """Faces that came cut out, spread over the clip, on the frame grid; without a duration each counts."""
    pictures = sorted(folder.glob("*.jpg"))
    step_s = duration_s / len(pictures) if duration_s else 1 / vision.frames_per_second
    grid = FrameGrid(vision.frames_per_second)
    for index, picture in enumerate(pictures):
        time_s = index * step_s
        if not grid.wants(time_s):
            continue
        image = cv2.imread(str(picture), cv2.IMREAD_COLOR)
        if image is None:
            remarks.append(f"{picture.name} cannot be read")
            continue
        pixels = cv2.resize(image, vision.size_hw[::-1], interpolation=cv2.INTER_AREA)
        yield FaceCrop(time_s, np.ascontiguousarray(pixels[..., ::-1]))


def _words(
    clip: Clip, inputs: ClipInputs, reading: Reading, duration_s: float, words_folder: Path | None
) -> list[Word]:
    if clip.transcript is not None or reading.asr_model is None or not inputs.segments:
        return clip.words(duration_s or None)
    cached = words_folder / f"{clip.id}.jsonl" if words_folder is not None else None
    if cached is not None and cached.is_file():
        return read_transcript(cached, None) if cached.stat().st_size else []
    samples = _sound(clip)[: round(reading.longest_s * SAMPLE_RATE_HZ)]
    words = transcribe(samples, reading.asr_model, 1)
    if cached is not None:
        lines = [msgspec.json.encode({"start": w.start_s, "end": w.end_s, "text": w.text}) + b"\n" for w in words]
        with new_file(cached) as draft:
            draft.write_bytes(b"".join(lines))
    return words


def _sound(clip: Clip) -> Array:
    """All sound of a clip: its video's, else its audio file's."""
    for place in (clip.video, clip.audio):
        if place is not None and len(samples := read_samples(place, SAMPLE_RATE_HZ)):
            return samples
    return np.zeros(0, np.float32)


def _provided_features(file: Path, inputs: ClipInputs) -> Array:
    """(T, D) from the data set's own pickles; (0, D) where there is no file."""
    if not file.is_file():
        inputs.remarks.append(f"no {file.parent.name}/{file.name}")
        return np.zeros((0, 1), np.float32)
    values = load_array(file)
    if values.ndim != 2:
        raise CorpusError(f"{file}: expected features (time, dim), got an array of shape {values.shape}")
    return values.astype(np.float32)


def _provided_key(corpus: Corpus, modality: str, folder: str) -> EncoderKey:
    """Provided features are known by their folder: nobody says how they were made."""
    if modality not in MODALITIES:
        raise UsageError(f"--features {modality}={folder}: expected one of {', '.join(MODALITIES)} before the =")
    files = sorted((corpus.folder / folder).glob("*.pkl"))
    if not files:
        raise CorpusError(f"--features {modality}={folder}: expected pickles in {corpus.folder / folder}, found none")
    width = load_array(files[0]).shape[-1]
    return EncoderKey(sha256=f"provided:{folder}", feature_dim=int(width), made_by=f"provided features {folder}")
