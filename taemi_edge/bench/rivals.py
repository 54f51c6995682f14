"""Opens the contenders of a benchmark: the bundle itself, and the rivals that can run here."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from taemi_edge.bench.calibration_feeds import write_calibration_feeds
from taemi_edge.bench.contender import UNCAPTURED, Contender, Uncaptured
from taemi_edge.bench.options import BenchOptions
from taemi_edge.bench.report import OURS
from taemi_edge.bench.worker import ContenderName, Opening
from taemi_edge.bundle.folder import MANIFEST, Bundle, open_bundle, read_manifest
from taemi_edge.bundle.graph_source import find_graphs
from taemi_edge.bundle.spec import Manifest
from taemi_edge.bundle.values import HEAD
from taemi_edge.errors import BundleError, UsageError
from taemi_edge.progress import SILENT, Progress
from taemi_edge.runtime.sessions import Device, device_of


def open_contenders(
    stack: ExitStack, bundle: Bundle, options: BenchOptions, scratch: Path, progress: Progress = SILENT
) -> tuple[dict[str, Contender], dict[str, str]]:
    """Open the bundle itself and its rivals.

    Args:
        stack: ends the contenders' processes.
        scratch: a folder for their logs, and for what they are calibrated on.
        progress: receives how many clips are read for that.

    Returns:
        The contenders by name, the bundle first; and why each of the others cannot run.

    Raises:
        UsageError: the bundle itself cannot run here, or the model that the options name cannot be loaded.
        CalibrationError, InputError: the corpus that the options name cannot be calibrated on.
    """
    device = options.device or device_of(bundle)
    folder = str(bundle.folder.resolve())
    opened: dict[str, Contender] = {}
    opening = Opening(contender="runtime", bundle=folder, device=device, threads=options.threads)
    opened[OURS] = stack.enter_context(Contender(OURS, opening, sys.executable, scratch / "ours.log"))
    if opened[OURS].described.get("graphs") == "captured":
        opened[UNCAPTURED] = Uncaptured(opened[OURS])
    not_run: dict[str, str] = {}
    calibration = _write_calibration(bundle, options, scratch, progress)
    for index, (name, opening) in enumerate(_rivals(bundle, options, device, calibration)):
        is_torch = opening.contender.startswith("torch")
        if is_torch and not (opening.model or opening.checkpoint):
            not_run[name] = _without_torch(bundle)
            continue
        try:
            contender = Contender(name, opening, options.python, scratch / f"rival-{index}.log")
        except (UsageError, OSError) as error:
            if is_torch and opening.model:
                raise UsageError(str(error)) from error
            if str(error) not in not_run.values():  # a library that is not installed is named once
                not_run[name] = str(error)
            continue
        opened[name] = stack.enter_context(contender)
    return opened, not_run


def _write_calibration(bundle: Bundle, options: BenchOptions, scratch: Path, progress: Progress) -> str:
    """Write what OpenVINO's own INT8 is calibrated on, where that is wanted; give the folder, else an empty string."""
    is_lacking = options.python == sys.executable and find_spec("nncf") is None
    if options.data is None or is_lacking:  # the contender then says which package it needs
        return ""
    graphs = graphs_of(bundle)
    exported = open_bundle(_first_folder(bundle if graphs == bundle.folder else open_bundle(graphs)))
    if other := [part for part, spec in exported.manifest.parts.items() if spec.precision != "fp32"]:
        raise UsageError(
            f"--data: expected {exported.folder} to come from an exported bundle in FP32 that lies here, for clips are "
            f"encoded by it, but its {other[0]} is {exported.manifest.parts[other[0]].precision}"
        )
    folder = scratch / "calibration"
    folder.mkdir()
    write_calibration_feeds(exported, options.data, folder, progress)
    return str(folder)


