"""Runs a part of an ONNX bundle with ONNX Runtime, on the CPU or through CUDA."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.records import SessionPlan
from taemi_edge.bundle.values import Array, PartSpec
from taemi_edge.errors import BackendError, EngineError, UsageError, first_line
from taemi_edge.runtime import processor

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
#: TF32 has ten bits of mantissa: it is not the FP32 that parity was checked in.
_PROVIDER_OPTIONS = {
    "cpu": ("CPUExecutionProvider", {}),
    "cuda": ("CUDAExecutionProvider", {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}),
}
#: Optimisers that may not run. ONNX Runtime 1.32 dies (SIGSEGV) in this one where it opens some graphs in FP16 on a
#: CPU, such as a transpose before a Linear; graphs without FP16 have nothing for it to do.
FATAL_OPTIMISERS = ("FuseFp16InitializerToFp32NodeTransformer",)
#: Optimisers that may not run where a graph casts to FP16 or BF16. ONNX Runtime 1.32 takes a cast between a transpose
#: and a MatMul apart, such as behind a recurrence, and dies (SIGSEGV) in the optimiser that comes next.
FATAL_AFTER_CASTS = ("MatmulTransposeFusion",)
#: Optimisers that may not run where a graph holds casts to 16 bits. ONNX Runtime 1.32 moves a Transpose over the Cast
#: in front of a MatMul, such as behind a recurrence, and leaves a graph in which its next optimiser dies (SIGSEGV).
FATAL_AFTER_CASTS = ("MatmulTransposeFusion",)
#: Optimisers that make a graph slower on a CPU. ONNX Runtime 1.32 takes four times as long for its one operator for a
#: residual and the normalisation behind it as for the two (248 rows of 384: .48 and .12 ms); in 1.23 both take as long.
SLOW_OPTIMISERS = ("SkipLayerNormFusion",)
#: Optimisers that compute something else of FP8. ONNX Runtime 1.32 takes out a ReLU in front of FP8's QuantizeLinear,
#: as if the pair gave no negative numbers.
FP8_OPTIMISERS = ("ReluQuantRewrite", "ClipQuantRewrite")


#: What the names of operators begin with that take their range from all rows of a batch together.
_DYNAMIC = b"DynamicQuantize"
#: What a Cast to FP16 or to BF16 has in an ONNX file: its attribute `to`, 10 or 16.
_CASTS = (b"\x0a\x02to\x18\x0a", b"\x0a\x02to\x18\x10")


class OrtSession:
    """Implements `taemi_edge.runtime.sessions.Session` for one ONNX graph.

    Args:
        bundle: that the part belongs to.
        part: its name.
        device: "cpu" or "cuda".
        threads: 0 for as many as there are cores.

    Attributes:
        mixes_rows: whether the rows of a batch change each other's results, as where the graph quantises with the range
            that all of them have together: a NaN in one spoils all.

    Raises:
        UsageError: ONNX Runtime was not built for the device.
        BackendError: the graph cannot be loaded, or its seams are not the manifest's.
    """

    def __init__(self, bundle: Bundle, part: str, device: str = "cpu", threads: int = 0) -> None:
        spec, engine = bundle.manifest.parts[part], bundle.manifest.engine
        self._plan = None if engine is None else engine.session_plan(part)
        self._open(bundle.read_graph(spec.file), str(bundle.part_file(part)), part, spec, device, threads)

    @classmethod
    def from_file(
        cls,
        file: Path,
        part: str,
        spec: PartSpec,
        device: str = "cpu",
        threads: int = 0,
        plan: SessionPlan | None = None,
    ) -> OrtSession:
        """Open a graph that lies in no bundle yet.

        Args:
            plan: how an engine is opened; None for a graph.

        Raises:
            UsageError, BackendError: see the class.
        """
        session = cls.__new__(cls)
        session._plan = plan
        session._open(file.read_bytes(), str(file), part, spec, device, threads)
        return session

    @classmethod
    def from_bytes(
        cls, content: bytes, where: str, part: str, spec: PartSpec, device: str = "cpu", threads: int = 0
    ) -> OrtSession:
        """Open a graph by its content.

        Args:
            content: of an ONNX file.
            where: what error messages call the file.

        Raises:
            UsageError, BackendError: see the class.
        """
        session = cls.__new__(cls)
        session._plan = None
        session._open(content, where, part, spec, device, threads)
        return session

    def _open(self, content: bytes, where: str, part: str, spec: PartSpec, device: str, threads: int) -> None:
        self._part = part
        self._spec = spec
        self.mixes_rows = _DYNAMIC in content
        #: The process whose threads ONNX Runtime waits for; None where it has none of its own.
        self._process = None if threads == 1 else os.getpid()
        self._outputs = [output.name for output in self._spec.outputs]
        in_fp8 = spec.precision == "fp8"
        options = session_options(threads, as_written=in_fp8, plan=self._plan)
        on_cpu = (*FATAL_OPTIMISERS, *SLOW_OPTIMISERS) if device == "cpu" else ()
        disabled = [*on_cpu, *fatal_after_casts(content), *(FP8_OPTIMISERS if in_fp8 else ())]
        _require_provider(device)
        try:
            self._session = onnxruntime.InferenceSession(
                content,
                options,
                providers=[_PROVIDER_OPTIONS[device]],
                disabled_optimizers=disabled or None,
            )
        except Exception as error:
            raise BackendError(f"{where}: ONNX Runtime cannot open it: {first_line(error)}") from error
        let_go_of_content(self._session)
        used = self._session.get_providers()[0]
        if used != _PROVIDERS[device]:
            raise UsageError(
                f"--device {device}: ONNX Runtime fell back to {used}; check the CUDA libraries with `nvidia-smi` and "
                f"`python -c 'import onnxruntime; onnxruntime.preload_dlls()'`, or use --device cpu"
            )
        self._device_buffers = _DeviceBuffers(self._session, self._outputs) if device == "cuda" else None

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        if problems := self._spec.feed_problems(feeds):
            raise BackendError(f"{self._part}: {'; '.join(problems)}")
        if self._process is not None and self._process != os.getpid():  # it would wait for ever
            raise BackendError(
                f"{self._part}: expected the process that opened it, got one that was forked off and has none of its "
                f"threads: open the bundle in the new process, or with threads=1"
            )
        try:
            run = self._device_buffers.run if self._device_buffers else self._run_on_host
            values = run(feeds)
        except Exception as error:
            raise BackendError(f"{self._part}: ONNX Runtime failed: {first_line(error)}") from error
        return {name: np.asarray(value) for name, value in zip(self._outputs, values, strict=True)}

    @property
    def native(self) -> Any:
        """ONNX Runtime's own session."""
        return self._session

    def close(self) -> None:
        self._session = self._device_buffers = None

    def _run_on_host(self, feeds: Mapping[str, Array]) -> list[Array]:
        values: list[Array] = self._session.run(self._outputs, dict(feeds))
        return values


