"""What a part's plan says about the INT8 graphs for processors: the range of every tensor that is quantised there.

The integer kernels of processors take unsigned activations with a zero point, and convolutions give quantised outputs:
so there are more tensors with ranges than in the symmetric graphs, and each range has two ends.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from taemi_edge.bundle.precisions import Flavour
from taemi_edge.bundle.values import Frozen


class UnsignedTensor(Frozen, frozen=True, omit_defaults=True):
    """The range of one activation.

    Attributes:
        tensor: its name.
        low, high: the ends of the range; zero lies between them.
        method: the method that found it.
        equaliser: what each channel may be divided by before it is quantised, (C,); the convolution that makes the
            tensor and those that read it take it into their weights. Empty where the channels stay as they are.
        equal_low, equal_high: the ends of the range of the divided channels.
        mean: of each channel, (C,), where convolutions read it: rounding their weights must not shift what they make.
    """

    tensor: str
    low: float
    high: float
    method: str
    equaliser: tuple[float, ...] = ()
    equal_low: float = 0.0
    equal_high: float = 0.0
    mean: tuple[float, ...] = ()


class UnsignedPlan(Frozen, frozen=True, omit_defaults=True):
    """The ranges of one part for processors, and the blocks that stay in FP32 there.

    Attributes:
        tensors: the activations that may be quantised.
        excluded: by flavour the blocks that stay in FP32, each with the reason.
    """

    tensors: tuple[UnsignedTensor, ...]
    excluded: dict[Flavour, dict[str, str]] = msgspec.field(default_factory=dict)

    def ranges(self) -> Mapping[str, UnsignedTensor]:
        """Give the ranges by tensor."""
        return {tensor.tensor: tensor for tensor in self.tensors}
