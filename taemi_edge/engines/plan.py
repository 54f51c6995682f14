"""Planning a build: the graphs, the target, the library and the machine that decide which engines come out.

The keys of the engine cache are made here, from everything that a plan holds.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from taemi_edge import __version__
from taemi_edge.bundle.folder import Bundle, read_manifest
from taemi_edge.bundle.precisions import PRECISIONS, Precision, RequestedPrecision
from taemi_edge.bundle.spec import Manifest
from taemi_edge.engines.abilities import missing_precisions
from taemi_edge.engines.cache import key_of
from taemi_edge.engines.compiler import Compiler
from taemi_edge.engines.known_versions import Trouble, known_troubles
from taemi_edge.engines.profiles import require_profiles
from taemi_edge.engines.recipe import Spans, TargetRecipe
from taemi_edge.errors import EngineError, UsageError
from taemi_edge.runtime import processor
from taemi_edge.runtime.cores import usable_cores
from taemi_edge.runtime.tensorrt.machine import Machine, this_machine


@dataclass(frozen=True)
class BuildPlan:
    """Everything that decides what is built.

    Attributes:
        source: the folder of the bundle of graphs.
        manifest: of that bundle.
        target: the device, and how engines are built for it.
        precision: what was asked for.
        library: the name and version of what compiles and runs the engines.
        machine: the device that builds.
        threads: of each session that times or checks an engine; 0 for all cores.
        missing: the precisions that the library or the GPU does not have, each with the reason.
    """

    source: Path
    manifest: Manifest
    target: TargetRecipe
    precision: RequestedPrecision
    library: str
    machine: Machine
    threads: int
    missing: Mapping[Precision, str] = field(default_factory=dict)

    def flags(self) -> dict[str, str]:
        """Give the target's options for the compiler by name, in words."""
        target = self.target
        return {
            "workspace_mib": str(target.workspace_mib),
            "tactic_sources": " ".join(target.tactic_sources) or "default",
            "optimisation_level": "default" if target.optimisation_level is None else str(target.optimisation_level),
            "tf32": str(target.tf32).lower(),
            "constrain_precision": str(target.constrain_precision).lower(),
            "sm": target.sm if target.ahead_of_time else "",
            "profiles": "shared by contexts",
        }

    def part_key(
        self,
        profiles: Sequence[Spans],
        precision: Precision,
        graph_sha256: str,
        workaround: str = "",
        form: Mapping[str, Any] | None = None,
    ) -> str:
        """Give the cache key of one part's engine: of its graph, its profiles and all that its build depends on.

        Args:
            profiles: of the part.
            precision: of the engine.
            graph_sha256: of the graph of the bundle.
            workaround: flags for the compiler.
            form: what is done to the graph before it is built, and how the engine is opened; None for nothing.
        """
        further: dict[str, Any] = {"further": profiles[1:]} if len(profiles) > 1 else {}
        if form:
            further["form"] = form
        if workaround:
            further["workaround"] = workaround
        return key_of(
            **further,
            graph=graph_sha256,
            precision=precision,
            spans=profiles[0],
            backend=self.target.backend,
            library=self.library,
            machine=_known(self.machine),
            flags=self.flags(),
        )

    def troubles(self, precision: str = "", largest_batch: int | None = None) -> tuple[Trouble, ...]:
        """What is known to be wrong with this version of TensorRT on this machine; nothing for other libraries.

        Args:
            precision: of an engine; by default what was asked for.
            largest_batch: of an engine; None for all.
        """
        if self.target.backend != "tensorrt":
            return ()
        version = self.library.removeprefix("tensorrt ")
        return tuple(known_troubles(version, self.machine.sm, precision or self.precision, largest_batch))

    def build_key(self, opened: Bundle | None = None) -> str:
        """Give the cache key of the whole bundle: of its source, the target, the device and the request.

        Args:
            opened: the source, where it is open already. One that is signed has a key of its own: what is built from
                it carries its signature.
        """
        signed = {}
        if opened is not None and opened.signed_by is not None:
            signature = sha256(opened.signed_by.content).hexdigest()
            signed = {"signed": dict(opened.digests), "signature": signature}
        return key_of(
            **signed,
            manifest=msgspec.to_builtins(self.manifest),  # a changed window or presence time is another bundle, too
            target=msgspec.to_builtins(self.target),
            asked=self.precision,
            library=self.library,
            machine=_known(self.machine),
            threads=self.threads,
            **({"cores": usable_cores()} if self.target.backend == "onnxruntime-cpu" else {}),
            made_by=__version__,
        )


