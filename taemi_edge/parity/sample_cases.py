"""Golden cases from a model's own samples: any streams, any head.

Each of the first samples that have every stream becomes a window: what its encoders are fed, and the head on their
outputs, in every presence pattern. The corners come besides: one row, the largest batch, the shortest and the longest
input of each encoder, and batches of windows for the head.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from taemi_edge.bundle.streams import TextSpec
from taemi_edge.bundle.values import HEAD, Array
from taemi_edge.errors import InputError
from taemi_edge.media.tokens import WordTokenizer
from taemi_edge.parity.golden import WINDOW, Case, ModelSpecs, Runner, WindowCalls, bind_tokens
from taemi_edge.parity.samples import (
    Row,
    Sample,
    calls_of,
    encoder_rows,
    has_stream,
    padded_texts,
    require_known_names,
    row_shape,
    stacked,
    tokenizers_of,
)
from taemi_edge.parity.windows import Features, batch_with_stand_ins, head_feeds, padded_batch, window_features

#: So many samples become windows, as long as the head runs no more often on them, in all patterns, and as long as their
#: inputs take no more room.
MOST_WINDOWS = 32
MOST_HEAD_RUNS = 1024
MOST_BYTES = 4e6
#: So many samples are looked at for the corners, and of more the first with a stream that none of these has.
MOST_SAMPLES = 256

#: The rows of one sample by stream; a stream that is missing has none.
_Rows = dict[str, list[Row]]


def make_cases(
    specs: ModelSpecs,
    tokenizers: Mapping[str, str],
    run: Runner,
    tokens: Mapping[str, Array],
    samples: Sequence[Sample],
) -> list[Case]:
    """Make the cases of a model's samples, and run a reference on them.

    Args:
        specs: the streams of the model, and how its head reads them.
        tokenizers: the text of tokenizer.json of each stream of text; only needed where samples hold words.
        run: runs one part of the reference.
        tokens: what stands for each missing stream, float32 (D,) or (steps, D).
        samples: see `taemi_edge.parity.samples`.

    Raises:
        InputError: there is no sample, an array does not fit its stream, or a stream is in none of the samples.
    """
    rows = _read(specs, tokenizers, samples)
    windows = _windows(specs, rows)
    cases: list[Case] = []
    for stream in specs.streams:
        for name, feeds in _encoder_feeds(specs, stream, rows, windows).items():
            cases.append(Case(stream, name, feeds, run(stream, feeds)))
    for name, feeds in _head_feeds(specs, run, tokens, rows, windows).items():
        for pattern in specs.patterns:
            bound = bind_tokens(feeds, pattern, tokens, specs.streams)
            cases.append(Case(HEAD, name, feeds, run(HEAD, bound), pattern))
    return cases


def sample_calls(
    specs: ModelSpecs, tokenizers: Mapping[str, WordTokenizer], sample: Sample, where: str = "samples"
) -> WindowCalls:
    """What the encoders are fed for one sample, by stream; a stream that is missing has no calls."""
    return {
        stream: calls_of(encoder_rows(stream, spec, sample, tokenizers.get(stream), where), specs.max_rows)
        for stream, spec in specs.streams.items()
    }


def _read(specs: ModelSpecs, tokenizers: Mapping[str, str], samples: Sequence[Sample]) -> list[_Rows]:
    """Cut every sample into the rows of its encoders."""
    if not len(samples):
        raise InputError("samples: expected at least one sample with the model's inputs, got none")
    known = tokenizers_of(specs.streams, tokenizers)
    rows: list[_Rows] = []
    for number, sample in enumerate(samples):
        if number >= MOST_SAMPLES and not any(has_stream(sample, name) for name in _never(specs, rows)):
            continue
        where = f"samples[{number}]"
        require_known_names(sample, specs.streams, None, where)
        rows.append({n: encoder_rows(n, spec, sample, known.get(n), where) for n, spec in specs.streams.items()})
    if never := _never(specs, rows):
        raise InputError(f"samples: expected at least one sample with {never[0]}, found none, or less than a chunk")
    return rows


def _never(specs: ModelSpecs, rows: Sequence[_Rows]) -> list[str]:
    """The streams that none of the samples has."""
    return [name for name in specs.streams if not any(row[name] for row in rows)]


def _windows(specs: ModelSpecs, rows: Sequence[_Rows]) -> dict[str, _Rows]:
    """The samples that become windows, by the name of their case; the first is put together where none is complete."""
    complete = [row for row in rows if all(row.values())]
    if not complete:
        complete = [{name: next(row[name] for row in rows if row[name]) for name in specs.streams}]
    windows: dict[str, _Rows] = {}
    room = MOST_BYTES
    most = min(MOST_WINDOWS, max(4, MOST_HEAD_RUNS // len(specs.patterns)))
    for number, row in enumerate(complete[:most], 1):
        room -= sum(value.nbytes for found in row.values() for each in found for value in each.values())
        if windows and room < 0:
            break
        windows[WINDOW if number == 1 else f"{WINDOW} {number}"] = row
    return windows


def _encoder_feeds(
    specs: ModelSpecs, stream: str, rows: Sequence[_Rows], windows: Mapping[str, _Rows]
) -> dict[str, dict[str, Array]]:
    """The feeds of one encoder by the name of the case; a corner that some window has already is left out."""
    feeds: dict[str, dict[str, Array]] = {}
    for name, window in windows.items():
        for number, call in enumerate(calls_of(window[stream], specs.max_rows), 1):
            feeds[name if number == 1 else f"{name}, call {number}"] = call
    by_length: dict[tuple[tuple[int, ...], ...], list[Row]] = {}
    for row in (each for found in rows for each in found[stream]):
        by_length.setdefault(row_shape(row), []).append(row)
    lengths = sorted(by_length)
    common = max(lengths, key=lambda length: (len(by_length[length]), length))
    is_text = isinstance(specs.streams[stream], TextSpec)
    if is_text:
        each = [row for found in by_length.values() for row in found]
        batch = padded_texts(each[:: max(1, len(each) // specs.max_batch)][: specs.max_batch])
    else:
        batch = stacked(by_length[common][: specs.max_rows])
    corners = {
        "one row": stacked(by_length[common][:1]),
        "shortest": stacked(by_length[lengths[0]][:1]),
        "longest": stacked(by_length[lengths[-1]][:1]),
        "largest batch": batch,
    }
    for name, corner in corners.items():
        if not any(_same(corner, other) for other in feeds.values()):
            feeds[name] = corner
    return feeds


def _head_feeds(
    specs: ModelSpecs,
    run: Runner,
    tokens: Mapping[str, Array],
    rows: Sequence[_Rows],
    windows: Mapping[str, _Rows],
) -> dict[str, dict[str, Array]]:
    """The live feeds of the head by the name of the case."""
    masks = specs.head.masks
    features = {name: _features(specs, run, window) for name, window in windows.items()}
    feeds = {name: head_feeds(window, masks) for name, window in features.items()}
    ends = {"shortest": min, "longest": max}
    for name, end in ends.items():
        chosen = {s: end((row[s] for row in rows if row[s]), key=_length) for s in specs.streams}
        corner = head_feeds(_features(specs, run, chosen), masks)
        if not any(_same(corner, other) for other in feeds.values()):
            feeds[name] = corner
    batch = list(features.values())[: specs.max_batch]
    while len(batch) < 2:
        batch = [*batch, *batch]
    if masks:
        feeds["padded batch"] = padded_batch(_ragged(specs, batch), masks=True)
        incomplete = [row for row in rows if not all(row.values())][: specs.max_batch]
        found = [_features(specs, run, row) for row in incomplete] or _each_lost(specs, _ragged(specs, batch))
        feeds["streams missing by row"] = batch_with_stand_ins(found, tokens, specs.streams)
    else:
        feeds["batch"] = padded_batch(_of_equal_lengths(batch), masks=False)
    return feeds


def _features(specs: ModelSpecs, run: Runner, rows: _Rows) -> dict[str, Array]:
    """The features (T, D) of the streams that have rows."""
    calls = {stream: calls_of(found, specs.max_rows) for stream, found in rows.items() if found}
    features = window_features(run, calls, specs.streams)
    for name, values in features.items():
        if len(values) < (least := specs.streams[name].min_steps):
            raise InputError(
                f"samples: expected at least {least} steps of {name} (its min_steps), the encoder gave {len(values)}: "
                f"give longer samples"
            )
    return features


def _ragged(specs: ModelSpecs, batch: Sequence[Features]) -> list[dict[str, Array]]:
    """The same windows; where all are of one length, each is cut to a length of its own, so that masks count."""
    rows = [dict(row) for row in batch]
    for name, spec in specs.streams.items():
        if len({len(row[name]) for row in rows}) == 1:
            for number, row in enumerate(rows, 1):
                kept = max(spec.min_steps, -(-len(row[name]) * number // len(rows)))
                row[name] = row[name][-kept:]
    return rows


def _each_lost(specs: ModelSpecs, batch: Sequence[Features]) -> list[Features]:
    """The same windows: one is complete, each of the next lacks one stream, and one all: as sources in a batch do."""
    names = [name for name, spec in specs.streams.items() if not spec.required]
    lost = [set[str](), *({name} for name in names), set(names)]
    return [{n: v for n, v in row.items() if n not in lost[i % len(lost)]} for i, row in enumerate(batch)]


def _of_equal_lengths(batch: Sequence[Features]) -> list[dict[str, Array]]:
    """The newest steps of each window, as many as the shortest one has."""
    shortest = {name: min(len(row[name]) for row in batch) for name in batch[0]}
    return [{name: row[name][-steps:] for name, steps in shortest.items()} for row in batch]


def _length(rows: Sequence[Row]) -> int:
    return sum(next(iter(row.values())).shape[0] if next(iter(row.values())).ndim else 1 for row in rows)


def _same(a: Mapping[str, Array], b: Mapping[str, Array]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)
