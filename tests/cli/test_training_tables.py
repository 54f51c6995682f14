"""Lines about training and extraction."""

from __future__ import annotations

from types import SimpleNamespace

from taemi_edge.cli.training_tables import _some, print_epoch


def test_long_lists_of_clips_are_cut():
    assert _some(["1", "2"]) == "1, 2"
    assert _some([str(i) for i in range(8)]) == "0, 1, 2, 3, 4 and 3 more"


def test_an_epoch_is_a_line(capsys):
    print_epoch(SimpleNamespace(epoch=3, loss=0.25, valid_mean_pearson=None, seconds=1.5))
    print_epoch(SimpleNamespace(epoch=4, loss=0.125, valid_mean_pearson=0.5, seconds=1.5))
    assert capsys.readouterr().err.splitlines() == [
        "epoch 3: loss 0.2500, 1.5 s",
        "epoch 4: loss 0.1250, valid mean Pearson 0.500, 1.5 s",
    ]
