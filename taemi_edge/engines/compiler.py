"""Compiling an ONNX graph to a TensorRT engine: one way for TensorRT 8.6, 10.x, 11.x and TensorRT-RTX.

The graph decides the precision. With strong typing TensorRT computes as the graph is written. TensorRT 8.6 has no
strong typing: a flag allows it the precision, and the casts around FP32 islands tell it to keep them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from taemi_edge.bundle.precisions import FLAVOURS_OF, Flavour, Precision
from taemi_edge.bundle.signals import StoppedError, request_on_signals
from taemi_edge.engines.known_versions import MYELIN_FLAGS
from taemi_edge.engines.timing_cache import TimingFile, keep_times, open_times
from taemi_edge.errors import EngineError, UsageError
from taemi_edge.progress import SILENT, Progress
from taemi_edge.runtime.tensorrt.library import is_strongly_typed, load_library, network_flags, quiet_logger

if TYPE_CHECKING:
    import tensorrt as trt

#: The lowest, the usual and the highest length of a dynamic dimension.
Span = tuple[int, int, int]


@dataclass(frozen=True)
class BuildOptions:
    """How a target wants its engines to be built.

    Attributes:
        spans: the optimization profile: (min, opt, max) of each dynamic dimension by its name.
        further: more such profiles, for other usual lengths; a context uses the one that suits it.
        workspace_mib: how much memory tactics may use; 0 leaves it to TensorRT.
        tactic_sources: the libraries to take tactics from, by TensorRT's names; empty for its default.
        optimisation_level: 0 (fast builds) to 5; None for TensorRT's default.
        sm: the compute capability to build for ahead of time, without a GPU (TensorRT-RTX); "" for the GPU of this
            machine.
        tf32: let FP32 engines round to ten bits of mantissa.
        constrain_precision: without strong typing, also demand FP32 for LayerNorm and softmax layer by layer.
        myelin: flags for the compiler inside TensorRT, around an error of one version (`known_versions.py`).
        timing_cache: the times that are read and written where TensorRT has such a cache.
    """

    spans: Mapping[str, Span] = field(default_factory=dict)
    further: tuple[Mapping[str, Span], ...] = ()
    workspace_mib: int = 0
    tactic_sources: tuple[str, ...] = ()
    optimisation_level: int | None = None
    sm: str = ""
    tf32: bool = False
    constrain_precision: bool = False
    timing_cache: TimingFile | None = None
    myelin: str = ""


class Compiler:
    """Builds engines with one of the TensorRT libraries.

    Args:
        kind: "tensorrt" or "tensorrt-rtx".

    Raises:
        UsageError: the library is not installed.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        _use(kind)
        self._logger, self._complaints = quiet_logger(trt)

    @property
    def version(self) -> str:
        """The version as the library gives it, such as "8.6.0" or "1.7.1.116"."""
        return str(trt.__version__)

    @property
    def strongly_typed(self) -> bool:
        """Whether the graph's own types decide; TensorRT 8.6 wants flags instead."""
        return is_strongly_typed(trt)

    def flavour_of(self, precision: Precision) -> Flavour:
        """Give the flavour of a graph that this library builds a precision from."""
        return FLAVOURS_OF[precision][-1 if self.strongly_typed else 0]

    def has_type(self, precision: Precision) -> bool:
        """Whether the library computes in a precision: FP8 and BF16 need strong typing, and a type of that name.

        TensorRT 8.6 has a name for FP8 already and cannot build it.
        """
        if precision not in ("fp8", "bf16"):
            return True
        return self.strongly_typed and hasattr(trt.DataType, precision.upper())

    def compile(
        self,
        graph: bytes,
        precision: Precision,
        options: BuildOptions,
        progress: Progress = SILENT,
        part: str = "graph",
    ) -> bytes:
        """Build the engine of one part.

        Args:
            graph: the content of the ONNX file, in the flavour of the precision.
            precision: what the engine computes in.
            options: how it is built.
            progress: receives TensorRT's phases and their steps.
            part: what error messages call the graph.

        Returns:
            The content of the engine file.

        Raises:
            EngineError: the parser or the builder refused the graph; the message has TensorRT's own words.
            UsageError: the library does not know one of the options.
        """
        builder = trt.Builder(self._logger)
        network = builder.create_network(network_flags(trt))
        parser = trt.OnnxParser(network, self._logger)  # must live as long as the network that it filled
        self._parse(parser, graph, part)
        config = builder.create_builder_config()
        for spans in (options.spans, *options.further):
            config.add_optimization_profile(_profile(builder, network, spans))
        _share_profiles(config)
        self._set_precision(config, network, precision, options)
        _set_limits(config, options)
        times = open_times(config, options.timing_cache)
        with request_on_signals() as stop, _myelin_flags(options.myelin):  # an exception cannot leave native code
            _watch(config, progress, stop)
            serialised = builder.build_serialized_network(network, config)
            if stop.is_set():
                raise StoppedError(stop.number)
        if serialised is None:
            raise EngineError(f"{part}: {self.kind} {self.version} cannot build it: {self._last_complaint()}")
        keep_times(times, options.timing_cache)
        return bytes(serialised)

    def _parse(self, parser: trt.OnnxParser, graph: bytes, part: str) -> None:
        parsed: object = parser.parse(graph)  # the stubs call bool what is a DataType there
        if not parsed:
            problems = "; ".join(str(parser.get_error(i).desc()) for i in range(parser.num_errors))
            raise EngineError(f"{part}: {self.kind} {self.version} cannot read it: {problems}")

    def _last_complaint(self) -> str:
        return self._complaints[-1] if self._complaints else "it gave no reason"

    def _set_precision(
        self, config: trt.IBuilderConfig, network: trt.INetworkDefinition, precision: Precision, options: BuildOptions
    ) -> None:
        if hasattr(trt.BuilderFlag, "TF32") and not options.tf32:
            config.clear_flag(trt.BuilderFlag.TF32)  # ten bits of mantissa are not FP32
        if self.strongly_typed or precision == "fp32":
            return
        config.set_flag(trt.BuilderFlag.FP16)
        layers = [network.get_layer(index) for index in range(network.num_layers)]
        if any(layer.type == trt.LayerType.QUANTIZE for layer in layers):
            config.set_flag(trt.BuilderFlag.INT8)  # without a Q/DQ pair it would look for a calibrator
        if options.constrain_precision:
            config.set_flag(trt.BuilderFlag.PREFER_PRECISION_CONSTRAINTS)
            for layer in layers:
                if layer.type in (trt.LayerType.SOFTMAX, trt.LayerType.NORMALIZATION):
                    layer.precision = trt.DataType.FLOAT


