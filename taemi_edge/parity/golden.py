"""Golden feeds: inputs for every part of a model, with the outputs that a reference gave for them.

Every encoder gets its smallest and largest batch, and its shortest and longest length. The head gets windows of real
features in every presence pattern. `golden.npz` keeps the feeds and the outputs beside a bundle, so that comparing on a
device needs no PyTorch.

The feeds come from a model's own samples (`taemi_edge.parity.sample_cases`) or from a clip with a face, speech and
words (`taemi_edge.parity.clip_cases`). This module says what a case is, how cases are kept, and which of them make up
a whole window.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np

from taemi_edge.bundle.folder import GOLDEN, Bundle
from taemi_edge.bundle.limits import MOST_GOLDEN_ARRAYS, MOST_GOLDEN_BYTES
from taemi_edge.bundle.spec import HeadSpec, Manifest
from taemi_edge.bundle.streams import (
    AUDIO,
    TEXT,
    VIDEO,
    Pattern,
    StreamSpec,
    kind_name,
    pattern_name,
    pattern_of,
    presence_patterns,
)
from taemi_edge.bundle.values import HEAD, Array
from taemi_edge.errors import BundleError, InputError
from taemi_edge.media.chunks import MAX_BATCH
from taemi_edge.media.npz_files import arrays_of

#: Runs one part: takes the name of the part and its feeds, and gives its outputs by name.
Runner = Callable[[str, Mapping[str, Array]], dict[str, Array]]
#: The calls of the encoders that make one window: by stream, the feeds of each call in the order of time.
WindowCalls = Mapping[str, Sequence[Mapping[str, Array]]]

#: The first case of the head whose features are the encoders' outputs for other cases; more of them are called
#: "window 2" and so on. The end-to-end check uses them.
WINDOW = "window"
_WINDOW_NAME = re.compile(rf"{WINDOW}( \d+)?")
#: In cases that were made of a clip, the cases of an encoder that make the window.
_CLIP_WINDOW = {VIDEO: "largest batch", AUDIO: "largest batch", TEXT: "typical length"}


@dataclass(frozen=True, eq=False)
class Case:
    """One comparison of one part.

    Attributes:
        part: the name of a stream, whose encoder it is, or "fusion" for the head.
        name: of the case, such as "largest batch".
        feeds: the inputs of the part by name; for the head, with every stream live.
        expected: the outputs of the reference by name; None where the reference was not run.
        pattern: the streams that are live, for the head; all others are replaced by what stands for them.
    """

    part: str
    name: str
    feeds: Mapping[str, Array]
    expected: Mapping[str, Array] | None
    pattern: Pattern | None = None

    @property
    def title(self) -> str:
        return self.name if self.pattern is None else f"{self.name}, {_named(self.pattern, self.feeds)}"


@dataclass(frozen=True)
class ModelSpecs:
    """What golden cases must know of a model.

    Attributes:
        streams: by name, in the model's order.
        head: whether the head takes masks.
        window_s: how many seconds a prediction looks back.
        declared_patterns: sets of live streams that are checked although there are more than six streams.
        max_rows: the largest batch of pictures, chunks and rows of numbers.
        max_batch: the largest batch of windows and texts.
    """

    streams: Mapping[str, StreamSpec]
    window_s: float
    head: HeadSpec = HeadSpec()  # noqa: RUF009  (frozen)
    declared_patterns: tuple[tuple[str, ...], ...] = ()
    max_rows: int = MAX_BATCH
    max_batch: int = 4

    @classmethod
    def of(cls, manifest: Manifest) -> ModelSpecs:
        """Take them from a manifest; its parts, hashes and tolerances are not looked at."""
        return cls(manifest.streams, manifest.window.length_s, manifest.head, manifest.declared_patterns)

    @property
    def patterns(self) -> tuple[Pattern, ...]:
        """The sets of live streams that the model is checked in, the complete one first."""
        return presence_patterns(self.streams, self.declared_patterns)


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


def bind_tokens(
    feeds: Mapping[str, Array],
    pattern: Pattern,
    tokens: Mapping[str, Array],
    streams: Mapping[str, StreamSpec] | None = None,
) -> dict[str, Array]:
    """Replace the absent streams in the feeds of the head by what stands for them, as the runtime does.

    Args:
        feeds: the features of each stream, (B, T, D), and their masks, int32 (B, T), where the head takes masks.
        pattern: the streams that are live.
        tokens: what stands for each stream, (D,) or (steps, D).
        streams: the model's streams, which say whether the mask hides a stand-in; None where none is hidden.

    Returns:
        The feeds, in which every absent stream is its stand-in, float32 (B, steps, D), with its mask.

    Example:
        >>> feeds = {"a": np.zeros((2, 7, 3), np.float32), "a_mask": np.ones((2, 7), np.int32)}
        >>> {name: value.shape for name, value in bind_tokens(feeds, frozenset(), {"a": np.ones(3)}).items()}
        {'a': (2, 1, 3), 'a_mask': (2, 1)}
    """
    bound = dict(feeds)
    for name in streams_in(feeds):
        if name not in pattern:
            token = np.atleast_2d(tokens[name]).astype(np.float32)
            bound[name] = np.repeat(token[None], len(feeds[name]), axis=0)
            if f"{name}_mask" in feeds:
                seen = 1 if streams is None else streams[name].missing.mask
                bound[f"{name}_mask"] = np.full(bound[name].shape[:2], seen, np.int32)
    return bound


def streams_in(feeds: Mapping[str, Array]) -> tuple[str, ...]:
    """The streams in the feeds of a head, in their order; its masks are left out.

    >>> streams_in({"imu": np.zeros((1, 1, 2)), "imu_mask": np.ones((1, 1))})
    ('imu',)
    """
    return tuple(name for name in feeds if not (name.endswith("_mask") and name.removesuffix("_mask") in feeds))


def window_cases(cases: Sequence[Case]) -> list[Case]:
    """The cases of the head, in all patterns, whose features the encoders made of other cases."""
    return [case for case in cases if case.part == HEAD and _WINDOW_NAME.fullmatch(case.name)]


def window_calls(cases: Sequence[Case], name: str, streams: Mapping[str, StreamSpec]) -> WindowCalls:
    """Find what the encoders were fed for one window of the golden cases.

    Args:
        cases: golden cases.
        name: of a case of the head, from `window_cases`.
        streams: the model's streams.

    Raises:
        BundleError: the cases lack the feeds of a stream.
    """
    calls: dict[str, list[Mapping[str, Array]]] = {}
    for stream, spec in streams.items():
        names = {case.name: case.feeds for case in cases if case.part == stream}
        found = [feeds for case, feeds in names.items() if case == name or case.startswith(f"{name}, call ")]
        if not found and name == WINDOW and (usual := _CLIP_WINDOW.get(kind_name(spec))) in names:
            found = [names[usual]]
        if not found:
            raise BundleError(f"golden feeds: expected the inputs of {stream!r} for {name!r}, found none: export again")
        calls[stream] = found
    return calls


def usual_case(cases: Sequence[Case], part: str) -> Case:
    """The case that is most like an ordinary hop of a part: one row of the usual length; for the head, one window.

    Raises:
        BundleError: there is no case of the part.
    """
    single = [case for case in cases if case.part == part and len(next(iter(case.feeds.values()))) == 1]
    if not single:
        raise BundleError(f"golden feeds: expected a case of {part!r} with one row, found none: export the model again")
    usual = (WINDOW, _CLIP_WINDOW[TEXT])
    named = next((case for case in single if case.name in usual), None)
    return named or max(single, key=lambda case: sum(value.size for value in case.feeds.values()))


def save_cases(cases: Sequence[Case], file: Path) -> None:
    """Write `golden.npz`. The live feeds of the head are stored once for all presence patterns."""
    arrays: dict[str, Array] = {}
    for case in cases:
        for name, value in case.feeds.items():
            arrays[f"{case.part}|{case.name}|in|{name}"] = value
        suffix = "" if case.pattern is None else f"|{_named(case.pattern, case.feeds)}"
        for name, value in (case.expected or {}).items():
            arrays[f"{case.part}|{case.name}|out|{name}{suffix}"] = value
    np.savez_compressed(file, allow_pickle=False, **arrays)


def load_cases(file: Path) -> list[Case]:
    """Read the cases of a `golden.npz`; those of a bundle are read by `golden_cases`.

    Raises:
        BundleError: the file was not written by `save_cases`.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise BundleError(f"{file}: expected golden feeds: {error.strerror}: export the model again") from error
    return _cases_of(content, file)


