"""Writes the inputs of a call into the memory that the GPU reads: what is encoded, and where rows go and come from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from taemi_edge.bundle.streams import TextSpec
from taemi_edge.bundle.values import Array
from taemi_edge.runtime.rings import Span
from taemi_edge.runtime.tensorrt.buffers import Inputs
from taemi_edge.runtime.tensorrt.calls import Call, EncoderCase, GraphCase, HeadCase
from taemi_edge.runtime.tensorrt.layout import DeviceLayout
from taemi_edge.runtime.work import Item, Work


def write_inputs(inputs: Inputs, layout: DeviceLayout, call: Call) -> GraphCase:
    """Write a call's inputs, and return the case that its shapes make.

    Rows that are -1 are dropped by the scatter kernel; so are the rows of padding.
    """
    encoders = []
    for name in layout.streams:
        inputs.control.host[f"{name} rows"].fill(-1)
        if new := call.inputs.get(name):
            write = _write_texts if isinstance(layout.spec(name), TextSpec) else _write_items
            encoders.append(write(inputs, layout, name, new))
    head = None
    if call.windows:
        head = (_write_masks if layout.reads_rings else _write_windows)(inputs, layout, call.windows)
    return GraphCase(tuple(encoders), head)


def write_warm_up(inputs: Inputs, layout: DeviceLayout) -> None:
    """Write inputs that any case may run on: no row is kept, and every mask lets one step count."""
    for what, values in inputs.control.host.items():
        values.fill(-1 if what.endswith((" rows", " window")) else 0)
        if what.endswith(" input mask"):
            values.fill(1)
        elif what.endswith(" mask"):
            values.fill(1 if not layout.reads_rings else 0)
            values[:, 0] = 1


def _write_items(inputs: Inputs, layout: DeviceLayout, stream: str, items: Sequence[tuple[int, Item]]) -> EncoderCase:
    length = layout.length(stream, items[0][1])
    batch = layout.batch(stream, len(items))
    steps = layout.encoded_steps(stream, length)
    rows = inputs.control.host[f"{stream} rows"]
    staged = inputs.staged[stream, length]
    for at, (source, item) in enumerate(items):
        for name, value in item.feeds.items():
            staged[name].host[at] = value
        first = at * steps + item.skipped
        rows[first : first + item.rows.count] = _rows(layout, source, stream, item.rows)
    return EncoderCase(stream, batch, length)


def _write_texts(inputs: Inputs, layout: DeviceLayout, stream: str, items: Sequence[tuple[int, Item]]) -> EncoderCase:
    """Write token ids, padded to the longest text, and their masks."""
    batch = layout.batch(stream, len(items))
    tokens = layout.tokens(stream, max(len(item.feeds["ids"]) for _, item in items))
    control, size, steps = inputs.control.host, batch * tokens, layout.encoded_steps(stream, tokens)
    ids, mask = (control[f"{stream} {name}"][:size].reshape(batch, tokens) for name in ("ids", "input mask"))
    rows = control[f"{stream} rows"][: batch * steps].reshape(batch, steps)
    ids.fill(0)
    mask.fill(0)
    mask[:, 0] = 1  # a text of padding alone must still have one step that counts
    for at, (source, item) in enumerate(items):
        words = item.feeds["ids"]
        ids[at, : len(words)], mask[at, : len(words)] = words, 1
        rows[at, : item.rows.count] = _rows(layout, source, stream, item.rows)
    return EncoderCase(stream, batch, tokens)


def _write_masks(inputs: Inputs, layout: DeviceLayout, works: Sequence[Work]) -> HeadCase:
    """Mark the rows of the rings that make up each source's window.

    Where a source alone has lost a stream, it reads the stand-in at the end of its ring.
    """
    live: set[str] = {name for work in works for name in work.window}
    for name in live:
        mask = inputs.control.host[f"{name} mask"]
        mask.fill(0)
        for work in works:
            rows = work.window.get(name)
            if rows is None:
                mask[work.source, layout.capacity[name] :] = layout.spec(name).missing.mask
            else:
                for piece in rows.slices(layout.capacity[name]):
                    mask[work.source, piece] = 1
    return layout.ring_case(frozenset(live))


def _write_windows(inputs: Inputs, layout: DeviceLayout, works: Sequence[Work]) -> HeadCase:
    """Write which rows make up each window, in order; the windows lie one after the other, padded to the longest."""
    longest = {name: max(layout.window_steps(name, work) for work in works) for name in layout.streams}
    case = layout.window_case(len(works), longest)
    for name, steps in zip(layout.streams, case.steps, strict=True):
        size, masks = case.batch * steps, inputs.control.host.get(f"{name} mask")
        taken = inputs.control.host[f"{name} window"].reshape(-1)[:size].reshape(case.batch, steps)
        taken.fill(-1)
        stand_in = np.arange(layout.capacity[name], layout.ring_rows(name))
        for at, work in enumerate(works):
            span = work.window.get(name)
            rows = stand_in if span is None else span.rows(layout.capacity[name])
            taken[at, : len(rows)] = layout.row(work.source, name, rows)
        if masks is not None:
            mask = masks.reshape(-1)[:size].reshape(case.batch, steps)
            mask.fill(0)
            mask[len(works) :, 0] = 1  # a window of padding alone must still have one step that counts
            for at, work in enumerate(works):
                lost = name not in work.window
                mask[at, : layout.window_steps(name, work)] = layout.spec(name).missing.mask if lost else 1
    return case


def _rows(layout: DeviceLayout, source: int, stream: str, rows: Span) -> Array:
    """Rows of a source's ring as rows of all rings."""
    return layout.row(source, stream, rows.rows(layout.capacity[stream]))
