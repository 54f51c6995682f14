"""The INT8 graphs of a calibrated bundle as cases: what they give as written, which needs no integer kernel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime

from taemi_edge.bundle.folder import open_bundle
from taemi_edge.bundle.precisions import HOST_FLAVOURS
from taemi_edge.parity.golden import Case, golden_cases


def write_int8_parts(bundle: Path, folder: Path) -> None:
    """Write each part and flavour for processors as PART.FLAVOUR.npz, with the smallest of its golden feeds."""
    smallest: dict[str, Case] = {}
    opened = open_bundle(bundle)
    for case in golden_cases(opened):
        if case.part not in smallest or _size(case) < _size(smallest[case.part]):
            smallest[case.part] = case
    for part, case in smallest.items():
        for flavour in HOST_FLAVOURS:
            file = opened.manifest.graphs.get(part, {}).get(flavour)
            if file is not None:
                _write(folder / f"{part}.{flavour}.npz", (bundle / file).read_bytes(), case)


def _size(case: Case) -> int:
    return sum(int(feed.size) for feed in case.feeds.values())


def _write(target: Path, content: bytes, case: Case) -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    feeds = {put.name: case.feeds[put.name] for put in session.get_inputs()}
    expected = session.run(None, feeds)[0]  # a head may give several outputs
    named = {f"feed_{name}": value for name, value in feeds.items()}
    np.savez(target, graph=np.frombuffer(content, np.uint8), expected=expected, **named)  # type: ignore[arg-type]
