"""Writing the graphs of a calibrated bundle: every part in FP32, FP16, INT8 (Q/DQ pairs) and INT8 with FP16.

The Q/DQ pairs are put in by this package, or by NVIDIA ModelOpt on the same clips and with the same exclusions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.values import FLAVOURS, Flavour, PartSpec
from taemi_edge.calibration.clip_spool import ClipSpool, part_feeds
from taemi_edge.calibration.graphs.fp16 import convert_to_fp16
from taemi_edge.calibration.graphs.graph import Graph
from taemi_edge.calibration.graphs.qdq import PartPlan, quantise
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
    bundle: Bundle, plans: Mapping[str, PartPlan], quantise_part: PartQuantiser, draft: Path
) -> WrittenGraphs:
    """Write every part in every flavour.

    Args:
        bundle: in FP32.
        plans: the plan of each part.
        quantise_part: puts in the Q/DQ pairs.
        draft: the folder of the bundle that is being made.
    """
    written = WrittenGraphs({}, {})
    for part in bundle.manifest.part_names:
        content = bundle.read_part(part)
        fp32 = Graph.of_bytes(content, str(bundle.part_file(part)))
        quantised = quantise_part(part, fp32, plans[part])
        files: dict[Flavour, str] = {flavour: f"{part}.{flavour}.onnx" for flavour in FLAVOURS}
        files["int8"] = f"{part}.onnx"
        (draft / files["fp32"]).write_bytes(content)
        convert_to_fp16(fp32, plans[part].islands).save(draft / files["fp16"])
        quantised.save(draft / files["int8"])
        convert_to_fp16(quantised, plans[part].islands).save(draft / files["int8-fp16"])
        spec = bundle.manifest.parts[part]
        written.files[part] = files
        written.specs[part] = msgspec.structs.replace(spec, file=files["int8"], precision="int8", opset=quantised.opset)
    return written
