"""Target recipes: the TOML files in `engines/` that describe a device and how engines are built for it."""

from __future__ import annotations

from typing import Literal

import msgspec

from taemi_edge.bundle.limits import MOST_LENGTH, MOST_RUNS, MOST_SOURCES, MOST_WORKSPACE_MIB
from taemi_edge.bundle.precisions import PRECISIONS, Precision
from taemi_edge.bundle.values import Frozen
from taemi_edge.calibration.recipe import BudgetRecipe

#: The library that compiles and runs engines.
Backend = Literal["onnxruntime-cpu", "onnxruntime-cuda", "tensorrt", "tensorrt-rtx"]
#: The words for the forms that an engine for a processor can have (`taemi_edge.engines.variants`).
Form = Literal[
    "fused", "int8", "int8-u8", "int8-dynamic", "unsigned weights", "7-bit weights", "as written", "bf16 products"
]
#: An optimization profile: the (min, opt, max) length of each dynamic dimension by its name.
Spans = dict[str, tuple[int, int, int]]


class TargetRecipe(Frozen, frozen=True):
    """`engines/NAME.toml`: a device, and how engines are built for it.

    Attributes:
        backend: the library that compiles and runs the engines.
        architecture: of the processor, "" for any; an engine is built on the device that will run it.
        sm: the GPU's compute capability, "" for any.
        ahead_of_time: build without the GPU, for `sm`; such an engine cannot be verified where it is built.
        precisions: what `--precision auto` may choose from; unset for everything that the device has.
        workspace_mib: how much memory tactics may use during the build; 0 leaves it to TensorRT.
        tactic_sources: the libraries that tactics are taken from, by TensorRT's names; empty for its default.
        optimisation_level: 0 (fast builds) to 5; unset for TensorRT's default.
        timing_cache: keep the times of tactics between builds.
        tf32: let FP32 engines round to ten bits of mantissa.
        constrain_precision: for TensorRT 8.6 only: demand FP32 for LayerNorm and softmax layer by layer. On an H100
            this kept every part with a LayerNorm in FP32 as a whole (docs/evidence/engines.md), so it is off.
        sources: how many sources share the engines; a batch holds one hop of each.
        profiles: (min, opt, max) of dynamic dimensions by part, where they differ from what follows from the model
            (`taemi_edge.engines.profiles`).
        runs: how often a candidate is timed.
        gain: the share of time that a lower precision must save to be kept, 0 to 1. A smaller gain may be noise, and is
            not worth the loss of accuracy.
        budget: what a precision below FP16 may cost.
        forms: which forms engines for a processor may have, beside FP32 and FP16 as they are written; unset for all.
    """

    name: str
    backend: Backend
    architecture: Literal["", "x86_64", "aarch64"] = ""
    sm: str = ""
    ahead_of_time: bool = False
    precisions: tuple[Precision, ...] | msgspec.UnsetType = msgspec.UNSET
    workspace_mib: int = 0
    tactic_sources: tuple[str, ...] = ()
    optimisation_level: int | None = None
    timing_cache: bool = True
    tf32: bool = False
    constrain_precision: bool = False
    sources: int = 1
    profiles: dict[str, Spans] = msgspec.field(default_factory=dict)
    runs: int = 30
    gain: float = 0.05
    budget: BudgetRecipe = BudgetRecipe()
    forms: tuple[Form, ...] | msgspec.UnsetType = msgspec.UNSET

    def __post_init__(self) -> None:
        self._check_profiles()
        if self.ahead_of_time and not self.sm:
            raise ValueError("expected a compute capability in sm, since ahead_of_time builds without the GPU")
        if not 1 <= self.sources <= MOST_SOURCES:
            raise ValueError(f"expected 1 to {MOST_SOURCES} sources, got {self.sources}")
        if self.runs < 1 or not 0 <= self.gain < 1:
            raise ValueError(f"expected runs >= 1 and 0 <= gain < 1, got {self.runs} and {self.gain}")
        if self.runs > MOST_RUNS:
            raise ValueError(f"expected runs of up to {MOST_RUNS:,}, got {self.runs}")
        if not 0 <= self.workspace_mib <= MOST_WORKSPACE_MIB or self.optimisation_level not in (None, 0, 1, 2, 3, 4, 5):
            raise ValueError(
                f"expected workspace_mib >= 0 and an optimisation_level of 0 to 5, got {self.workspace_mib} and "
                f"{self.optimisation_level}"
            )
        if self.precisions == ():
            raise ValueError(f"expected at least one of {', '.join(PRECISIONS)} in precisions, got none")

    def _check_profiles(self) -> None:
        for part, spans in self.profiles.items():
            for dimension, (low, usual, high) in spans.items():
                if not 0 < low <= usual <= high <= MOST_LENGTH:
                    raise ValueError(
                        f"expected 0 < min <= opt <= max for {part}.{dimension}, got {low}, {usual}, {high} (lengths "
                        f"end at {MOST_LENGTH})"
                    )

    @property
    def offered(self) -> tuple[Precision, ...]:
        """What `--precision auto` may choose from."""
        return PRECISIONS if isinstance(self.precisions, msgspec.UnsetType) else self.precisions

    def allows(self, word: str) -> bool:
        """Whether an engine may have a form.

        >>> TargetRecipe(name="mine", backend="onnxruntime-cpu", forms=("fused",)).allows("int8-dynamic")
        False
        """
        return isinstance(self.forms, msgspec.UnsetType) or word in self.forms

    @property
    def is_tensorrt(self) -> bool:
        """Whether TensorRT or TensorRT-RTX builds the engines, and not ONNX Runtime."""
        return self.backend.startswith("tensorrt")
