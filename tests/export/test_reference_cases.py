"""A module that does not do what its inputs and outputs declare is refused by what PyTorch gives."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="export starts from PyTorch")

from taemi_edge.bundle.values import TensorSpec
from taemi_edge.errors import ExportError
from taemi_edge.export.example_feeds import Examples
from taemi_edge.export.reference_cases import Declared, fitting_ids, reference_cases

X = TensorSpec(name="x", dtype="float32", shape=("batch", "steps", 4))
Y = TensorSpec(name="y", dtype="float32", shape=("batch", "steps", 4))
LENGTHS = {"batch": 2, "steps": 7}


class Widening(torch.nn.Module):
    """Its width is its length."""

    def forward(self, x):
        return x @ x.transpose(1, 2)


class Seven(torch.nn.Module):
    """It has a weight for each of seven steps."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(7, 1))

    def forward(self, x):
        return x * self.weight


class Patches(torch.nn.Module):
    """It takes multiples of seven."""

    def forward(self, x):
        return (x.unflatten(1, (-1, 7)) * 2).flatten(1, 2)


class Failing(torch.nn.Module):
    def forward(self, x):
        raise ValueError("no such thing\nin two lines")


@pytest.mark.parametrize(
    ("module", "y", "message"),
    [
        (
            Widening(),
            Y,
            r"y as float32 \(batch, steps, 4\), the module gives float32 \(2, 7, 7\) at the traced",
        ),
        (
            Widening(),
            TensorSpec(name="y", dtype="float32", shape=("batch", "steps", 7)),
            r"the module gives float32 \(2, 3, 3\) at steps = 3: declare what it gives",
        ),
        (
            Seven(),
            Y,
            r"any length of steps.* PyTorch runs at 7 and fails at 3 and 10 and 14 and 8 \(at 3: Runt",
        ),
        (torch.nn.Linear(5, 4), Y, r"expected a module that runs on x \(2, 7, 4\), got RuntimeError: mat1 and mat2"),
        (Failing(), Y, "got ValueError: no such thing$"),
        (
            torch.nn.Identity(),
            TensorSpec(name="y", dtype="float16", shape=("b", "s", 4)),
            "expected y as float16",
        ),
        (torch.nn.GRU(4, 4, batch_first=True), Y, "expected a module that returns y as tensors, got 2 outputs"),
    ],
)
def test_what_pytorch_does_not_do_is_said_in_one_sentence(module: torch.nn.Module, y: TensorSpec, message: str):
    with pytest.raises(ExportError, match=message) as refused:
        reference_cases(Declared(module, Examples((X,)), (y,)), LENGTHS)
    assert "\n" not in str(refused.value)


def test_a_module_that_takes_multiples_is_tried_at_a_multiple():
    cases = reference_cases(Declared(Patches(), Examples((X,)), (Y,)), LENGTHS)
    assert [case.label for case in cases if case.dimension == "steps"] == ["at steps = 14"]


def test_masks_are_ragged_then_full_then_hide_other_values():
    mask = TensorSpec(name="x_mask", dtype="int32", shape=("batch", "steps"))

    class Masked(torch.nn.Module):
        def forward(self, x, mask):
            return x * mask.unsqueeze(-1)

    cases = reference_cases(Declared(Masked(), Examples((X, mask)), (Y,)), LENGTHS)
    ragged, full, garbage = cases[:3]
    assert ragged.feeds["x_mask"].sum(1).tolist() == [7, 4]
    assert full.feeds["x_mask"].sum(1).tolist() == [7, 7]
    assert garbage.feeds["x"][1, 4:].unique().tolist() == [100]
    torch.testing.assert_close(garbage.want["y"], ragged.want["y"])


def test_ids_reach_as_far_as_the_largest_embedding_that_the_module_can_run_with():
    class Text(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.positions, self.words = torch.nn.Embedding(512, 4), torch.nn.Embedding(30, 4)

        def forward(self, ids):
            return self.words(ids) + self.positions.weight[: ids.shape[1]]

    ids = TensorSpec(name="ids", dtype="int32", shape=("batch", "tokens"))
    lengths = {"batch": 2, "tokens": 40}
    examples = fitting_ids(Text(), Examples((ids,)), lengths)
    assert examples.ids_below == 30
    assert len(examples.at(lengths)["ids"].unique()) == 29