def _use(kind: str) -> None:
    """Bind the library to this module's `trt`; one process uses one library only."""
    globals()["trt"] = load_library(kind)


def _profile(
    builder: trt.Builder, network: trt.INetworkDefinition, spans: Mapping[str, Span]
) -> trt.IOptimizationProfile:
    profile = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        names = [tensor.get_dimension_name(axis) for axis in range(len(tensor.shape))]
        shapes: list[list[int]] = [[], [], []]
        sizes: Any = tensor.shape
        for axis, size in enumerate(sizes):
            if size < 0 and names[axis] not in spans:
                raise UsageError(
                    f"{tensor.name}: expected a span (min, opt, max) for the dimension {names[axis]!r} in the target's "
                    f"profiles, got {', '.join(spans) or 'none'}"
                )
            for shape, length in zip(shapes, spans[names[axis]] if size < 0 else (size,) * 3, strict=True):
                shape.append(length)
        profile.set_shape(tensor.name, *map(trt.Dims, shapes))
    return profile


def _share_profiles(config: Any) -> None:
    """Let several contexts share one profile, each with its own shapes; since TensorRT 10 they always may."""
    library: Any = trt
    feature = getattr(getattr(library, "PreviewFeature", None), "PROFILE_SHARING_0806", None)
    if feature is not None and hasattr(config, "set_preview_feature"):
        config.set_preview_feature(feature, True)


def _set_limits(config: trt.IBuilderConfig, options: BuildOptions) -> None:
    if options.workspace_mib:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib << 20)
    if options.optimisation_level is not None and hasattr(config, "builder_optimization_level"):
        config.builder_optimization_level = options.optimisation_level
    if options.tactic_sources:
        sources = 0
        for name in options.tactic_sources:
            if not hasattr(trt.TacticSource, name):
                raise UsageError(f"expected tactic sources that TensorRT {trt.__version__} has, got {name!r}")
            sources |= 1 << int(getattr(trt.TacticSource, name))
        config.set_tactic_sources(sources)
    if options.sm:
        _set_capability(config, options.sm)


def _set_capability(config: Any, sm: str) -> None:
    """Build ahead of time for a GPU that is not in this machine; only TensorRT-RTX can."""
    if not hasattr(config, "set_compute_capability"):
        raise UsageError(f"expected TensorRT-RTX to build ahead of time for SM {sm}, got TensorRT {trt.__version__}")
    name = f"SM{sm.replace('.', '')}"
    library: Any = trt  # what follows is TensorRT-RTX's own, which the stubs lack
    known = library.ComputeCapability
    if not hasattr(known, name):
        raise UsageError(f"expected a compute capability that TensorRT-RTX {trt.__version__} builds for, got SM {sm}")
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(known, name), 0)


@contextmanager
def _myelin_flags(flags: str) -> Iterator[None]:
    """Give flags to TensorRT's compiler, behind those that the user has set: it reads them while it builds."""
    before = os.environ.get(MYELIN_FLAGS)
    if flags:
        os.environ[MYELIN_FLAGS] = f"{before} {flags}" if before else flags
    try:
        yield
    finally:
        if flags and before is None:
            del os.environ[MYELIN_FLAGS]
        elif before is not None:
            os.environ[MYELIN_FLAGS] = before


def _watch(config: trt.IBuilderConfig, progress: Progress, stop: threading.Event) -> None:
    """Report the builder's phases and stop it on the event, where it has a progress monitor (TensorRT 9 and later)."""
    if not hasattr(trt, "IProgressMonitor") or not hasattr(config, "progress_monitor"):
        return

    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self.steps[phase_name] = num_steps
            progress.count(0, num_steps, phase_name)

        def step_complete(self, phase_name: str, step: int) -> bool:
            progress.count(step, self.steps[phase_name], phase_name)
            return not stop.is_set()

        def phase_finish(self, phase_name: str) -> None:
            progress.count(self.steps[phase_name], self.steps[phase_name], phase_name)

    config.progress_monitor = Monitor()
