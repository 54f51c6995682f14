"""The sizes of what the executor keeps on the GPU."""

from __future__ import annotations

from taemi_edge.bundle.spec import MODALITIES


def test_the_rings_of_several_sources_lie_one_after_the_other(opened):
    _, layout = opened
    assert layout.row(0, "vision", 3) == 3
    assert layout.row(1, "vision", 3) == layout.ring_rows("vision") + 3


def test_the_head_reads_whole_rings_and_one_token_of_a_lost_stream(opened):
    _, layout = opened
    shapes = layout.fusion_shapes(frozenset({"vision", "text"}))
    for m in MODALITIES:
        steps = 1 if m == "audio" else layout.ring_rows(m)
        assert shapes[m] == (2, steps, layout.dim(m))
        assert shapes[f"{m}_mask"] == (2, steps)


def test_an_encoder_gives_as_many_rows_as_its_largest_call(opened):
    _, layout = opened
    assert layout.most_rows("vision") == layout.most["vision"]
    assert layout.most_rows("text") == layout.most["text"] * layout.most_tokens
