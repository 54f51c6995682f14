"""Times the candidates of a part and holds them against the golden outputs, unless just that was measured here before.

What was measured is kept in the engine cache under everything that it depends on: the engines, the golden cases of the
part, its tolerances. So a model whose head alone changed has only its head measured again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256

import msgspec
import numpy as np

from taemi_edge import __version__
from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.precisions import Precision
from taemi_edge.bundle.values import HEAD, Frozen
from taemi_edge.engines.cache import EngineCache, key_of
from taemi_edge.engines.part_builder import BuiltPart
from taemi_edge.engines.plan import BuildPlan
from taemi_edge.engines.tolerances import tolerances_of
from taemi_edge.parity.comparison import check_part
from taemi_edge.parity.golden import Case, usual_case
from taemi_edge.runtime.sessions import Session

#: Runs of each candidate before timing starts; the first ones fill caches.
_WARM_UP_RUNS = 3


class Measured(Frozen, frozen=True):
    """What was measured of the candidates of one part, by precision.

    Attributes:
        times_ms: of each run, the candidates in turn.
        faults: how a candidate is outside its tolerance; empty where it is not.
    """

    times_ms: dict[Precision, list[float]]
    faults: dict[Precision, str]


def measure(
    plan: BuildPlan, bundle: Bundle, built: Sequence[BuiltPart], cases: Sequence[Case], cache: EngineCache | None
) -> Measured:
    """Measure the candidates of one part, or give what was measured of just these before.

    Args:
        plan: what is built for which device.
        bundle: the graphs.
        built: the candidates, one a precision.
        cases: the golden cases of all parts.
        cache: where measurements are looked up and kept; None measures now and keeps nothing.
    """
    key = _key(plan, bundle, built, cases)
    if cache is not None and (kept := cache.read_part(key)) is not None:
        return msgspec.json.decode(kept[0], type=Measured)
    measured = _measured_now(plan, bundle, built, cases)
    if cache is not None:
        cache.write_part(key, msgspec.json.encode(measured), 0.0)
    return measured


def cases_digest(cases: Sequence[Case], part: str) -> str:
    """Give a hash over the golden cases of one part: what is fed, and what must come out."""
    digest = sha256()
    for case in cases:
        if case.part != part:
            continue
        digest.update(f"{case.name} {None if case.pattern is None else sorted(case.pattern)}".encode())
        for arrays in (case.feeds, case.expected or {}):
            for name in sorted(arrays):
                values = np.ascontiguousarray(arrays[name])
                digest.update(f"{name} {values.dtype.str} {values.shape}".encode() + values.tobytes())
    return digest.hexdigest()


def _key(plan: BuildPlan, bundle: Bundle, built: Sequence[BuiltPart], cases: Sequence[Case]) -> str:
    """Everything that times and faults depend on; the device and the library are in the keys of the engines."""
    part, manifest = built[0].part, bundle.manifest
    of_the_head = {}
    if part == HEAD:
        tokens = {
            name: sha256(np.ascontiguousarray(value).tobytes()).hexdigest() for name, value in bundle.tokens.items()
        }
        of_the_head = {
            "tokens": tokens,
            "model": msgspec.to_builtins([manifest.streams, manifest.outputs, manifest.head]),
        }
    return key_of(
        **of_the_head,
        what="times",
        engines={b.precision: b.key for b in built},
        part=part,
        spec=msgspec.to_builtins(manifest.parts[part]),
        cases=cases_digest(cases, part),
        tolerances={b.precision: msgspec.to_builtins(tolerances_of(bundle, b.precision)[part]) for b in built},
        runs=plan.target.runs,
        threads=plan.threads,
        made_by=__version__,
    )


def _measured_now(plan: BuildPlan, bundle: Bundle, built: Sequence[BuiltPart], cases: Sequence[Case]) -> Measured:
    """Run each candidate on all cases of its part, and then all of them in turn on the usual one."""
    part = built[0].part
    usual = usual_case(list(cases), part).feeds
    times_ms: dict[Precision, list[float]] = {b.precision: [] for b in built}
    faults: dict[Precision, str] = {}
    with _opened(plan, bundle, built) as sessions:
        for precision, session in sessions.items():
            faults[precision] = _tolerance_fault(bundle, part, precision, session, cases)
        for turn in range(_WARM_UP_RUNS + plan.target.runs):
            for precision, session in sessions.items():
                started = time.perf_counter()
                session.run(usual)
                if turn >= _WARM_UP_RUNS:
                    times_ms[precision].append((time.perf_counter() - started) * 1e3)
    return Measured(times_ms=times_ms, faults=faults)


def _tolerance_fault(bundle: Bundle, part: str, precision: Precision, session: Session, cases: Sequence[Case]) -> str:
    """Say how a candidate is outside its tolerance on the golden feeds; empty where it is not."""
    tolerance = tolerances_of(bundle, precision)[part]
    result = check_part(session.run, part, cases, bundle.tokens, tolerance, bundle.manifest)
    if result.ok:
        return ""
    worst = next((case for case in result.cases if not case.ok), None)
    if worst is None:
        flips = "" if result.most_flips is None else f", {result.most_flips:.4f} of the labels differ"
        return f"outside its tolerance over all rows: Pearson {result.lowest_pearson or 0:.4f}{flips}"
    error = f"max error {worst.max_abs:.3g} (at most {result.limit_of(worst):.3g})"
    return f"outside its tolerance in {worst.case}: {error}, cosine {worst.cosine:.5f}"


@contextmanager
def _opened(plan: BuildPlan, bundle: Bundle, built: Sequence[BuiltPart]) -> Iterator[Mapping[Precision, Session]]:
    """Open the candidates of one part; they are closed at the end."""
    if plan.target.is_tensorrt:
        with _opened_engines(plan, bundle, built) as sessions:
            yield sessions
        return
    from taemi_edge.runtime.onnx_sessions import OrtSession

    device = "cuda" if plan.target.backend == "onnxruntime-cuda" else "cpu"
    yield {
        b.precision: OrtSession.from_file(b.file, b.part, bundle.manifest.parts[b.part], device, plan.threads)
        for b in built
    }


@contextmanager
def _opened_engines(
    plan: BuildPlan, bundle: Bundle, built: Sequence[BuiltPart]
) -> Iterator[Mapping[Precision, Session]]:
    from taemi_edge.runtime.tensorrt.engine import EngineSession
    from taemi_edge.runtime.tensorrt.gpu import Gpu
    from taemi_edge.runtime.tensorrt.library import load_library

    gpu = Gpu(load_library(plan.target.backend))
    sessions: dict[Precision, Session] = {}
    try:
        for b in built:
            spec = bundle.manifest.parts[b.part]
            sessions[b.precision] = EngineSession(gpu, b.file.read_bytes(), b.part, spec)
        yield sessions
    finally:
        for session in sessions.values():
            session.close()
        gpu.close()
