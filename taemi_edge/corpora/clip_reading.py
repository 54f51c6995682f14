"""Reading one labelled clip into what encoders take: face crops, segments of sound and words.

A clip is read as the runtime reads a stream. Nothing is encoded here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from taemi_edge.bundle.streams import AudioSpec, StreamSpec, VideoSpec
from taemi_edge.bundle.values import Array
from taemi_edge.corpora.labelled_clips import Clip
from taemi_edge.corpora.stage_clock import DECODE, FACES, SOUND, TRANSCRIPT, StageClock
from taemi_edge.corpora.staging import at_hand, local_file, local_folder
from taemi_edge.corpora.store_place import StorePlace
from taemi_edge.errors import CorpusError, MediaError
from taemi_edge.media.chunks import Segment
from taemi_edge.media.crops import FaceCrop
from taemi_edge.media.files import MediaFile, read_samples
from taemi_edge.media.hops import Frame, FrameGrid, SoundPiece
from taemi_edge.media.inputs import InputReader
from taemi_edge.media.opencv import opencv
from taemi_edge.media.recognition import SAMPLE_RATE_HZ, transcribe
from taemi_edge.media.transcripts import Word, read_transcript

#: The folder of a store that holds recognised words.
WORDS = "words"
#: How much of a file is decoded at a time, in seconds.
STEP_S = 2.0


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """How clips are read.

    Attributes:
        longest_s: how much of a clip is read, in seconds; one clip of the real data set lasts 1,250 s.
        faces: "detect" finds them in the video as the runtime does, "provided" takes face_images where there are any.
        asr_model: recognise speech with this model where a clip has no transcript; None leaves it without words.
        features: by stream, a folder of the corpus with pickled features that are used instead of encoding.
    """

    longest_s: float = 60.0
    faces: str = "detect"
    asr_model: str | None = None
    features: dict[str, str] = msgspec.field(default_factory=dict)

    def notes(self) -> dict[str, str]:
        """The options as text by name, for the index of a feature store."""
        notes = {"longest_s": f"{self.longest_s:g}", "faces": self.faces, "asr": self.asr_model or "none"}
        return notes | {f"{m} features": folder for m, folder in sorted(self.features.items())}


@dataclass
class ClipInputs:
    """A clip as the encoders take it, with remarks on what was noticed while reading it, such as "no face"."""

    crops: list[FaceCrop] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    words: list[Word] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def video_and_sound(streams: Mapping[str, StreamSpec]) -> tuple[VideoSpec, AudioSpec]:
    """The video and the sound of a model that reads clips of media.

    Raises:
        CorpusError: it has none of one of them, or several, so that nobody knows which of them a file feeds.
    """
    videos = [spec for spec in streams.values() if isinstance(spec, VideoSpec)]
    sounds = [spec for spec in streams.values() if isinstance(spec, AudioSpec)]
    if len(videos) != 1 or len(sounds) != 1:
        raise CorpusError(
            f"expected a model of one video and one sound for clips of this layout, got {', '.join(streams)}: give a "
            f"table of samples or .npz files"
        )
    return videos[0], sounds[0]


def read_clip(
    clip: Clip,
    video: VideoSpec,
    audio: AudioSpec,
    reading: Reading = Reading(),  # noqa: B008  (frozen)
    store: StorePlace | None = None,
    clock: StageClock | None = None,
) -> ClipInputs:
    """Read one clip as the runtime would read it as a stream, up to `reading.longest_s`.

    Args:
        clip: the clip.
        video: how faces are cropped: size and frames per second.
        audio: how sound is cut: sample rate, chunk and context.
        reading: how the clip is read.
        store: where recognised words are kept, so that speech is recognised only once.
        clock: counts what decoding, faces, sound and words take.

    Raises:
        MediaError: there is no media, or it cannot be decoded.
        TranscriptError: the transcript cannot be parsed.
    """
    with at_hand(clip) as here:
        return _read_clip(here, video, audio, reading, store, clock or StageClock())


def _read_clip(
    clip: Clip, video: VideoSpec, audio: AudioSpec, reading: Reading, store: StorePlace | None, clock: StageClock
) -> ClipInputs:
    if not clip.has_media:
        raise MediaError(
            f"expected raw/{clip.id}.mp4, audio/{clip.id}.mp3 or face_images/{clip.id}, found none of them"
        )
    inputs = ClipInputs()
    duration_s = 0.0
    if clip.video is not None:
        video_file = local_file(clip.files, clip.video)
        duration_s = _read_media(video_file, video, audio, inputs, reading.longest_s, clock)
    if clip.audio is not None and not inputs.segments:
        sound_file = local_file(clip.files, clip.audio)
        duration_s = max(duration_s, _read_media(sound_file, video, audio, inputs, reading.longest_s, clock))
    if clip.faces is not None and (reading.faces == "provided" or clip.video is None):
        folder = local_folder(clip.files, clip.faces, ".jpg")
        inputs.crops = list(_provided_faces(folder, video, duration_s, inputs.remarks))
    _note_what_is_missing(clip, inputs)
    with clock.stage(TRANSCRIPT):
        words = _words(clip, inputs, reading, duration_s, store)
    inputs.words = [w for w in words if w.end_s <= reading.longest_s]
    if not inputs.words:
        inputs.remarks.append("no words")
    return inputs


def _read_media(
    place: Path, video: VideoSpec, audio: AudioSpec, inputs: ClipInputs, longest_s: float, clock: StageClock
) -> float:
    """Add a file's faces and sound to `inputs`; gives how long the file is, in seconds."""
    reader = InputReader(video, audio)

    def add(frames: Iterable[Frame], sound: Iterable[SoundPiece], end_s: float) -> None:
        with clock.stage(FACES):
            inputs.crops += reader.crops(frames)
        with clock.stage(SOUND):
            inputs.segments += reader.segments(sound, end_s)

    with clock.stage(DECODE), MediaFile(place, audio.sample_rate_hz, video.frames_per_second, lean=True) as media:
        for hop in media.hops(STEP_S):
            add((f for f in hop.frames if f.time_s <= longest_s), hop.sound, min(hop.end_s, longest_s))
            if hop.end_s >= longest_s:
                inputs.remarks.append(f"cut at {longest_s:g} s")
                return longest_s
        rest = media.rest()
        add(rest.frames, rest.sound, rest.end_s)
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