def _rivals(
    bundle: Bundle, options: BenchOptions, device: Device, calibration: str = ""
) -> Iterator[tuple[str, Opening]]:
    graphs = graphs_of(bundle)
    checkpoint, is_random = _checkpoint_of(bundle, options)
    low = any(bundle.manifest.parts[part].precision != "fp32" for part in bundle.manifest.part_names)
    on_gpu = device != "cpu"
    for rival in options.against if options.against is not None else _usual_rivals(options, on_gpu):
        common: dict[str, Any] = {
            "contender": rival,
            "bundle": str(bundle.folder.resolve()),
            "graphs": str(graphs.resolve()),
            "checkpoint": checkpoint,
            "model": options.model or "",
            "random_weights": is_random,
            "threads": options.threads,
            "device": "cuda" if on_gpu else "cpu",
        }
        if rival.startswith("openvino"):
            yield from _openvinos(common, calibration)
            continue
        if rival.startswith("torch"):
            precision = "fp16" if low and on_gpu else "fp32"
            yield f"{rival} {precision}", Opening(**common, precision=precision)
            continue
        yield f"{rival} fp32", Opening(**common, precision="fp32")
        if rival == "onnxruntime-cuda" and low:
            yield f"{rival} fp16", Opening(**common, precision="fp16")


def _openvinos(common: Mapping[str, Any], calibration: str) -> Iterator[tuple[str, Opening]]:
    """OpenVINO in FP32 and as it computes by itself; or in INT8, from the bundle's own Q/DQ graphs and by NNCF."""
    if common["contender"] == "openvino":
        yield "openvino fp32", Opening(**common, precision="fp32")
        yield "openvino default", Opening(**common, precision="default")
        return
    if "int8" in read_manifest(Path(common["graphs"])).graphs.get(HEAD, {}):
        yield "openvino int8", Opening(**common, precision="int8")
    yield "openvino nncf", Opening(**common, precision="nncf", calibration=calibration)


def _usual_rivals(options: BenchOptions, on_gpu: bool) -> list[ContenderName]:
    """The rivals that a machine probably has.

    `torch-compile` on the CPU is left out: it needs a compiler, and takes minutes. OpenVINO is asked for by its name.
    """
    elsewhere = options.python != sys.executable
    chosen: list[ContenderName] = ["onnxruntime-cpu"]
    chosen += ["onnxruntime-cuda"] if on_gpu else []
    if elsewhere or find_spec("torch"):
        chosen += ["torch-eager", "torch-compile"] if on_gpu else ["torch-eager"]
    return chosen


def graphs_of(bundle: Bundle) -> Path:
    """The folder of the ONNX graphs: for engines the bundle that they were built from, else the bundle itself."""
    try:
        return find_graphs(bundle)
    except BundleError:
        return bundle.folder


def _checkpoint_of(bundle: Bundle, options: BenchOptions) -> tuple[str, bool]:
    """The checkpoint or recipe that a bundle was exported from, and whether its weights are random.

    A bundle that was made from another bundle leads back to that one. Empty for a declared model: its code runs only
    where the user names it.
    """
    manifest = _first_manifest(bundle)
    if options.model is not None or (options.checkpoint is None and manifest.provenance.was_declared):
        return "", False
    checkpoint = options.checkpoint or manifest.provenance.source
    is_random = "random" in " ".join(manifest.provenance.weights.values())
    return checkpoint, is_random and not os.path.isdir(checkpoint)


def _without_torch(bundle: Bundle) -> str:
    """Why a bundle is not timed in PyTorch, and what to type."""
    source = _first_manifest(bundle).provenance.source
    if source.endswith(".toml"):
        return f"{source} declares ONNX files, which have no PyTorch module"
    return f"it needs the model's code: pass --model {source if ':' in source else 'FILE.py:FUNCTION'} to run it"


def _first_manifest(bundle: Bundle) -> Manifest:
    """The manifest of the first bundle that a bundle was made from, as far as these lie here."""
    folder = _first_folder(bundle)
    return bundle.manifest if folder == bundle.folder else read_manifest(folder)


def _first_folder(bundle: Bundle) -> Path:
    """The folder of the first bundle that a bundle was made from, as far as these lie here."""
    manifest, folder, seen = bundle.manifest, bundle.folder, {""}
    while (source := manifest.provenance.source) not in seen and os.path.isfile(Path(source, MANIFEST)):
        manifest, folder = read_manifest(Path(source)), Path(source)
        seen.add(source)
    return folder
