"""NVIDIA ModelOpt in place of our own quantiser (extra `modelopt`): the same clips and blocks, its ranges."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from taemi_edge.bundle.spec import Array
from taemi_edge.calibration.graphs.graph import Graph
from taemi_edge.calibration.graphs.qdq import PartPlan, is_excluded
from taemi_edge.errors import CalibrationError, MissingExtraError


def require_modelopt() -> str:
    """Its name and version, for the record.

    Raises:
        MissingExtraError: it is not installed.
    """
    if find_spec("modelopt") is None:
        raise MissingExtraError("nvidia-modelopt", "modelopt", "--quantiser modelopt")
    return f"nvidia-modelopt {version('nvidia-modelopt')}"


def quantise_with_modelopt(
    file: Path, graph: Graph, plan: PartPlan, feeds: Callable[[], Iterator[Mapping[str, Array]]], scratch: Path
) -> Graph:
    """The part with Q/DQ pairs by ModelOpt's max calibration, which takes inputs of any length.

    Args:
        file, graph: the part in FP32, on disk and in memory.
        feeds: begins anew whenever it is called, so that they need not be kept.
        plan: whose excluded blocks stay out of INT8.

    Raises:
        CalibrationError: ModelOpt gave no graph with Q/DQ pairs, though some were to be made.
    """
    from modelopt.onnx.quantization import quantize

    layers = graph.layers()
    wanted = [layer.node for layer in layers if not is_excluded(layer.block, plan.excluded)]
    if not wanted:
        return graph.copy()
    others = [n.name for n in graph.nodes if n.op_type in ("MatMul", "Gemm", "Conv") and n.name not in wanted]
    copied = Path(shutil.copy(file, scratch))  # ModelOpt 0.47 writes into the file that it is given
    output = scratch / f"{file.stem}.modelopt.onnx"
    logging.getLogger("modelopt").setLevel(logging.ERROR)
    quantize(
        str(copied),
        quantize_mode="int8",
        calibration_data_reader=_Reader(feeds),
        calibration_method="max",
        calibration_eps=["cpu"],
        op_types_to_quantize=["MatMul", "Gemm", "Conv"],
        nodes_to_quantize=wanted,
        nodes_to_exclude=others,
        high_precision_dtype="fp32",
        disable_mha_qdq=True,
        output_path=str(output),
        log_level="ERROR",
    )
    made = Graph.load(output) if output.is_file() else graph
    if not made.is_quantised:
        raise CalibrationError(f"{file.stem}: expected Q/DQ pairs from ModelOpt, it made none: use the own quantiser")
    return made


class _Reader:
    """ONNX Runtime's CalibrationDataReader."""

    def __init__(self, feeds: Callable[[], Iterator[Mapping[str, Array]]]) -> None:
        self._feeds = feeds
        self.rewind()

    def get_next(self) -> dict[str, Array] | None:
        found = next(self._waiting, None)
        return None if found is None else dict(found)

    def get_first(self) -> dict[str, Array] | None:
        """What ModelOpt looks at to learn shapes."""
        self.rewind()
        found = self.get_next()
        self.rewind()
        return found

    def rewind(self) -> None:
        self._waiting = self._feeds()