def fatal_after_casts(content: bytes) -> tuple[str, ...]:
    """The optimisers that may not run on a graph because of its casts; none where it has no numbers of 16 bits."""
    return FATAL_AFTER_CASTS if any(cast in content for cast in _CASTS) else ()


def let_go_of_content(session: Any) -> None:
    """Free the content that a session was opened from.

    ONNX Runtime 1.32 holds it for as long as the session lives, to open the graph again with other providers.
    """
    if hasattr(session, "_model_bytes"):
        session._model_bytes = None


class _DeviceBuffers:
    """Inputs and outputs bound to the GPU: an input's buffer is kept from call to call while its shape stays."""

    def __init__(self, session: Any, outputs: list[str]) -> None:
        self._session, self._outputs = session, outputs
        self._held: dict[str, Any] = {}

    def run(self, feeds: Mapping[str, Array]) -> list[Array]:
        binding = self._session.io_binding()
        for name, value in feeds.items():
            held = self._held.get(name)
            if held is None or tuple(held.shape()) != value.shape:
                held = self._held[name] = onnxruntime.OrtValue.ortvalue_from_numpy(value, "cuda", 0)
            else:
                held.update_inplace(np.ascontiguousarray(value))
            binding.bind_ortvalue_input(name, held)
        for name in self._outputs:
            binding.bind_output(name, "cuda", 0)
        self._session.run_with_iobinding(binding)
        values: list[Array] = binding.copy_outputs_to_cpu()
        return values