def plan_build(source: Path, target: TargetRecipe, precision: RequestedPrecision, threads: int) -> BuildPlan:
    """Plan a build on this machine.

    Args:
        source: the folder of a bundle of graphs.
        target: the device to build for.
        precision: of every part, or "auto".
        threads: of each session that times or checks an engine; 0 for all cores.

    Raises:
        EngineError: the bundle holds engines already.
        UsageError: the target is not this device, its library or its GPU is not here or does not have the precision, or
            its profiles name what the model does not have.
    """
    manifest = read_manifest(source)
    if manifest.engine is not None:
        raise EngineError(
            f"{source}: expected a bundle of graphs, got engines for {manifest.engine.target}: name the bundle that "
            f"`export` or `calibrate` made"
        )
    require_profiles(manifest, target)
    _require_architecture(target)
    _require_timing(target, precision)
    if not target.is_tensorrt:
        library, machine = _onnxruntime(target)
        return BuildPlan(source, manifest, target, precision, library, machine, threads)
    compiler = Compiler(target.backend)
    machine = _tensorrt_machine(target)
    missing = missing_precisions(target, machine, compiler)
    if precision in missing:
        raise UsageError(missing[precision])
    library = f"{target.backend} {compiler.version}"
    return BuildPlan(source, manifest, target, precision, library, machine, threads, missing)


def _known(machine: Machine) -> dict[str, str]:
    """A machine for the keys of the cache; without what only engines for processors ask, keys of GPUs stay valid."""
    fields: dict[str, str] = msgspec.to_builtins(machine)
    return {name: value for name, value in fields.items() if value or name not in ("features", "integer_sums")}


def _onnxruntime(target: TargetRecipe) -> tuple[str, Machine]:
    from taemi_edge.runtime.onnx_sessions import library_version

    machine = this_machine(with_gpu=target.backend == "onnxruntime-cuda")
    if target.backend == "onnxruntime-cpu":
        sums = "exact" if processor.kernels_are_exact() else "saturating"
        machine = msgspec.structs.replace(machine, features=processor.features().in_words, integer_sums=sums)
    return library_version(), machine


def _tensorrt_machine(target: TargetRecipe) -> Machine:
    machine = this_machine(with_gpu=not target.ahead_of_time)
    if target.sm and not target.ahead_of_time and machine.sm != target.sm:
        raise UsageError(
            f"--target {target.name} is for compute capability {target.sm}, found {machine.gpu} with {machine.sm}: "
            f"build on the device itself, or use --target tensorrt for this one"
        )
    return machine


def _require_architecture(target: TargetRecipe) -> None:
    here = platform.machine()
    if target.architecture and target.architecture != here:
        raise UsageError(
            f"--target {target.name} is for {target.architecture}, this machine is {here}: run build-engine on the "
            f"device that will run the engines (copy the bundle there), or use --target rtx to try the compiler here"
        )


def _require_timing(target: TargetRecipe, precision: RequestedPrecision) -> None:
    if target.ahead_of_time and precision == "auto":
        raise UsageError(
            f"--precision auto times engines, and --target {target.name} builds without their GPU: name "
            f"{', '.join(PRECISIONS[:-1])} or {PRECISIONS[-1]}"
        )
