"""TAEMI in FP16, as someone runs it in PyTorch on a GPU."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from taemi_edge.taemi.network import TaemiModel


class _Cast(nn.Module):
    """Casts the output of a frontend that stays in FP32."""

    def forward(self, values: Tensor) -> Tensor:
        return values.half()


def in_half_precision(model: TaemiModel) -> TaemiModel:
    """Turn the weights of a model to FP16, but for the frontend of its sound; it is the same object.

    The frontend adds up squares of samples, which need the range of FP32.

    Example:
        >>> from taemi_edge.taemi.checkpoint import open_checkpoint
        >>> model = in_half_precision(open_checkpoint("taemi-tiny").model)
        >>> next(model.fusion.parameters()).dtype
        torch.float16
    """
    frontend = copy.deepcopy(model.audio.frontend)
    model.to(torch.float16)
    model.audio.add_module("frontend", nn.Sequential(frontend, _Cast()))
    return model
