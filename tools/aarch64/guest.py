"""Runs inside the emulated machine, or on any other: computes the cases of operators.py and prints a line of JSON.

    python guest.py FOLDER [--close]      # how close floating-point outputs are, where no sum can be exact

It imports NumPy, ONNX Runtime and the standard library alone.
"""

from __future__ import annotations

import ctypes
import json
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

#: Bits of AT_HWCAP and AT_HWCAP2 on aarch64: <asm/hwcap.h> of Linux.
_HWCAP = {"asimd": 1, "asimdhp": 10, "asimddp": 20, "sve": 22}
_HWCAP2 = {"sve2": 1, "svei8mm": 9, "svebf16": 12, "i8mm": 13, "bf16": 14, "sme": 23, "sme2": 37}
_AT_HWCAP, _AT_HWCAP2 = 16, 26


def main(folder: str, close: bool) -> None:
    """Compute every case of a folder."""
    judge = closeness if close else outcome
    cases = {file.stem: judge(file) for file in sorted(Path(folder).glob("*.npz"))}
    print(json.dumps({"machine": machine(), "operators": cases}))


def machine() -> dict[str, Any]:
    """What computes: its features by the kernel's word, and by /proc/cpuinfo."""
    features = sorted(
        name
        for word, bits in ((_AT_HWCAP, _HWCAP), (_AT_HWCAP2, _HWCAP2))
        for name, bit in bits.items()
        if platform.machine() == "aarch64" and _auxiliary(word) >> bit & 1
    )
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    lines = [line.partition(":")[2].split() for line in text.splitlines() if line.startswith("Features")]
    told = sorted(set(lines[0]) & {*_HWCAP, *_HWCAP2}) if lines else []
    return {
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "onnxruntime": onnxruntime.__version__,
        "features": features,
        "features_in_cpuinfo": told,
    }


def outcome(file: Path) -> str:
    """The case of a file: "exact", "off by N" (the largest difference), or why it cannot run."""
    try:
        given, expected = _computed(file)
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors share no class
        return f"cannot run: {str(error).splitlines()[0][:160]}"
    if given.shape == expected.shape and given.dtype == expected.dtype and np.array_equal(given, expected):
        return "exact"
    return f"off by {float(np.abs(given.astype(np.float64) - expected.astype(np.float64)).max()):g}"


def closeness(file: Path) -> dict[str, float]:
    """Of the case of a file: the largest difference, the largest value, and Pearson's correlation."""
    given, expected = _computed(file)
    pearson = np.corrcoef(given.ravel(), expected.ravel())[0, 1]
    values = {"off_by": np.abs(given - expected).max(), "largest": np.abs(expected).max(), "pearson": pearson}
    return {name: round(float(value), 6) for name, value in values.items()}


def _computed(file: Path) -> tuple[Any, Any]:
    """What a graph gives here, and what it is expected to give."""
    with np.load(file) as case:
        graph, expected = case["graph"].tobytes(), case["expected"]
        feeds = {name.removeprefix("feed_"): case[name] for name in case.files if name.startswith("feed_")}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    given = session.run(None, feeds)[0]
    return given, expected


def _auxiliary(kind: int) -> int:
    """A word that the kernel hands to each process (`man getauxval`)."""
    function = ctypes.CDLL(None).getauxval
    function.restype, function.argtypes = ctypes.c_ulong, [ctypes.c_ulong]
    return int(function(kind))


if __name__ == "__main__":
    main(sys.argv[1], close="--close" in sys.argv)
