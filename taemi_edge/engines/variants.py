"""The variants of a part that a target is offered: its precisions, and on a processor several forms of each.

A *form* is one of several graphs of the same precision. ONNX Runtime on a processor runs the graph as it is written or
*fused* (rewritten with operators of its own), and INT8 in the form that TensorRT wants or in those that the integer
kernels of processors want. On x86 without VNNI these kernels would saturate, so there every INT8 variant is one whose
sums are right all the same: with unsigned weights, with weights of seven bits, or computed in FP32 as it is written.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.precisions import FLAVOURS_OF, HOST_FLAVOURS, PRECISIONS, Flavour, Precision
from taemi_edge.bundle.records import SessionPlan, form_in_words
from taemi_edge.engines.recipe import Form, TargetRecipe
from taemi_edge.runtime import processor

#: The flavours that only processors take, with the words for the forms that they are.
_HOST_FORMS: dict[Flavour, Form] = {"int8-u8": "int8-u8", "int8-dynamic": "int8-dynamic"}
#: How the engines of INT8 are opened whose sums are right on processors that saturate, by the word for their form.
_NEVER_SATURATING: dict[Form, SessionPlan] = {
    "unsigned weights": SessionPlan(unsigned_weights=True),
    "7-bit weights": SessionPlan(),
    "as written": SessionPlan(as_written=True),
}


@dataclass(frozen=True)
class Variant:
    """What one engine of a part is built from, and how it is opened.

    Attributes:
        precision: that it computes in, and by whose tolerance it is judged.
        flavour: of the bundle's graph.
        ways: the words for its form, such as ("int8-dynamic", "fused"); none for the first form of a precision.
        session: how ONNX Runtime opens it, where it opens it in a way of its own.
    """

    precision: Precision
    flavour: Flavour
    ways: tuple[Form, ...] = ()
    session: SessionPlan | None = None

    @property
    def form(self) -> str:
        """Its form in words; "" for the first one of the precision.

        >>> Variant("int8", "int8-dynamic", ("int8-dynamic", "fused")).form
        'int8-dynamic, fused'
        """
        return ", ".join(self.ways)

    @property
    def name(self) -> str:
        """Its precision and form, by which the variants of a part are told apart.

        >>> Variant("int8", "int8-u8", ("int8-u8",)).name, Variant("fp32", "fp32", ("fused",)).name
        ('int8-u8', 'fp32 fused')
        """
        return form_in_words(self.precision, self.form)

    @property
    def is_fused(self) -> bool:
        """Whether the graph is rewritten with ONNX Runtime's own operators."""
        return "fused" in self.ways

    @property
    def session_is_as_written(self) -> bool:
        """Whether Q/DQ pairs are computed as they are written, so that nothing can be fused."""
        return self.session is not None and self.session.as_written

    @property
    def has_seven_bits(self) -> bool:
        """Whether its weights are rounded to seven bits, which calibration did not judge."""
        return "7-bit weights" in self.ways

    @property
    def level(self) -> float:
        """Its place in the order of precisions. Weights of seven bits are a lower precision than INT8 itself."""
        return PRECISIONS.index(self.precision) + (0.5 if self.has_seven_bits else 0.0)

    def fused(self) -> Variant:
        """The same, rewritten."""
        return replace(self, ways=(*self.ways, "fused"))


def variants_of(target: TargetRecipe, bundle: Bundle, part: str, precision: Precision) -> list[Variant]:
    """Give the forms of one precision that a target can be offered, none of them rewritten yet.

    Args:
        target: the device.
        bundle: the graphs.
        part: a name of a part.
        precision: one of them.

    Returns:
        At least one variant; its graph may be missing, where the bundle has no graph of the precision at all.
    """
    first = Variant(precision, FLAVOURS_OF[precision][0])
    if target.backend != "onnxruntime-cpu":
        return [first]
    if precision == "bf16" and multiplies_in_bf16() and target.allows("bf16 products"):
        return [Variant("bf16", "fp32", ("bf16 products",), SessionPlan(bf16_products=True))]
    if precision != "int8":
        return [first]
    flavours = [f for f in ("int8", *HOST_FLAVOURS) if bundle.manifest.graph_file(part, f)]
    found = [variant for flavour in flavours for variant in _integer_variants(flavour)]
    allowed = [v for v in found if target.allows(v.flavour) and all(target.allows(way) for way in v.ways)]
    return allowed or [_integer_variants("int8")[0]]


def missing_flavours(target: TargetRecipe, bundle: Bundle, part: str) -> list[Variant]:
    """Give the forms of INT8 for processors that a calibrated bundle has no graph of, as older calibrations made."""
    manifest = bundle.manifest
    if target.backend != "onnxruntime-cpu" or not manifest.graph_file(part, "int8"):
        return []
    found = [f for f in HOST_FLAVOURS if not manifest.graph_file(part, f) and target.allows(f)]
    return [Variant("int8", flavour, (_HOST_FORMS[flavour],)) for flavour in found]


def why_it_is_not_as_judged(variant: Variant) -> str:
    """Say why this processor computes a variant otherwise than calibration judged it; empty where it does not."""
    if variant.flavour == "int8-dynamic" and "sme" in processor.features().features:
        return "with SME, ONNX Runtime quantises what Linears read otherwise than calibration judged it"
    return ""


def multiplies_in_bf16() -> bool:
    """Whether ONNX Runtime can compute matrix products of FP32 in BF16 here: on ARM with instructions for it."""
    here = processor.features()
    return here.architecture in ("aarch64", "arm64") and "bf16" in here.features


def _integer_variants(flavour: Flavour) -> list[Variant]:
    """The forms of one flavour of INT8 whose sums are right on this processor."""
    ways: tuple[Form, ...] = (_HOST_FORMS[flavour],) if flavour in _HOST_FORMS else ()
    if processor.kernels_are_exact():
        return [Variant("int8", flavour, ways, SessionPlan(exact_kernels=True))]
    safe = {way: plan for way, plan in _NEVER_SATURATING.items() if way != "as written" or flavour == "int8"}
    return [Variant("int8", flavour, (*ways, way), plan) for way, plan in safe.items()]
