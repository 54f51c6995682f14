"""Runs `taemi-edge` on an emulated processor, and says whether it gave what it gives on this machine."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import av

from .machine_root import ToolError, run

_ASSETS = Path(__file__).resolve().parents[2] / "taemi_edge" / "assets"
_CLIP_S, _HOP_S = 3.0, 1.0
#: Outputs of a run here and there: pictures become the same RGB (media/colours.py), and networks add in another order.
MOST_APART = 1e-4
_MOST_S = 3000


def doctor_of(python: Path) -> dict[str, Any]:
    """What `doctor` says of the machine, of Python and of ONNX Runtime; a problem where no bundle could run there."""
    try:
        answer = run([python, "-m", "taemi_edge", "doctor", "--json"], _MOST_S, codes=(0, 1))
    except ToolError as error:
        return {"problem": str(error)}
    report = json.loads(answer)
    found = {finding["name"]: finding["found"] for finding in report["findings"]}
    result = {name: found[name] for name in ("machine", "Python", "ONNX Runtime")}
    return result if report["runs_on"]["cpu"] else result | {"problem": "doctor says that no bundle runs on the CPU"}


def parity_of(python: Path, bundle: Path) -> dict[str, Any]:
    """`parity` of a bundle with PyTorch's outputs: the largest error of each part, beside its limit."""
    target = bundle.with_name(f"{bundle.name}-parity.json")
    target.unlink(missing_ok=True)
    command: list[str | Path] = [python, "-m", "taemi_edge", "parity", bundle, "--json", target]
    try:
        run(command, _MOST_S, variables=_quiet(bundle))
    except ToolError as error:
        return {"problem": str(error)}
    stages = json.loads(target.read_text(encoding="utf-8"))["stages"]
    return {
        stage["stage"]: {"max_abs": stage["max_abs"], "limit": stage["tolerance"]["max_abs"], "ok": stage["ok"]}
        for stage in stages
    }


def run_of(python: Path, bundle: Path, work: Path) -> dict[str, Any]:
    """`run` of a bundle on the first seconds of the clip that comes along: how far apart there and here are."""
    clip = work / "clip.mp4"
    cut(_ASSETS / "demo.mp4", clip, _CLIP_S)
    there, here = (work / f"{bundle.name}-{place}.jsonl" for place in ("there", "here"))
    for interpreter, target in ((python, there), (Path(sys.executable), here)):
        words: list[str | Path] = [
            interpreter,
            "-m",
            "taemi_edge",
            "run",
            bundle,
            clip,
            "--transcript",
            _ASSETS / "demo.vtt",
        ]
        try:
            run([*words, "--hop", str(_HOP_S), "--output", target], _MOST_S, variables=_quiet(bundle))
        except ToolError as error:
            return {"problem": str(error)}
    return compared(_predictions(there), _predictions(here))


def compared(there: list[dict[str, Any]], here: list[dict[str, Any]]) -> dict[str, Any]:
    """How far apart the predictions of two machines are, and a problem where that is too far.

    >>> line = {"intensities": {"joy": 0.5}, "presence": {"audio": "live"}}
    >>> compared([line], [line])
    {'predictions': 1, 'largest_difference': 0.0, 'limit': 0.0001}
    """
    result: dict[str, Any] = {"predictions": len(there)}
    if len(there) != len(here) or not there:
        return result | {"problem": f"{len(there)} predictions there, {len(here)} here"}
    if [line["presence"] for line in there] != [line["presence"] for line in here]:
        return result | {"problem": "other streams were live there than here"}
    apart = max(
        abs(value - b["intensities"][name])
        for a, b in zip(there, here, strict=True)
        for name, value in a["intensities"].items()
    )
    result |= {"largest_difference": round(apart, 6), "limit": MOST_APART}
    return result if apart <= MOST_APART else result | {"problem": f"outputs differ by {apart:g}"}


def cut(source: Path, target: Path, seconds: float) -> None:
    """Copy the beginning of a clip, packet by packet."""
    with av.open(str(source)) as whole, av.open(str(target), "w") as part:
        streams = {stream.index: part.add_stream_from_template(stream) for stream in whole.streams}
        for packet in whole.demux():
            if packet.dts is not None and packet.pts * packet.time_base < seconds:
                packet.stream = streams[packet.stream.index]
                part.mux(packet)


def _predictions(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def _quiet(bundle: Path) -> dict[str, str]:
    """Threads that wait without spinning, and a cache of its own."""
    return {"OMP_NUM_THREADS": "1", "TAEMI_EDGE_CACHE": str(bundle.parent / "cache")}
