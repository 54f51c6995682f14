"""The contender OpenVINO: the graphs of a bundle in FP32, as OpenVINO computes them by itself, or in its own INT8.

OpenVINO compiles each part for the shapes of its feeds, which makes it faster than shapes that are left open.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, TypeAlias

from taemi_edge.bench.calibration_feeds import CalibrationFeeds
from taemi_edge.bench.script import ScriptModel
from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.values import Array
from taemi_edge.errors import MissingExtraError, UsageError

#: "fp32": FP32 on every processor. "default": what OpenVINO takes by itself, which is BF16 on processors that have it.
#: "int8": the bundle's own graphs with Q/DQ pairs. "nncf": INT8 that NNCF makes of the FP32 graphs.
OpenVinoPrecision: TypeAlias = Literal["fp32", "default", "int8", "nncf"]

#: How lines of OpenVINO's messages begin that say nothing of the graph.
_SAYS_NOTHING = ("Exception from", "Check '", "FrontEnd API failed", "Summary:", "To facilitate")


class OpenVinoModel(ScriptModel):
    """A `taemi_edge.bench.timed_model.TimedModel` of the graphs of a bundle.

    A part that OpenVINO cannot read fails where it is run; the others can be timed.

    Args:
        bundle: of ONNX graphs.
        precision: see `OpenVinoPrecision`.
        threads: threads for each part; 0 takes all cores.
        calibration: the folder of the inputs that "nncf" finds its ranges on.

    Raises:
        MissingExtraError: OpenVINO, or NNCF where it is needed, is not installed.
        UsageError: the bundle lacks the graphs, or OpenVINO computes in FP32 by itself and that is timed already.
    """

    def __init__(self, bundle: Bundle, precision: OpenVinoPrecision, threads: int, calibration: Path | None) -> None:
        super().__init__(bundle)
        _require("openvino")
        if precision == "nncf":
            _require("nncf")
        import openvino

        self._precision, self._core = precision, openvino.Core()
        self._settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
        if threads:
            self._settings["INFERENCE_NUM_THREADS"] = threads
        self._kind = str(self._core.get_property("CPU", "INFERENCE_PRECISION_HINT").get_type_name())
        if precision != "default":
            self._settings["INFERENCE_PRECISION_HINT"] = self._kind = "f32"
        elif self._kind == "f32":
            raise UsageError("OpenVINO computes in FP32 here by itself, which is timed as `openvino fp32`")
        self._flavour: Literal["fp32", "int8"] = "int8" if precision == "int8" else "fp32"
        if lacking := [p for p in bundle.manifest.part_names if bundle.manifest.graph_file(p, self._flavour) is None]:
            raise UsageError(f"{bundle.folder} has no {self._flavour} graph of {lacking[0]}")
        self._calibration = None if calibration is None else CalibrationFeeds(calibration)
        self._models: dict[str, Any] = {}
        self._requests: dict[tuple[str, tuple[tuple[int, ...], ...]], Any] = {}

    def describe(self) -> dict[str, str]:
        described = {
            "library": f"openvino {version('openvino')}",
            "precision": {"fp32": "fp32", "default": self._kind}.get(self._precision, "int8, the rest fp32"),
            "threads": str(self._settings.get("INFERENCE_NUM_THREADS", "all cores")),
            "shapes": "those of the feeds",
        }
        if self._precision == "nncf" and self._calibration is not None:
            described["quantised by"] = f"nncf {version('nncf')}, {self._calibration.described}"
        elif self._precision == "int8":
            described["quantised by"] = "taemi-edge calibrate: the bundle's graphs with Q/DQ pairs"
        return described

    def run_part(self, part: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        key = (part, tuple(value.shape for value in feeds.values()))
        request = self._requests.get(key)
        if request is None:
            request = self._requests[key] = self._compiled(part, feeds)
        try:
            given = request.infer(dict(feeds), share_inputs=True)
        except RuntimeError as error:
            raise UsageError(f"OpenVINO cannot run {part}: {_reason(error)}") from error
        return {spec.name: given[spec.name] for spec in self._bundle.manifest.parts[part].outputs}

    def close(self) -> None:
        self._requests.clear()
        self._models.clear()

    def _compiled(self, part: str, feeds: Mapping[str, Array]) -> Any:
        """A request for a part and the shapes of some feeds."""
        model = self._models.get(part)
        try:
            if model is None:
                model = self._models[part] = self._read(part)
            fixed = model.clone()
            try:
                fixed.reshape({name: list(value.shape) for name, value in feeds.items()})
            except RuntimeError:
                fixed = model  # a graph whose shapes cannot be fixed may run with open ones
            return self._core.compile_model(fixed, "CPU", self._settings).create_infer_request()
        except RuntimeError as error:
            raise UsageError(f"OpenVINO cannot compile {part}: {_reason(error)}") from error

    def _read(self, part: str) -> Any:
        name = self._bundle.manifest.graph_file(part, self._flavour)
        model = self._core.read_model(self._bundle.read_graph(str(name)))
        return self._quantised(part, model) if self._precision == "nncf" else model

    def _quantised(self, part: str, model: Any) -> Any:
        """A model in INT8 by NNCF's post-training quantisation, with NNCF's own settings for what it is."""
        if self._calibration is None:
            raise UsageError("NNCF finds ranges on real inputs: pass --data CORPUS")
        # NNCF sends what it does to its maker unless this is set. Set it to an empty word to allow that.
        os.environ.setdefault("NNCF_CI", "1")
        import nncf

        feeds, left_out = self._calibration.of(part)
        attends = any(op.get_type_name() in ("Softmax", "ScaledDotProductAttention") for op in model.get_ops())
        return nncf.quantize(
            model,
            nncf.Dataset(feeds),
            subset_size=len(feeds),
            model_type=nncf.ModelType.TRANSFORMER if attends else None,
            ignored_scope=nncf.IgnoredScope(names=left_out, validate=False) if left_out else None,
        )


def _require(package: str) -> None:
    if find_spec(package) is None:
        raise MissingExtraError(package, package, "--against openvino" + ("-int8" if package == "nncf" else ""))


def _reason(error: RuntimeError) -> str:
    """What an exception of OpenVINO says in one line, without places in its code and advice to its developers.

    >>> _reason(RuntimeError("Exception from core.cpp:85:\\nSummary:\\n-- No conversion rule found for FooBar\\n\\n"))
    'No conversion rule found for FooBar'
    """
    lines = [line.strip().removeprefix("-- ") for line in str(error).splitlines()]
    said = [line for line in lines if line and not line.startswith(_SAYS_NOTHING)]
    return " ".join(said)[:300] or type(error).__name__
