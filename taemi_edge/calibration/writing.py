"""Writing the graphs of a calibrated bundle: every part in the flavours that its recipe asks for.

The Q/DQ pairs are put in by this package, or by NVIDIA ModelOpt on the same clips and with the same exclusions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import msgspec

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.precisions import HOST_FLAVOURS, Flavour, QuantisedPrecision
from taemi_edge.bundle.values import PartSpec
from taemi_edge.calibration.clip_spool import ClipSpool, part_feeds
from taemi_edge.calibration.graphs.bf16 import convert_to_bf16
from taemi_edge.calibration.graphs.fp16 import convert_to_fp16
from taemi_edge.calibration.graphs.graph import Graph
from taemi_edge.calibration.graphs.qdq import PartPlan, quantise
from taemi_edge.calibration.graphs.unsigned_qdq import quantise_for_hosts
from taemi_edge.calibration.recipe import CalibrationRecipe

#: Puts Q/DQ pairs into a part's FP32 graph by its plan; the first argument is the part.
PartQuantiser = Callable[[str, Graph, PartPlan], Graph]


@dataclass(frozen=True)
class WrittenGraphs:
    """What was written: the new spec of each part, and its files by flavour."""

    specs: dict[str, PartSpec]
    files: dict[str, dict[Flavour, str]]


def own_quantiser(part: str, graph: Graph, plan: PartPlan) -> Graph:
    """Put in Q/DQ pairs with this package's code.

    Raises:
        CalibrationError: the plan was made for other weights, or the graph is quantised already.
    """
    return quantise(graph, plan)


def modelopt_quantiser(bundle: Bundle, spool: ClipSpool, recipe: CalibrationRecipe, scratch: Path) -> PartQuantiser:
    """Give a quantiser that runs NVIDIA ModelOpt on clips.

    Args:
        bundle: in FP32.
        spool: the clips that ModelOpt finds its ranges on.
        recipe: says how many frames of a clip count.
        scratch: a folder for ModelOpt's files.
    """
    from taemi_edge.calibration.modelopt import quantise_with_modelopt

    def quantise_part(part: str, graph: Graph, plan: PartPlan) -> Graph:
        feeds = partial(part_feeds, spool, bundle, part, recipe.frames_per_clip, recipe.batch)
        return quantise_with_modelopt(part, graph, plan, feeds, scratch)

    return quantise_part


def write_graphs(
    bundle: Bundle,
    plans: Mapping[QuantisedPrecision, Mapping[str, PartPlan]],
    quantise_part: PartQuantiser,
    flavours: Sequence[Flavour],
    draft: Path,
) -> WrittenGraphs:
    """Write every part in several flavours. The bundle's own part is the INT8 graph in FP32.

    Args:
        bundle: in FP32.
        plans: the plan of each part, by the precisions that the flavours need.
        quantise_part: puts in the Q/DQ pairs.
        flavours: what is written of each part.
        draft: the folder of the bundle that is being made.

    Raises:
        CalibrationError: the plans were made for other weights, or onnx cannot write an operator in BF16 or FP8.
    """
    written = WrittenGraphs({}, {})
    for part in bundle.manifest.part_names:
        content = bundle.read_part(part)
        makers = _Makers(part, Graph.of_bytes(content, str(bundle.part_file(part))), plans, quantise_part)
        files: dict[Flavour, str] = {flavour: f"{part}.{flavour}.onnx" for flavour in flavours}
        files["int8"] = f"{part}.onnx"
        for flavour, file in files.items():
            if flavour == "fp32":
                (draft / file).write_bytes(content)
            else:
                makers.make(flavour).save(draft / file)
        spec, opset = bundle.manifest.parts[part], makers.quantised("int8").opset
        written.files[part] = files
        written.specs[part] = msgspec.structs.replace(spec, file=files["int8"], precision="int8", opset=opset)
    return written


@dataclass(frozen=True, eq=False)
class _Makers:
    """Makes the graphs of one part; what two flavours need is quantised once."""

    part: str
    fp32: Graph
    plans: Mapping[QuantisedPrecision, Mapping[str, PartPlan]]
    quantise_part: PartQuantiser
    kept: dict[QuantisedPrecision, Graph] = field(default_factory=dict)

    def make(self, flavour: Flavour) -> Graph:
        islands = self.plans["int8"][self.part].islands
        if flavour == "bf16":
            return convert_to_bf16(self.fp32, islands)
        if flavour == "int8":
            return self.quantised("int8")
        if flavour in HOST_FLAVOURS:
            return quantise_for_hosts(self.fp32, self.plans["int8"][self.part], flavour)
        graphs: dict[Flavour, Callable[[], Graph]] = {
            "fp16": lambda: self.fp32,
            "int8-fp16": lambda: self.quantised("int8"),
            "fp8-fp16": lambda: self.quantised("fp8"),
        }
        return convert_to_fp16(graphs[flavour](), islands)

    def quantised(self, precision: QuantisedPrecision) -> Graph:
        """The part with Q/DQ pairs among FP32."""
        if precision not in self.kept:
            self.kept[precision] = self.quantise_part(self.part, self.fp32, self.plans[precision][self.part])
        return self.kept[precision]
