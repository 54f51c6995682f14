"""Writes the inputs of a call into the memory that the GPU reads: pixels, samples, token ids, rows and masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from taemi_edge.bundle.spec import MODALITIES, Modality
from taemi_edge.bundle.values import Array
from taemi_edge.runtime.tensorrt.buffers import Inputs
from taemi_edge.runtime.tensorrt.calls import Call, GraphCase, padded, padded_tokens
from taemi_edge.runtime.tensorrt.layout import DeviceLayout
from taemi_edge.runtime.work import Item, Work


def write_inputs(inputs: Inputs, layout: DeviceLayout, call: Call) -> GraphCase:
    """Write a call's inputs, and return the case that its shapes make.

    Rows that are -1 are dropped by the scatter kernel; so are the rows of padding.
    """
    control = inputs.control.host
    for m in MODALITIES:
        control[f"{m} rows"].fill(-1)
    frames = _write_frames(inputs, layout, call.frames)
    audio = _write_sounds(inputs, layout, call.sounds)
    text = _write_texts(inputs, layout, call.texts)
    live = _write_masks(inputs, layout, call.windows) if call.windows else None
    return GraphCase(frames, audio, text, live)


def write_warm_up(inputs: Inputs) -> None:
    """Write inputs that any case may run on: no row is kept, and every mask lets one step count."""
    control = inputs.control.host
    for m in MODALITIES:
        control[f"{m} rows"].fill(-1)
        control[f"{m} mask"][:, 0] = 1
    control["text input mask"].fill(1)


def _write_frames(inputs: Inputs, layout: DeviceLayout, frames: Sequence[tuple[int, Array, int]]) -> int:
    rows = inputs.control.host["vision rows"]
    for at, (source, pixels, row) in enumerate(frames):
        inputs.pixels.host[at] = pixels
        rows[at] = -1 if row < 0 else layout.row(source, "vision", row)
    return padded(len(frames), layout.most["vision"])


def _write_sounds(inputs: Inputs, layout: DeviceLayout, sounds: Sequence[tuple[int, Item]]) -> tuple[int, int]:
    if not sounds:
        return 0, 0
    samples = len(sounds[0][1].feeds["samples"])
    steps, rows = layout.steps.encoded(samples), inputs.control.host["audio rows"]
    for at, (source, sound) in enumerate(sounds):
        inputs.samples[samples].host[at] = sound.feeds["samples"]
        placed = rows[at * steps : (at + 1) * steps]
        kept = sound.rows >= 0
        placed[kept] = layout.row(source, "audio", sound.rows[kept])
    return padded(len(sounds), layout.most["audio"]), samples


def _write_texts(inputs: Inputs, layout: DeviceLayout, texts: Sequence[tuple[int, Array]]) -> tuple[int, int]:
    if not texts:
        return 0, 0
    batch = padded(len(texts), layout.most["text"])
    tokens = padded_tokens(max(len(ids) for _, ids in texts), layout.most_tokens)
    control, size = inputs.control.host, batch * tokens
    ids, mask = (control[name][:size].reshape(batch, tokens) for name in ("ids", "text input mask"))
    rows = control["text rows"][:size].reshape(batch, tokens)
    ids.fill(0)
    mask.fill(0)
    mask[:, 0] = 1  # a text of padding alone must still have one step that counts
    for at, (source, words) in enumerate(texts):
        ids[at, : len(words)], mask[at, : len(words)] = words, 1
        rows[at, : len(words)] = layout.row(source, "text", np.arange(len(words)))
    return batch, tokens


def _write_masks(inputs: Inputs, layout: DeviceLayout, works: Sequence[Work]) -> frozenset[Modality]:
    """Mark the rows that make up each source's window; return the streams that at least one source has."""
    live: set[Modality] = {m for work in works for m in work.window}
    for m in live:
        mask = inputs.control.host[f"{m} mask"]
        mask.fill(0)
        for work in works:
            rows = work.window.get(m)
            mask[work.source, layout.capacity[m] if rows is None else rows] = 1
    return frozenset(live)
