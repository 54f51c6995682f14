"""Quantising with NVIDIA ModelOpt (extra `modelopt`) in place of this package's own code.

ModelOpt gets the same clips and leaves the same blocks out, but finds its own ranges.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from taemi_edge.bundle.values import Array
from taemi_edge.calibration.graphs.graph import Graph
from taemi_edge.calibration.graphs.qdq import PartPlan, is_excluded
from taemi_edge.errors import CalibrationError, MissingExtraError


def require_modelopt() -> str:
    """Give ModelOpt's name and version, for the record.

    Raises:
        MissingExtraError: ModelOpt is not installed.
    """
    if find_spec("modelopt") is None:
        raise MissingExtraError("nvidia-modelopt", "modelopt", "--quantiser modelopt")
    return f"nvidia-modelopt {version('nvidia-modelopt')}"


def quantise_with_modelopt(
    part: str, graph: Graph, plan: PartPlan, feeds: Callable[[], Iterator[Mapping[str, Array]]], scratch: Path
) -> Graph:
    """Put Q/DQ pairs into a part by ModelOpt's max calibration, which takes inputs of any length.

    Args:
        part, graph: the part in FP32.
        plan: its excluded blocks stay out of INT8.
        feeds: gives the part's feeds from the first one whenever it is called, so that they need not be kept.
        scratch: a folder for ModelOpt's files.

    Raises:
        CalibrationError: ModelOpt made a graph without any Q/DQ pair.
    """
    layers = graph.layers()
    wanted = [layer.node for layer in layers if not is_excluded(layer.block, plan.excluded)]
    if not wanted:
        return graph.copy()
    output = scratch / f"{part}.modelopt.onnx"
    copied = scratch / f"{part}.onnx"  # ModelOpt 0.47 writes into the file that it is given
    copied.write_bytes(graph.bytes())
    _run_modelopt(copied, graph, wanted, feeds, output)
    quantised = Graph.load(output) if output.is_file() else graph
    if not quantised.is_quantised:
        raise CalibrationError(f"{part}: expected Q/DQ pairs from ModelOpt, it made none: use the own quantiser")
    return quantised


def _run_modelopt(
    file: Path, graph: Graph, wanted: list[str], feeds: Callable[[], Iterator[Mapping[str, Array]]], output: Path
) -> None:
    from modelopt.onnx.quantization import quantize

    kinds = ["MatMul", "Gemm", "Conv"]
    logging.getLogger("modelopt").setLevel(logging.ERROR)
    quantize(
        str(file),
        quantize_mode="int8",
        calibration_data_reader=_FeedReader(feeds),
        calibration_method="max",
        calibration_eps=["cpu"],
        op_types_to_quantize=kinds,
        nodes_to_quantize=wanted,
        nodes_to_exclude=[n.name for n in graph.nodes if n.op_type in kinds and n.name not in wanted],
        high_precision_dtype="fp32",
        disable_mha_qdq=True,
        # It leaves out every layer whose first feed is one row, which is all of an encoder of single rows.
        enable_gemv_detection_for_trt=False,
        output_path=str(output),
        log_level="ERROR",
    )


class _FeedReader:
    """Feeds as ModelOpt reads them: the methods are those of ONNX Runtime's CalibrationDataReader."""

    def __init__(self, feeds: Callable[[], Iterator[Mapping[str, Array]]]) -> None:
        self._feeds = feeds
        self.rewind()

    def get_next(self) -> dict[str, Array] | None:
        """Give the next feed; None after the last one."""
        found = next(self._waiting, None)
        return None if found is None else dict(found)

    def get_first(self) -> dict[str, Array] | None:
        """ModelOpt learns the shapes of inputs from the first feed."""
        self.rewind()
        found = self.get_next()
        self.rewind()
        return found

    def rewind(self) -> None:
        """Begin with the first feed again."""
        self._waiting = self._feeds()
