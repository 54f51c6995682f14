"""The sizes of what the executor keeps on the GPU."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import msgspec

from taemi_edge.bundle.spec import HeadSpec
from taemi_edge.runtime.rings import Span
from taemi_edge.runtime.tensorrt.layout import DeviceLayout
from taemi_edge.runtime.work import Work


def test_the_head_reads_whole_rings_and_one_token_of_a_lost_stream(opened):
    _, layout = opened
    shapes = layout.head_shapes(layout.ring_case(frozenset({"vision", "text"})))
    for m in layout.streams:
        steps = 1 if m == "audio" else layout.ring_rows(m)
        assert shapes[m] == (2, steps, layout.dim(m))
        assert shapes[f"{m}_mask"] == (2, steps)


def test_an_encoder_gives_as_many_rows_as_its_largest_call(opened):
    _, layout = opened
    assert layout.most_rows("vision") == layout.most["vision"]
    assert layout.most_rows("text") == layout.most["text"] * layout.lengths("text")[-1]


def with_head(layout: DeviceLayout, head: HeadSpec | None = None, **stream) -> DeviceLayout:
    """The same sizes for a model with another head, or with other limits of its first stream."""
    manifest = layout.manifest
    first = msgspec.structs.replace(manifest.streams["vision"], **stream)
    manifest = msgspec.structs.replace(
        manifest, head=head or manifest.head, streams={**manifest.streams, "vision": first}
    )
    return replace(layout, manifest=manifest)


def test_rings_are_read_only_by_heads_that_cannot_tell_the_difference(opened):
    _, layout = opened
    assert layout.reads_rings
    rows = layout.ring_rows("vision")
    assert with_head(layout, max_steps=rows).reads_rings
    assert not with_head(layout, max_steps=rows - 1).reads_rings
    assert not with_head(layout, min_steps=rows + 1).reads_rings
    assert not with_head(layout, HeadSpec(order_matters=True)).reads_rings


def test_a_window_in_order_is_as_long_as_the_head_wants_at_least(opened):
    _, layout = opened
    ordered = with_head(layout, HeadSpec(order_matters=True), min_steps=6)
    case = ordered.window_case(1, {"vision": 2, "audio": 3, "text": 4})
    assert (case.batch, case.steps, case.live) == (1, (6, 3, 4), frozenset(layout.streams))


def test_windows_share_a_call_under_masks_and_at_equal_lengths(opened):
    _, layout = opened
    works = [Work(0, {}, {"vision": Span(0, n)}) for n in (3, 4, 3)]
    assert layout.groups(works) == [works]
    assert layout.groups([]) == []
    bare = with_head(layout)
    object.__setattr__(bare, "manifest", SimpleNamespace(head=HeadSpec(masks=False), streams=layout.manifest.streams))
    assert bare.groups(works) == [[works[0], works[2]], [works[1]]]
