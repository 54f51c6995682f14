"""Measures what a head does with its inputs, which decides how the runtime may feed it.

Whether a stand-in of one step gives the same as one that is repeated to an ordinary length, whether the steps of a
stream may change places, whether steps that a mask hides are hidden, and whether every stream is read. All is measured
on the reference, on the windows of the golden cases.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from taemi_edge.bundle.streams import StreamSpec
from taemi_edge.bundle.values import HEAD, Array
from taemi_edge.parity.golden import WINDOW, Case, Runner, bind_tokens, streams_in

#: Outputs that differ by no more than this, of the largest output or of 1, differ by rounding alone.
ROUNDING = 1e-5


def length_errors(
    run: Runner, cases: Sequence[Case], tokens: Mapping[str, Array], streams: Mapping[str, StreamSpec]
) -> dict[str, float]:
    """How far the head's outputs move where a stand-in is repeated to the length of an ordinary window.

    Each stream is tried with every other stream live, and with all streams lost.

    Args:
        run: runs the head of the reference.
        cases: golden cases; the ordinary lengths are those of the head's cases.
        tokens: what stands for each missing stream, (D,) or (steps, D).
        streams: the model's streams.

    Returns:
        The largest absolute difference over all outputs, by stream. It is 0 for a head that is blind to the length.
    """
    errors = dict.fromkeys(streams, 0.0)
    for feeds in _live_feeds(cases):
        for name in streams:
            for pattern in (frozenset(streams) - {name}, frozenset[str]()):
                short = run(HEAD, bind_tokens(feeds, pattern, tokens, streams))
                token = np.atleast_2d(tokens[name])
                times = -(-feeds[name].shape[1] // len(token))
                repeated = {**tokens, name: np.tile(token, (times, 1))}
                long = run(HEAD, bind_tokens(feeds, pattern, repeated, streams))
                errors[name] = max(errors[name], _difference(short, long))
    return errors


def order_matters(run: Runner, cases: Sequence[Case]) -> bool:
    """Whether the head's outputs change where the steps of a stream change places, each with its mask.

    Args:
        run: runs the head of the reference.
        cases: golden cases.
    """
    rng = np.random.default_rng(0)
    for feeds in _live_feeds(cases):
        straight = run(HEAD, feeds)
        scale = max(1.0, *(float(np.abs(value).max()) for value in straight.values()))
        for name in streams_in(feeds):
            order = rng.permutation(feeds[name].shape[1])
            moved = {key: v[:, order] if key in (name, f"{name}_mask") else v for key, v in feeds.items()}
            for changed in (moved, _reversed(feeds, name)):
                if not _difference(straight, run(HEAD, changed)) <= ROUNDING * scale:
                    return True
    return False


def padding_error(run: Runner, cases: Sequence[Case], streams: Mapping[str, StreamSpec]) -> float:
    """How far the outputs of a head with masks move where steps that the masks hide follow the live ones.

    The runtime pads a window with zeros to the length of another one, or leaves older features there; both are tried,
    on the first steps of each window.

    Args:
        run: runs the head of the reference.
        cases: golden cases.
        streams: the model's streams.

    Returns:
        The largest difference over all outputs, as a part of the largest output or of 1; infinity where the outputs
        become no numbers. It is 0 for a head without masks, which is never padded.
    """
    largest = 0.0
    for feeds in _live_feeds(cases):
        for name in streams_in(feeds):
            values, mask = feeds[name], feeds.get(f"{name}_mask")
            kept = max(streams[name].min_steps, (values.shape[1] + 1) // 2)
            hidden = max(values.shape[1], min(2, streams[name].max_steps)) - kept
            if mask is None or hidden < 1:
                continue
            live, shown = values[:, :kept], np.ones_like(mask[:, :kept])
            straight = run(HEAD, {**feeds, name: live, f"{name}_mask": shown})
            scale = max(1.0, *(float(np.abs(value).max()) for value in straight.values()))
            longer = np.pad(shown, ((0, 0), (0, hidden)))
            older = np.resize(live[:, ::-1], (len(live), hidden, live.shape[2]))
            for behind in (np.zeros_like(older), older):
                padded = {name: np.concatenate([live, behind], axis=1), f"{name}_mask": longer}
                difference = _difference(straight, run(HEAD, {**feeds, **padded})) / scale
                largest = max(largest, difference if np.isfinite(difference) else float("inf"))
    return largest


def unread_streams(run: Runner, cases: Sequence[Case]) -> list[str]:
    """The streams whose features never change an output of the head, where other streams do.

    Args:
        run: runs the head of the reference.
        cases: golden cases.
    """
    moved: dict[str, bool] = {}
    for feeds in _live_feeds(cases):
        straight = run(HEAD, feeds)
        for name in streams_in(feeds):
            changed = {**feeds, name: (feeds[name][:, ::-1] * -0.5 + 0.25).astype(np.float32)}
            moved[name] = moved.get(name, False) or _difference(straight, run(HEAD, changed)) != 0
    return [name for name, does in moved.items() if not does] if any(moved.values()) else []


def _reversed(feeds: Mapping[str, Array], name: str) -> dict[str, Array]:
    """The same feeds with the steps of one stream turned round: a permutation of few steps may be none."""
    turned = (name, f"{name}_mask")
    return {key: np.ascontiguousarray(v[:, ::-1]) if key in turned else v for key, v in feeds.items()}


def _live_feeds(cases: Sequence[Case]) -> list[Mapping[str, Array]]:
    """The feeds of the head's cases with every stream live: one window, the longest, a batch."""
    tried = (WINDOW, "longest", "whole clip", "padded batch", "batch")
    live = [case for case in cases if case.part == HEAD and len(case.pattern or ()) == len(streams_in(case.feeds))]
    return [case.feeds for case in live if case.name in tried]


def _difference(a: Mapping[str, Array], b: Mapping[str, Array]) -> float:
    return max(float(np.abs(a[name].astype(np.float64) - b[name]).max(initial=0)) for name in a)
