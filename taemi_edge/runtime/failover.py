"""Goes on with the CPU after the GPU was lost: opens the graphs that the engines were built from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from taemi_edge.bundle.folder import Bundle, open_bundle
from taemi_edge.bundle.graph_source import find_graphs
from taemi_edge.errors import BackendError, BundleError, DeviceLostError
from taemi_edge.runtime.opening import open_executor
from taemi_edge.runtime.work import Executor, Layout


@dataclass(frozen=True, eq=False)
class Failover:
    """What goes on in the place of a lost GPU.

    Attributes:
        executor: runs the graphs on the CPU; it has no features yet.
        reason: a sentence that says what was lost, and what goes on.
    """

    executor: Executor
    reason: str


def fail_over_to_cpu(
    bundle: Bundle, layout: Layout, capacity: Mapping[str, int], error: DeviceLostError, threads: int | None = None
) -> Failover:
    """Open the graphs that a bundle's engines were built from, on the CPU.

    Args:
        bundle: whose device is lost.
        layout: of the executor that is lost.
        capacity: how many rows its rings had: the windows' rows must fit the new rings.
        error: how the device was lost.
        threads: of each part on a CPU, 0 for all cores; None takes the plan of the engines, else all cores.

    Raises:
        DeviceLostError: the bundle is not one of engines, or its graphs are gone or have changed.
        BackendError: the graphs give other numbers of steps than the engines did.
    """
    manifest = bundle.manifest
    if manifest.engine is None:
        raise error
    try:
        graphs = open_bundle(find_graphs(bundle))
    except BundleError as missing:
        raise DeviceLostError(f"{error}; there is no bundle of graphs to go on with on the CPU: {missing}") from error
    known = manifest.engine.source_digests
    if known and known != graphs.digests:
        raise DeviceLostError(
            f"{error}; {graphs.folder} is not what the engines were built from: nothing can take over"
        ) from error
    if graphs.manifest.sha256.get("tokens.safetensors") != manifest.sha256.get("tokens.safetensors"):
        raise DeviceLostError(f"{error}; {graphs.folder} is another model by now: nothing can take over") from error
    executor = open_executor(graphs, layout, "cpu", threads)
    if executor.capacity != capacity:
        executor.close()
        raise BackendError(f"{graphs.folder}: expected the same numbers of steps as the engines give")
    return Failover(executor, f"{error}: going on with {graphs.folder} on the CPU")
