"""Building one variant of a part: taken from the cache where it was built before, else compiled from its graph."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.precisions import CAST, FURTHER, Flavour, Precision
from taemi_edge.engines.cache import EngineCache
from taemi_edge.engines.compiler import BuildOptions, Compiler
from taemi_edge.engines.graph_changes import changed_graph, changes_in_words
from taemi_edge.engines.known_versions import Trouble
from taemi_edge.engines.plan import BuildPlan
from taemi_edge.engines.profiles import all_profiles, require_covering
from taemi_edge.engines.timing_cache import timing_file
from taemi_edge.engines.variants import Variant
from taemi_edge.errors import EngineError, MissingExtraError
from taemi_edge.parity.golden import golden_cases
from taemi_edge.progress import PrefixedCounts, Progress

log = logging.getLogger("taemi_edge.engines")


@dataclass(frozen=True)
class BuiltPart:
    """One variant of one part.

    Attributes:
        file: the engine, or the graph that ONNX Runtime runs.
        key: of the engine cache.
        seconds: how long it took to build, now or when it was put into the cache.
        workaround: flags for TensorRT's compiler that it was built with, around an error of this version; "" for none.
    """

    part: str
    variant: Variant
    file: Path
    key: str
    seconds: float
    workaround: str = ""

    @property
    def name(self) -> str:
        """The variant's, by which the candidates of a part are told apart."""
        return self.variant.name

    @property
    def precision(self) -> Precision:
        """The variant's."""
        return self.variant.precision


