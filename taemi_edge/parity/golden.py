"""Golden feeds: inputs for every part of a model, made from a clip, with the outputs that a reference gave for them.

A clip is read by the runtime's own preprocessing. Every encoder gets its smallest and largest batch and its shortest
and longest length. The fusion head gets windows of real features in all eight presence patterns. `golden.npz` keeps
the feeds and the outputs beside a bundle, so that comparing on a device needs no PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np

from taemi_edge.bundle.spec import MODALITIES, PRESENCE_PATTERNS, Modality, VisionSpec
from taemi_edge.bundle.streams import AudioSpec, TextSpec, pattern_name
from taemi_edge.bundle.values import Array
from taemi_edge.errors import BundleError, InputError
from taemi_edge.media.chunks import Segment, kept_steps, trim_context
from taemi_edge.media.files import MediaFile
from taemi_edge.media.inputs import InputReader
from taemi_edge.media.tokens import WordTokenizer
from taemi_edge.media.transcripts import Word, read_transcript

#: Runs one part: takes the name of the part and its feeds, and gives its outputs by name.
Runner = Callable[[str, Mapping[str, Array]], dict[str, Array]]

ENCODER_WINDOW_CASES = {"vision": "largest batch", "audio": "largest batch", "text": "typical length"}
#: The fusion case whose features are the encoders' outputs for ENCODER_WINDOW_CASES; the end-to-end check uses it.
WINDOW = "window"


@dataclass(frozen=True, eq=False)
class Case:
    """One comparison of one part.

    Attributes:
        part: "vision", "audio", "text" or "fusion".
        name: of the case, such as "largest batch".
        feeds: the inputs of the part by name; for the fusion head, with every stream live.
        expected: the outputs of the reference by name; None where the reference was not run.
        pattern: the streams that are live, for the fusion head; all others are replaced by their tokens.
    """

    part: str
    name: str
    feeds: Mapping[str, Array]
    expected: Mapping[str, Array] | None
    pattern: frozenset[Modality] | None = None

    @property
    def title(self) -> str:
        return self.name if self.pattern is None else f"{self.name}, {pattern_name(self.pattern)}"


@dataclass(frozen=True)
class StreamSpecs:
    """What a model takes: the spec of each stream, the longest window in seconds, and the largest batches.

    Attributes:
        max_frames: the largest batch of face crops.
        max_batch: the largest batch of windows or texts.
    """

    vision: VisionSpec
    audio: AudioSpec
    text: TextSpec
    window_s: float
    max_frames: int
    max_batch: int


@dataclass(frozen=True, eq=False)
class GoldenClip:
    """A clip as the encoders take it, to make golden feeds from."""

    crops: Array  # (frames, H, W, 3)
    segments: list[Segment]
    words: list[Word]


def demo_clip() -> tuple[Path, Path]:
    """The paths of the video and the transcript that ship with the package: a drawn face and an espeak-ng voice.

    Example:
        >>> video, transcript = demo_clip()
        >>> video.name, transcript.name
        ('demo.mp4', 'demo.vtt')
    """
    folder = files("taemi_edge") / "assets"
    with as_file(folder / "demo.mp4") as video, as_file(folder / "demo.vtt") as transcript:
        return video, transcript


def make_cases(
    specs: StreamSpecs,
    tokenizer_json: str,
    run: Runner,
    tokens: Mapping[str, Array],
    video: Path,
    transcript: Path | None,
) -> list[Case]:
    """Make the cases of a clip, and run a reference on them.

    Args:
        specs: the streams of the model and its largest batches.
        tokenizer_json: the text of the model's tokenizer.json.
        run: runs one part of the reference.
        tokens: the missing-modality tokens, float32 (D,) each.
        video: a clip with a face and speech.
        transcript: what is said in it.

    Raises:
        InputError: the clip has no face, no sound or no words, so there is nothing to compare on.
    """
    clip = _read_clip(specs, video, transcript)
    tokenizer = WordTokenizer(tokenizer_json, specs.text.max_tokens)
    cases = [Case(part, name, feeds, run(part, feeds)) for part, name, feeds in _encoder_feeds(specs, clip, tokenizer)]
    live = _fusion_feeds(specs, clip, cases, run)
    for name, feeds in live.items():
        for pattern in PRESENCE_PATTERNS:
            bound = bind_tokens(feeds, pattern, tokens)
            cases.append(Case("fusion", name, feeds, run("fusion", bound), pattern))
    return cases


def bind_tokens(
    feeds: Mapping[str, Array], pattern: frozenset[Modality], tokens: Mapping[str, Array]
) -> dict[str, Array]:
    """Replace the absent modalities in the feeds of the fusion head by their tokens, as the runtime does.

    Args:
        feeds: the features of each modality, (B, T, D), and their masks, int32 (B, T).
        pattern: the modalities that are live.
        tokens: the missing-modality tokens, (D,) each.

    Returns:
        The feeds, in which every absent modality is its token, float32 (B, 1, D), with mask 1.
    """
    bound = dict(feeds)
    for m in MODALITIES:
        if m not in pattern:
            batch = len(feeds[m])
            bound[m] = np.broadcast_to(tokens[m], (batch, 1, tokens[m].shape[-1])).astype(np.float32)
            bound[f"{m}_mask"] = np.ones((batch, 1), np.int32)
    return bound


def window_features(audio: AudioSpec, outputs: Mapping[str, Array], segment_samples: int) -> dict[str, Array]:
    """Turn the encoders' outputs for ENCODER_WINDOW_CASES into the feeds of the fusion head for one window.

    Args:
        audio: the spec of the sound.
        outputs: the output of each encoder: vision (frames, D), audio (segments, steps, D), text (1, tokens, D).
        segment_samples: how many samples each segment of sound has, context included.
    """
    steps = kept_steps(audio.chunk_samples, segment_samples, outputs["audio"].shape[1])
    features = {
        "vision": outputs["vision"][None],
        "audio": outputs["audio"][:, -steps:].reshape(1, -1, audio.feature_dim),
        "text": outputs["text"],
    }
    return _with_masks(features)


def save_cases(cases: list[Case], file: Path) -> None:
    """Write `golden.npz`. The live feeds of the fusion head are stored once for all eight patterns."""
    arrays: dict[str, Array] = {}
    for case in cases:
        for name, value in case.feeds.items():
            arrays[f"{case.part}|{case.name}|in|{name}"] = value
        suffix = "" if case.pattern is None else f"|{pattern_name(case.pattern)}"
        for name, value in (case.expected or {}).items():
            arrays[f"{case.part}|{case.name}|out|{name}{suffix}"] = value
    np.savez_compressed(file, allow_pickle=False, **arrays)


def load_cases(file: Path) -> list[Case]:
    """Read the cases of a `golden.npz`.

    Raises:
        BundleError: the file was not written by `save_cases`.
    """
    feeds: dict[tuple[str, str], dict[str, Array]] = {}
    outputs: dict[tuple[str, str, str], dict[str, Array]] = {}
    try:
        with np.load(file, allow_pickle=False) as stored:
            for key in stored.files:
                part, name, direction, tensor, *pattern = key.split("|")
                if direction == "in":
                    feeds.setdefault((part, name), {})[tensor] = stored[key]
                else:
                    outputs.setdefault((part, name, "".join(pattern)), {})[tensor] = stored[key]
    except (OSError, ValueError) as error:
        raise BundleError(f"{file}: expected golden feeds: {error}") from error
    patterns = {pattern_name(pattern): pattern for pattern in PRESENCE_PATTERNS}
    return [
        Case(part, name, feeds[part, name], expected, patterns.get(pattern))
        for (part, name, pattern), expected in outputs.items()
    ]


def _read_clip(specs: StreamSpecs, video: Path, transcript: Path | None) -> GoldenClip:
    reader = InputReader(specs.vision, specs.audio)
    crops, segments = [], []
    with MediaFile(video, specs.audio.sample_rate_hz, specs.vision.frames_per_second) as media:
        words = read_transcript(transcript, media.duration_s) if transcript else []
        for hop in media.hops(specs.audio.chunk_s):
            crops += [crop.pixels for crop in reader.crops(hop.frames) if crop.pixels is not None]
            segments += reader.segments(hop.sound, hop.end_s)
    for name, got in (("face", crops), ("sound", segments), ("words", words)):
        if not got:
            raise InputError(
                f"{video}: expected a clip with a face, sound and a transcript to compare on, found no {name}"
            )
    return GoldenClip(np.stack(crops), segments, words)


def _encoder_feeds(
    specs: StreamSpecs, clip: GoldenClip, tokenizer: WordTokenizer
) -> list[tuple[str, str, dict[str, Array]]]:
    text = " ".join(word.text for word in clip.words)
    first, typical = clip.words[0].text, " ".join(w.text for w in clip.words if w.end_s <= specs.window_s) or text
    longest = (text + " ") * (1 + specs.text.max_tokens // len(clip.words))
    quarter = len(clip.words) // specs.max_batch
    texts = [" ".join(w.text for w in clip.words[: (i + 1) * max(1, quarter)]) for i in range(specs.max_batch)]
    by_length: dict[int, list[Segment]] = {}
    for segment in clip.segments:
        by_length.setdefault(len(segment.samples), []).append(segment)
    shortest, longest_length = min(by_length), max(by_length)

    def sound(segments: list[Segment]) -> dict[str, Array]:
        return {"samples": np.stack([segment.samples for segment in segments])}

    return [
        ("vision", "one frame", {"pixels": clip.crops[:1]}),
        ("vision", "largest batch", {"pixels": clip.crops[: specs.max_frames]}),
        ("audio", "shortest", sound(by_length[shortest][:1])),
        ("audio", "longest", sound(by_length[longest_length][:1])),
        ("audio", "largest batch", sound(by_length[longest_length][: 2 * specs.max_batch])),
        ("text", "shortest", tokenizer.feeds([first])),
        ("text", "typical length", tokenizer.feeds([typical])),
        ("text", "longest", tokenizer.feeds([longest])),
        ("text", "largest batch", tokenizer.feeds(texts)),
    ]


def _fusion_feeds(specs: StreamSpecs, clip: GoldenClip, cases: list[Case], run: Runner) -> dict[str, dict[str, Array]]:
    """The live feeds of the fusion head by the name of the case: one window, the shortest, the whole clip, a batch."""
    outputs = {(case.part, case.name): (case.expected or {})["features"] for case in cases}
    sound = next(case.feeds["samples"] for case in cases if (case.part, case.name) == ("audio", "largest batch"))
    encoded = {part: outputs[part, name] for part, name in ENCODER_WINDOW_CASES.items()}
    window = window_features(specs.audio, encoded, sound.shape[1])
    vision = np.concatenate(
        [
            run("vision", {"pixels": clip.crops[at : at + specs.max_frames]})["features"]
            for at in range(0, len(clip.crops), specs.max_frames)
        ]
    )
    audio = np.concatenate(
        [trim_context(s, run("audio", {"samples": s.samples[None]})["features"][0])[1] for s in clip.segments]
    )
    per_chunk = len(audio) // len(clip.segments)
    shortest = {"vision": vision[None, :1], "audio": audio[None, :per_chunk], "text": outputs["text", "shortest"]}
    whole = {"vision": vision[None], "audio": audio[None], "text": outputs["text", "longest"]}
    return {
        WINDOW: window,
        "shortest": _with_masks(shortest),
        "whole clip": _with_masks(whole),
        "padded batch": _padded_batch(specs.max_batch, vision, audio, outputs["text", "longest"][0]),
    }


def _padded_batch(batch: int, vision: Array, audio: Array, text: Array) -> dict[str, Array]:
    """A batch of rows of growing length from the clip's features. The steps after the end of a row are masked."""
    feeds: dict[str, Array] = {}
    for m, features in (("vision", vision), ("audio", audio), ("text", text)):
        lengths = [max(1, len(features) * (row + 1) // (2 * batch)) for row in range(batch)]
        feeds[m] = np.zeros((batch, max(lengths), features.shape[1]), np.float32)
        feeds[f"{m}_mask"] = np.zeros((batch, max(lengths)), np.int32)
        for row, length in enumerate(lengths):
            feeds[m][row, :length] = features[-length:]
            feeds[f"{m}_mask"][row, :length] = 1
    return feeds


def _with_masks(features: Mapping[str, Array]) -> dict[str, Array]:
    feeds: dict[str, Array] = {}
    for m in MODALITIES:
        feeds[m] = np.ascontiguousarray(features[m], np.float32)
        feeds[f"{m}_mask"] = np.ones(feeds[m].shape[:2], np.int32)
    return feeds