def _provided_faces(folder: Path, video: VideoSpec, duration_s: float, remarks: list[str]) -> Iterator[FaceCrop]:
    """Faces that the data set has cut out already, spread evenly over the clip and thinned to its frame rate.

    Where the duration is unknown (0), every picture counts as one frame.
    """
    cv2, pictures = opencv("a corpus with pictures of faces"), sorted(folder.glob("*.jpg"))
    step_s = duration_s / len(pictures) if duration_s else 1 / video.frames_per_second
    grid = FrameGrid(video.frames_per_second)
    for index, picture in enumerate(pictures):
        time_s = index * step_s
        if not grid.wants(time_s):
            continue
        image = cv2.imread(str(picture), cv2.IMREAD_COLOR)
        if image is None:
            remarks.append(f"{picture.name} cannot be read")
            continue
        pixels = cv2.resize(image, video.size_hw[::-1], interpolation=cv2.INTER_AREA)
        yield FaceCrop(time_s, np.ascontiguousarray(pixels[..., ::-1]))


def _words(clip: Clip, inputs: ClipInputs, reading: Reading, duration_s: float, store: StorePlace | None) -> list[Word]:
    if clip.transcript is not None or reading.asr_model is None or not inputs.segments:
        return clip.words(duration_s or None)
    kept = f"{WORDS}/{clip.id}.jsonl"
    if store is not None and store.exists(kept):
        with store.local(kept) as file:
            return read_transcript(file, None) if file.stat().st_size else []
    samples = _sound(clip, reading.longest_s)[: round(reading.longest_s * SAMPLE_RATE_HZ)]
    words = transcribe(samples, reading.asr_model, 1)
    if store is not None:
        lines = [msgspec.json.encode({"start": w.start_s, "end": w.end_s, "text": w.text}) + b"\n" for w in words]
        store.write(kept, b"".join(lines))
    return words


def _sound(clip: Clip, longest_s: float) -> Array:
    """The sound of a clip: its video's, else its audio file's."""
    for place in (clip.video, clip.audio):
        if place is None:
            continue
        if len(samples := read_samples(local_file(clip.files, place), SAMPLE_RATE_HZ, longest_s)):
            return samples
    return np.zeros(0, np.float32)
