"""Golden cases from a clip with a face, speech and words, read by the runtime's own preprocessing.

This serves models of video of faces, audio and text, such as TAEMI. Any other model brings samples of its own: see
`taemi_edge.parity.sample_cases`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from taemi_edge.bundle.streams import AudioSpec, StreamSpec, TextSpec, VideoSpec
from taemi_edge.bundle.values import HEAD, Array
from taemi_edge.errors import InputError
from taemi_edge.media.chunks import Chunker, Segment
from taemi_edge.media.files import MediaFile
from taemi_edge.media.inputs import CropReader
from taemi_edge.media.tokens import WordTokenizer
from taemi_edge.media.transcripts import Word, read_transcript
from taemi_edge.parity.golden import WINDOW, Case, ModelSpecs, Runner, bind_tokens, window_calls
from taemi_edge.parity.windows import encode_calls, growing_rows, head_feeds, padded_batch, window_features

#: Named feeds of an encoder.
_NamedFeeds = list[tuple[str, dict[str, Array]]]


@dataclass(frozen=True, eq=False)
class GoldenClip:
    """A clip as the encoders take it, to make golden feeds from."""

    crops: Array  # (frames, H, W, 3)
    segments: list[Segment]
    words: list[Word]


def make_clip_cases(
    specs: ModelSpecs,
    tokenizers: Mapping[str, str],
    run: Runner,
    tokens: Mapping[str, Array],
    video: Path,
    transcript: Path | None,
) -> list[Case]:
    """Make the cases of a clip, and run a reference on them.

    Args:
        specs: the streams of the model: at most one each of video, audio and text.
        tokenizers: the text of tokenizer.json of each stream of text.
        run: runs one part of the reference.
        tokens: what stands for each missing stream, float32 (D,) or (steps, D).
        video: a clip with a face and speech.
        transcript: what is said in it.

    Raises:
        InputError: the clip has no face, no sound or no words, so there is nothing to compare on; or the model has
            streams that no clip gives.
    """
    _require_clip_streams(specs.streams)
    clip = read_clip(specs, video, transcript)
    cases: list[Case] = []
    for stream, spec in specs.streams.items():
        for name, feeds in _encoder_feeds(specs, spec, clip, tokenizers.get(stream, "")):
            cases.append(Case(stream, name, feeds, run(stream, feeds)))
    for name, feeds in _head_feeds(specs, clip, cases, run).items():
        for pattern in specs.patterns:
            bound = bind_tokens(feeds, pattern, tokens, specs.streams)
            cases.append(Case(HEAD, name, feeds, run(HEAD, bound), pattern))
    return cases


def _require_clip_streams(streams: Mapping[str, StreamSpec]) -> None:
    kinds = [type(spec) for spec in streams.values()]
    if len(set(kinds)) < len(kinds) or not set(kinds) <= {VideoSpec, AudioSpec, TextSpec}:
        raise InputError(
            f"expected samples of the model to compare on: a clip gives one stream each of video, audio and text, and "
            f"the model has {', '.join(streams)}"
        )


def read_clip(specs: ModelSpecs, file: Path, transcript: Path | None) -> GoldenClip:
    """Read what the model takes of a clip; the rest stays empty."""
    of_kind = {type(spec): spec for spec in specs.streams.values()}
    video, audio = of_kind.get(VideoSpec), of_kind.get(AudioSpec)
    reader = CropReader(video) if isinstance(video, VideoSpec) else None
    chunker = Chunker(audio) if isinstance(audio, AudioSpec) else None
    crops: list[Array] = []
    segments: list[Segment] = []
    with MediaFile(
        file,
        audio.sample_rate_hz if isinstance(audio, AudioSpec) else 16_000,
        video.frames_per_second if isinstance(video, VideoSpec) else 1.0,
    ) as media:
        words = read_transcript(transcript, media.duration_s) if transcript else []
        for hop in media.hops(audio.chunk_s if isinstance(audio, AudioSpec) else 0.5):
            crops += [c.pixels for c in reader.crops(hop.frames) if c.pixels is not None] if reader else []
            segments += chunker.cut(hop.sound, hop.end_s) if chunker else []
        rest = media.rest()
        segments += chunker.cut(rest.sound, rest.end_s) if chunker else []
    for kind, name, got in ((VideoSpec, "face", crops), (AudioSpec, "sound", segments), (TextSpec, "words", words)):
        if kind in of_kind and not got:
            raise InputError(
                f"{file}: expected a clip with a face, sound and a transcript to compare on, found no {name}"
            )
    return GoldenClip(np.stack(crops) if crops else np.zeros(0, np.uint8), segments, words)


def _encoder_feeds(specs: ModelSpecs, spec: StreamSpec, clip: GoldenClip, tokenizer_json: str) -> _NamedFeeds:
    """The feeds of one encoder by the name of the case: the smallest and largest batch, the corners of length."""
    if isinstance(spec, VideoSpec):
        return [("one frame", {"pixels": clip.crops[:1]}), ("largest batch", {"pixels": clip.crops[: specs.max_rows]})]
    if isinstance(spec, TextSpec):
        return _text_feeds(specs, WordTokenizer(tokenizer_json, spec.max_tokens), spec.max_tokens, clip.words)
    by_length: dict[int, list[Segment]] = {}
    for segment in clip.segments:
        by_length.setdefault(len(segment.samples), []).append(segment)
    shortest, longest = by_length[min(by_length)], by_length[max(by_length)]
    return [
        ("shortest", _sound(shortest[:1])),
        ("longest", _sound(longest[:1])),
        ("largest batch", _sound(longest[: 2 * specs.max_batch])),
    ]


def _text_feeds(specs: ModelSpecs, tokenizer: WordTokenizer, max_tokens: int, words: list[Word]) -> _NamedFeeds:
    text = " ".join(word.text for word in words)
    typical = " ".join(w.text for w in words if w.end_s <= specs.window_s) or text
    longest = (text + " ") * (1 + max_tokens // len(words))
    quarter = max(1, len(words) // specs.max_batch)
    texts = [" ".join(w.text for w in words[: (i + 1) * quarter]) for i in range(specs.max_batch)]
    return [
        ("shortest", tokenizer.feeds([words[0].text])),
        ("typical length", tokenizer.feeds([typical])),
        ("longest", tokenizer.feeds([longest])),
        ("largest batch", tokenizer.feeds(texts)),
    ]


def _sound(segments: list[Segment]) -> dict[str, Array]:
    return {"samples": np.stack([segment.samples for segment in segments])}


def _head_feeds(specs: ModelSpecs, clip: GoldenClip, cases: list[Case], run: Runner) -> dict[str, dict[str, Array]]:
    """The live feeds of the head by the name of the case: one window, the shortest, the whole clip, a batch."""
    masks = specs.head.masks
    window = window_features(run, window_calls(cases, WINDOW, specs.streams), specs.streams)
    whole: dict[str, Array] = {}
    shortest: dict[str, Array] = {}
    for stream, spec in specs.streams.items():
        if isinstance(spec, TextSpec):
            feeds = {case.name: case.feeds for case in cases if case.part == stream}
            whole[stream] = encode_calls(run, stream, spec, [feeds["longest"]])
            shortest[stream] = encode_calls(run, stream, spec, [feeds["shortest"]])
        else:
            calls = _whole_clip(spec, clip, specs.max_rows)
            whole[stream] = encode_calls(run, stream, spec, calls)
            rows = len(clip.crops) if isinstance(spec, VideoSpec) else len(calls)
            shortest[stream] = whole[stream][: len(whole[stream]) // rows]
    rows_of_batch = growing_rows(whole, specs.max_batch) if masks else [window] * specs.max_batch
    return {
        WINDOW: head_feeds(window, masks),
        "shortest": head_feeds(shortest, masks),
        "whole clip": head_feeds(whole, masks),
        "padded batch" if masks else "batch": padded_batch(rows_of_batch, masks),
    }


def _whole_clip(spec: StreamSpec, clip: GoldenClip, max_rows: int) -> list[dict[str, Array]]:
    """What the encoder of pictures or sound is fed for the whole clip; sound chunk by chunk."""
    if isinstance(spec, VideoSpec):
        return [{"pixels": clip.crops[at : at + max_rows]} for at in range(0, len(clip.crops), max_rows)]
    return [_sound([segment]) for segment in clip.segments]