class PartBuilder:
    """Builds the parts of one bundle.

    Args:
        plan: what is built for which device.
        bundle: the graphs.
        scratch: a folder for what is built.
        cache: where engines are looked up and kept; None builds everything anew.
        progress: receives the part that is being built.

    Attributes:
        cache, progress: as they were given.
        profiles: the optimization profiles of each part.

    Raises:
        UsageError: the target's profiles do not take what the model's own streams bring, or a golden feed.
    """

    def __init__(
        self,
        plan: BuildPlan,
        bundle: Bundle,
        scratch: Path,
        cache: EngineCache | None,
        progress: Progress,
    ) -> None:
        self._plan, self._bundle, self._scratch, self.cache = plan, bundle, scratch, cache
        self.progress = progress
        cases = golden_cases(bundle)
        self.profiles = all_profiles(bundle.manifest, plan.target, cases)
        require_covering(bundle.manifest, plan.target, cases, self.profiles)
        self._compiler = Compiler(plan.target.backend) if plan.target.is_tensorrt else None
        self._told: set[str] = set()
        self._built: dict[tuple[str, str], BuiltPart] = {}

    def build(self, part: str, variant: Variant) -> BuiltPart:
        """Build one variant of a part; where another variant of it is the same engine, that one is given.

        Raises:
            EngineError: the bundle has no graph of that precision, or it cannot be built.
            MissingExtraError: its graph must be rewritten, and onnx is not installed.
        """
        graph = self._graph(part, variant)
        troubles = self._plan.troubles(variant.precision, self._largest_batch(part))
        form, myelin = changes_in_words(variant), _myelin(troubles)
        key = self._plan.part_key(self.profiles[part], variant.precision, sha256(graph).hexdigest(), myelin, form)
        if (part, key) not in self._built:
            self._built[part, key] = self._cached_or_new(part, variant, graph, key, troubles)
        return self._built[part, key]

    def _cached_or_new(
        self, part: str, variant: Variant, graph: bytes, key: str, troubles: tuple[Trouble, ...]
    ) -> BuiltPart:
        myelin = _myelin(troubles)
        suffix = ".engine" if self._compiler else ".onnx"
        target = self._scratch / f"{part}-{variant.name.replace(', ', '-').replace(' ', '-')}{suffix}"
        started = time.perf_counter()
        if self.cache is not None and (cached := self.cache.read_part(key)) is not None:
            engine, seconds = cached
            target.write_bytes(engine)
            return BuiltPart(part, variant, target, key, seconds, myelin)
        self._tell(part, troubles)
        self.progress.stage(f"building {part} in {variant.name}")
        self._build(changed_graph(graph, variant, part), target, part, variant, myelin)
        seconds = round(time.perf_counter() - started, 2)
        if self.cache is not None:
            self.cache.write_part(key, target.read_bytes(), seconds)
        return BuiltPart(part, variant, target, key, seconds, myelin)

    def _largest_batch(self, part: str) -> int:
        """The largest batch that the engine of a part takes; of several profiles, that of the one that takes least."""
        sizes = [tensor.shape[0] for tensor in self._bundle.manifest.parts[part].inputs if tensor.shape]
        return min(
            max((spans[size][2] if isinstance(size, str) else size for size in sizes), default=1)
            for spans in self.profiles[part]
        )

    def _tell(self, part: str, troubles: tuple[Trouble, ...]) -> None:
        """Write what is known to be wrong with the library into the log, each once."""
        for trouble in troubles:
            if trouble.early and trouble.what not in self._told:
                self._told.add(trouble.what)
                log.warning(
                    "%s: %s %s: %s (%s)", part, self._plan.library, trouble.what, trouble.advice, trouble.reference
                )

    def _build(self, graph: bytes, target: Path, part: str, variant: Variant, myelin: str) -> None:
        precision = variant.precision
        if self._compiler is not None:
            progress = PrefixedCounts(self.progress, f"{part} {precision}: ")
            target.write_bytes(self._compiler.compile(graph, precision, self._options(part, myelin), progress, part))
        elif self._plan.target.backend == "onnxruntime-cpu":
            from taemi_edge.runtime.onnx_sessions import optimise

            given = _emulated(graph) if variant.flavour == "bf16" else graph
            optimise(given, target, in_fp8=precision == "fp8", plan=variant.session)
        else:
            target.write_bytes(graph)  # ONNX Runtime rewrites it for the GPU when it is opened

    def _options(self, part: str, myelin: str) -> BuildOptions:
        target = self._plan.target
        timing_cache = None
        if target.timing_cache and self.cache is not None and target.backend == "tensorrt":  # TensorRT-RTX has none
            timing_cache = timing_file(self.cache, self._plan.library, self._plan.machine)
        return BuildOptions(
            spans=self.profiles[part][0],
            further=self.profiles[part][1:],
            workspace_mib=target.workspace_mib,
            tactic_sources=target.tactic_sources,
            optimisation_level=target.optimisation_level,
            sm=target.sm if target.ahead_of_time else "",
            tf32=target.tf32,
            constrain_precision=target.constrain_precision,
            timing_cache=timing_cache,
            myelin=myelin,
        )

    def _graph(self, part: str, variant: Variant) -> bytes:
        """Read the graph that a variant is built from; FP16 and BF16 can be cast from FP32."""
        precision = variant.precision
        flavour: Flavour = self._compiler.flavour_of(precision) if self._compiler else variant.flavour
        name = self._bundle.manifest.graph_file(part, flavour)
        if name is not None:
            return self._bundle.read_graph(name)
        if flavour in CAST and self._bundle.manifest.graph_file(part, "fp32"):
            return self._cast(part, precision)
        manifest, also = self._bundle.manifest, f" --also {precision}" if precision in FURTHER else ""
        exported = self._bundle.folder if manifest.calibration is None else manifest.provenance.source
        raise EngineError(
            f"{self._bundle.folder} has no {precision} graph of {part}: run `taemi-edge calibrate {exported} --data "
            f"CORPUS{also}` and build from what it makes"
        )

    def _cast(self, part: str, precision: Precision) -> bytes:
        """Cast a graph that calibration did not make; the golden feeds show which nodes stay in FP32."""
        try:
            from taemi_edge.calibration.fp16_cast import cast_part
        except ModuleNotFoundError as error:
            raise MissingExtraError("onnx", "export", f"casting a graph to {precision.upper()}") from error
        file = self._scratch / f"{part}.{precision}-graph.onnx"
        cast_part(self._bundle, part, precision, file)
        return file.read_bytes()


def _myelin(troubles: tuple[Trouble, ...]) -> str:
    """The flags for TensorRT's compiler around known errors."""
    return " ".join(trouble.myelin for trouble in troubles if trouble.myelin)


def _emulated(graph: bytes) -> bytes:
    """A BF16 graph as a processor without kernels for it can compute it."""
    try:
        from taemi_edge.calibration.graphs.bf16 import emulate_bf16
        from taemi_edge.calibration.graphs.graph import Graph
    except ModuleNotFoundError as error:
        raise MissingExtraError("onnx", "export", "emulating BF16 on a CPU") from error
    return emulate_bf16(Graph.of_bytes(graph, "graph")).bytes()