def golden_cases(bundle: Bundle) -> list[Case]:
    """Read the cases of a bundle, from the bytes that were hashed, and hold them against its manifest.

    Raises:
        BundleError: the file was changed, was not written by `save_cases`, holds more than a bundle may, or its cases
            are those of another model.
    """
    manifest = bundle.manifest
    cases = _cases_of(bundle.read(GOLDEN, MOST_GOLDEN_BYTES), bundle.golden_file)
    problems = [f"no case of {part!r}" for part in manifest.part_names if all(case.part != part for case in cases)]
    problems += [problem for case in cases if (problem := _case_problem(case, manifest))]
    if problems:
        raise BundleError(
            f"{bundle.golden_file}: expected golden feeds of this model, got {problems[0]:.200}: export the model again"
        )
    return cases


def _cases_of(content: bytes, file: Path) -> list[Case]:
    feeds: dict[tuple[str, str], dict[str, Array]] = {}
    outputs: dict[tuple[str, str, str], dict[str, Array]] = {}
    try:
        stored = arrays_of(content, MOST_GOLDEN_BYTES - len(content), MOST_GOLDEN_ARRAYS)
        for key, value in stored.items():
            part, name, direction, tensor, *pattern = key.split("|")
            if direction == "in":
                feeds.setdefault((part, name), {})[tensor] = value
            else:
                outputs.setdefault((part, name, "".join(pattern)), {})[tensor] = value
        return [
            Case(part, name, feeds[part, name], expected, pattern_of(pattern) if pattern else None)
            for (part, name, pattern), expected in outputs.items()
        ]
    except (InputError, ValueError, KeyError) as error:
        raise BundleError(f"{file}: expected golden feeds: {error!s:.200}: export the model again") from error


def _case_problem(case: Case, manifest: Manifest) -> str | None:
    """Say what a case has that the model has not; None where it fits."""
    where = f"{case.part!r:.40}, {case.name!r:.40}"
    spec = manifest.parts.get(case.part)
    if spec is None:
        return f"the unknown part {case.part!r:.40}"
    if unknown := sorted((case.pattern or frozenset()) - set(manifest.streams)):
        return f"the unknown stream {unknown[0]!r:.40} in {where}"
    if problems := spec.feed_problems(case.feeds):
        return f"{where}: {problems[0]}"
    ranks = {output.name: len(output.shape) for output in spec.outputs}
    for name, value in (case.expected or {}).items():
        if name not in ranks or value.ndim != ranks[name] or value.dtype.kind != "f":
            return f"{where}: the output {name!r:.40} as {value.dtype} {value.shape}"
    return None


def _named(pattern: Pattern, feeds: Mapping[str, Array]) -> str:
    return pattern_name(pattern, streams_in(feeds))
