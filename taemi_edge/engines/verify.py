"""Verifying an engine bundle: parity with PyTorch's golden outputs, run on the device that the engines were built on.

The manifest says `verified` only when every part and the whole way from inputs to outputs keep their tolerance, in all
presence patterns and at the smallest and largest batches.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from taemi_edge.bundle.folder import write_manifest
from taemi_edge.bundle.records import EngineRecord, StageVerdict
from taemi_edge.bundle.spec import Manifest
from taemi_edge.engines.plan import BuildPlan
from taemi_edge.parity.comparison import ParityReport, check_parity
from taemi_edge.progress import Progress


def verify_engines(
    draft: Path, manifest: Manifest, record: EngineRecord, plan: BuildPlan, progress: Progress
) -> tuple[Manifest, ParityReport | None]:
    """Run parity on what was built, and write a manifest that says how it came out.

    Args:
        draft: the folder of the new bundle, complete but for its manifest.
        manifest: of the new bundle.
        record: what the manifest says about the engines.
        plan: what was built for which device.
        progress: receives the name of the stage.

    Returns:
        The manifest as it was written, and parity's report; None where the engines cannot run on this machine.
    """
    unverified = msgspec.structs.replace(manifest, verified=False, engine=record)
    if plan.target.ahead_of_time:
        failure = f"they were built ahead of time for SM {plan.target.sm} and have not run yet"
        return _written(draft, unverified, msgspec.structs.replace(record, failure=failure), False), None
    write_manifest(draft, unverified)  # parity opens the draft as a bundle
    progress.stage("checking parity")
    report, _ = check_parity(str(draft), threads=plan.threads or None)
    failure = "" if report.ok else f"{report.first_failure} left its tolerance{_where(report)}{_suspects(plan)}"
    judged = msgspec.structs.replace(record, verification=_verdicts(report), failure=failure)
    return _written(draft, unverified, judged, report.ok), report


def _written(draft: Path, manifest: Manifest, record: EngineRecord, verified: bool) -> Manifest:
    return write_manifest(draft, msgspec.structs.replace(manifest, verified=verified, engine=record))


def _where(report: ParityReport) -> str:
    """The first case of the first failure that is outside; empty where none of them is, but all rows together are."""
    stage = next(stage for stage in report.stages if stage.stage == report.first_failure)
    case = next((case for case in stage.cases if not case.ok), None)
    return "" if case is None else f" in {case.case}: max error {case.max_abs:.3g}, cosine {case.cosine:.5f}"


def _suspects(plan: BuildPlan) -> str:
    """What is known to be wrong with this version of TensorRT, as it may be the cause."""
    known = "; ".join(f"{trouble.what} ({trouble.reference})" for trouble in plan.troubles())
    return f"; note that {plan.library} {known}" if known else ""


def _verdicts(report: ParityReport) -> tuple[StageVerdict, ...]:
    return tuple(
        StageVerdict(
            stage=stage.stage,
            ok=stage.ok,
            cases=len(stage.cases),
            max_abs=stage.max_abs,
            cosine=stage.cosine,
            pearson=stage.lowest_pearson,
            flips=stage.most_flips,
        )
        for stage in report.stages
    )