def session_options(
    threads: int, as_written: bool = False, plan: SessionPlan | None = None
) -> onnxruntime.SessionOptions:
    """The options with which every part is opened; sums of integers are right on any processor.

    Args:
        threads: 0 for as many as there are cores.
        as_written: compute Q/DQ pairs as they are written, as FP8 asks for: where ONNX Runtime 1.32 rewrites pairs of
            FP8, it computes something else (EfficientNet-lite0 had a cosine of .37 with FP32, as written .997).
        plan: how an engine is opened. Without one, Q/DQ pairs are computed as written where integer kernels saturate,
            which is exact and slower (docs/how-to/precision.md has figures).
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Spinning workers win microseconds and burn a core between hops: on a device that decodes video they cost more.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    exact = processor.kernels_are_exact()
    entries = {
        "session.disable_quant_qdq": as_written or (not exact if plan is None else plan.as_written),
        # ONNX Runtime's own way out of saturation: weights become unsigned, for kernels that add in 32 bits. Graphs
        # that hold integer operators already ask for it as well as those whose Q/DQ pairs become some; an engine whose
        # weights have seven bits does not, and its kernels are faster.
        "session.x64quantprecision": plan.unsigned_weights if plan and not plan.as_written else not exact,
        "mlas.enable_gemm_fastmath_arm64_bfloat16": plan is not None and plan.bf16_products,
    }
    for name in (name for name, wanted in entries.items() if wanted):
        options.add_session_config_entry(name, "1")
    return options


def optimise(source: bytes, target: Path, in_fp8: bool = False, plan: SessionPlan | None = None) -> None:
    """Write a graph as ONNX Runtime rewrites it for this architecture, fused and folded.

    Args:
        source: the content of an ONNX file.
        target: the file to write.
        in_fp8: compute its Q/DQ pairs as they are written.
        plan: how the engine will be opened; see `session_options`.

    Raises:
        BackendError: the graph cannot be loaded.
    """
    options = session_options(1, as_written=in_fp8, plan=plan)
    # the last level lays weights out for one processor; it is applied when the graph is opened
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target)
    try:
        disabled = [*SLOW_OPTIMISERS, *fatal_after_casts(source), *(FP8_OPTIMISERS if in_fp8 else ())]
        onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"], disabled_optimizers=disabled)
    except Exception as error:
        raise BackendError(f"{target.stem}: ONNX Runtime cannot open it: {first_line(error)}") from error


def library_version() -> str:
    """The library that an optimised graph belongs to, such as "onnxruntime 1.23.0"."""
    return f"onnxruntime {onnxruntime.__version__}"


def require_same_library(bundle: Bundle) -> None:
    """Refuse engines of another ONNX Runtime or architecture, and those that this processor would compute wrongly.

    Raises:
        EngineError: found and wanted differ.
    """
    engine = bundle.manifest.engine
    if engine is None:
        return
    here = (library_version(), platform.machine())
    wanted = (engine.library, engine.machine.get("architecture", here[1]))
    anew = "build it anew with `taemi-edge build-engine`, or pass --rebuild"
    if here != wanted:
        raise EngineError(
            f"{bundle.folder} was built for {wanted[0]} on {wanted[1]}, found {here[0]} on {here[1]}: {anew}"
        )
    for part, plan in (engine.sessions or {}).items():
        if lack := _lack(plan):
            raise EngineError(
                f"{bundle.folder}: {part} was built for a processor ({engine.machine.get('processor') or 'unnamed'}) "
                f"{lack} this one ({processor.features().name or 'unnamed'}): {anew}"
            )


def _lack(plan: SessionPlan) -> str:
    """What this processor does not have of what an engine asks for; empty where it has all."""
    if plan.exact_kernels and not processor.kernels_are_exact():
        return "whose integer kernels add up exactly, and they saturate on"
    known = processor.features().features
    if plan.bf16_products and known and "bf16" not in known:
        return "that multiplies in BF16, which is missing on"
    return ""


def _require_provider(device: str) -> None:
    available = onnxruntime.get_available_providers()
    if _PROVIDERS[device] not in available:
        raise UsageError(
            f"--device {device} needs ONNX Runtime with {_PROVIDERS[device]}, which offers {', '.join(available)}: "
            f"run `pip uninstall onnxruntime && pip install onnxruntime-gpu`, or use --device cpu"
        )
    if device == "cuda" and hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()  # CUDA's and cuDNN's libraries where pip put them
