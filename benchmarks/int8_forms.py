"""How fast a calibrated bundle's forms of INT8 are on this processor, against FP32 in the same run.

    python benchmarks/int8_forms.py calibration/taemi-mobile --output benchmarks/int8-forms.json

One thread. The graphs of a part are timed in turn on one row of each of its golden feeds, so that a machine that is
busy elsewhere slows all of them alike; medians and ratios are what to quote. The integer kernels are used whatever the
processor has: where it has no VNNI their sums may be wrong, and the time counts alone.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path
from statistics import median
from typing import Any

import onnxruntime

from taemi_edge.bench.provenance import write_report
from taemi_edge.bundle.folder import Bundle, open_bundle
from taemi_edge.bundle.precisions import Flavour
from taemi_edge.parity.golden import golden_cases
from taemi_edge.runtime.processor import kernels_are_exact

FORMS: tuple[Flavour, ...] = ("fp32", "int8", "int8-u8", "int8-dynamic")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("bundle", type=Path, metavar="BUNDLE")
    parser.add_argument("--output", type=Path, metavar="F.json")
    parser.add_argument("--repeats", type=int, default=30, metavar="N")
    options = parser.parse_args()
    bundle = open_bundle(options.bundle)
    parts = {part: time_part(bundle, part, options.repeats) for part in bundle.manifest.part_names}
    result = {
        "onnxruntime": onnxruntime.__version__,
        "architecture": platform.machine(),
        "kernels_are_exact": kernels_are_exact(),
        "parts": parts,
    }
    text = json.dumps(result, indent=2)
    print(text)
    if options.output is not None:
        write_report(options.output, result)


def time_part(bundle: Bundle, part: str, repeats: int) -> dict[str, dict[str, float]]:
    """Time every form of a part: the mean over feeds of its median, in ms, and how many times as fast as FP32 it is."""
    sessions = {form: open_form(bundle, part, form) for form in FORMS if bundle.manifest.graph_file(part, form)}
    medians: dict[Flavour, list[float]] = {form: [] for form in sessions}
    for case in (case for case in golden_cases(bundle) if case.part == part):
        feed = {name: value[:1] for name, value in case.feeds.items()}
        taken: dict[Flavour, list[float]] = {form: [] for form in sessions}
        for repeat in range(-3, repeats):  # three to warm up
            for form, session in sessions.items():
                begun = time.perf_counter()
                session.run(None, feed)
                if repeat >= 0:
                    taken[form].append((time.perf_counter() - begun) * 1e3)
        for form, times in taken.items():
            medians[form].append(median(times))
    ms = {form: sum(times) / len(times) for form, times in medians.items()}
    return {form: {"ms": round(value, 3), "times_as_fast": round(ms["fp32"] / value, 2)} for form, value in ms.items()}


def open_form(bundle: Bundle, part: str, form: Flavour) -> Any:
    """Open one form of a part on one thread, with the integer kernels."""
    session_options = onnxruntime.SessionOptions()
    session_options.intra_op_num_threads = session_options.inter_op_num_threads = 1
    session_options.log_severity_level = 3
    session_options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    content = bundle.read_graph(str(bundle.manifest.graph_file(part, form)))
    return onnxruntime.InferenceSession(content, session_options, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    main()
