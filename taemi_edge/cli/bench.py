"""The command `bench`, which times a bundle beside what people use otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from taemi_edge.cli.options import (
    BundleArgument,
    DeviceOption,
    JsonOption,
    ThreadsOption,
    command_line,
    device_name,
    key_and_value,
    save_json,
    whole_number,
)
from taemi_edge.cli.progress import shown_progress
from taemi_edge.errors import UsageError

_Report = TypeVar("_Report")

#: Options whose names in `BenchOptions` are others.
_OPTIONS = {"python": "rivals-python"}

_AgainstOption = Annotated[
    list[str] | None,
    typer.Option(
        "--against",
        metavar="RIVAL",
        help="onnxruntime-cpu, onnxruntime-cuda, openvino, openvino-int8, torch-eager, torch-compile or none; "
        "repeatable  [default: ONNX Runtime and PyTorch, as far as they can run here]",
    ),
]
_RivalsPythonOption = Annotated[
    str | None,
    typer.Option(
        "--rivals-python", metavar="P", help="The Python interpreter that has the rivals, where it is another one."
    ),
]
_CheckpointOption = Annotated[
    str | None,
    typer.Option(
        "--checkpoint",
        metavar="C",
        help="The TAEMI checkpoint to time in PyTorch  [default: what the bundle was made from]",
    ),
]
_ModelOption = Annotated[
    str | None,
    typer.Option("--model", metavar="F.py:FUNCTION", help="A declared model in PyTorch; its code is run."),
]
_DataOption = Annotated[
    Path | None,
    typer.Option("--data", metavar="CORPUS", help="Clips or samples that openvino-int8 calibrates its own INT8 on."),
]
_BatchOption = Annotated[
    list[str] | None, typer.Option("--batch", metavar="PART=N", help="Time a part at this batch too; repeatable.")
]
_HostOption = Annotated[
    bool,
    typer.Option(
        "--host",
        help="Time the host's part of a hop alone, on a device that does nothing; needs no GPU. With it go --sources, "
        "--runs, --json and --plot.",
    ),
]
_SweepOption = Annotated[
    bool,
    typer.Option(
        "--sweep",
        help="Time how a hop's cost grows with window, hop, sources and threads. With it go --sources, --runs, "
        "--device, --threads, --unverified, --json and --plot.",
    ),
]
_SourcesOption = Annotated[
    str | None,
    typer.Option(
        "--sources",
        metavar="N,N",
        help="How many sources share a call, one after another.  [default: 1,2,4; with --host 1,4,8,16; with --sweep "
        "1,2,4,8,16]",
    ),
]
_RunsOption = Annotated[
    int | None,
    typer.Option(
        "--runs",
        min=5,
        help="How often each thing is timed, in five turns; with --host or --sweep, how many hops.  [default: 50; with "
        "--host 320; with --sweep 30]",
    ),
]
_AllPatternsOption = Annotated[
    bool,
    typer.Option("--all-patterns", help="Time all presence patterns, also of models with more than three streams."),
]
_UnverifiedOption = Annotated[bool, typer.Option("--unverified", help="Also time engines that parity has not passed.")]
_PlotOption = Annotated[
    Path | None, typer.Option("--plot", metavar="F.png", help="Draw contenders, patterns, limits and sources.")
]


def bench(
    bundle: BundleArgument,
    host: _HostOption = False,
    sweep: _SweepOption = False,
    against: _AgainstOption = None,
    rivals_python: _RivalsPythonOption = None,
    checkpoint: _CheckpointOption = None,
    model: _ModelOption = None,
    data: _DataOption = None,
    batch: _BatchOption = None,
    all_patterns: _AllPatternsOption = False,
    sources: _SourcesOption = None,
    runs: _RunsOption = None,
    device: DeviceOption = None,
    threads: ThreadsOption = 1,
    unverified: _UnverifiedOption = False,
    json_file: JsonOption = None,
    plot: _PlotOption = None,
) -> None:
    """Time a bundle beside ONNX Runtime, OpenVINO and PyTorch: parts, hops by presence pattern, sources, limits."""
    from taemi_edge.pictures import check_plot_file

    check_plot_file(plot)
    counts = None if sources is None else tuple(whole_number(number, "--sources") for number in sources.split(","))
    on_device = {"threads": threads, "device": device_name(device), "unverified": unverified}
    rivals = {"against": against, "python": rivals_python, "checkpoint": checkpoint, "model": model, "data": data}
    if host or sweep:
        _refuse_beside(host, {**rivals, "batch": batch, "all_patterns": all_patterns})
    if host:
        _refuse_beside(host, {**on_device, "threads": threads != 1, "sweep": sweep})
        _bench_host(bundle, {"sources": counts, "hops": runs}, json_file, plot)
    elif sweep:
        _bench_sweep(bundle, {**on_device, "sources": counts, "runs": runs}, json_file, plot)
    else:
        timed = {"batches": _batches(batch or ()), "all_patterns": all_patterns, "sources": counts, "runs": runs}
        _compare(bundle, {**rivals, **on_device, **timed}, json_file, plot)


def _compare(bundle: Path, given: Mapping[str, Any], json_file: Path | None, plot: Path | None) -> None:
    """Time a bundle and its rivals.

    Args:
        given: the options that were given, by the names of `BenchOptions`; None where the default holds.
    """
    from taemi_edge.bench.compare import run_bench
    from taemi_edge.bench.options import BenchOptions, rivals_from
    from taemi_edge.cli.bench_report import plot_bench, print_bench

    chosen = {**given, "against": rivals_from(given["against"] or ())}
    options = BenchOptions(**_set(chosen))
    report = _timed(run_bench, bundle, options)
    print_bench(report)
    _save(report, json_file, plot, plot_bench)


def _bench_host(bundle: Path, given: Mapping[str, Any], json_file: Path | None, plot: Path | None) -> None:
    """Time the host alone.

    Args:
        given: the options that were given, by the names of `HostOptions`; None where the default holds.
    """
    from taemi_edge.bench.host.measure import run_host_bench
    from taemi_edge.bench.host.report import HostOptions
    from taemi_edge.cli.bench_host import plot_host, print_host

    options = HostOptions(**_set(given))
    report = _timed(run_host_bench, bundle, options)
    print_host(report)
    _save(report, json_file, plot, lambda report, file: plot_host({"now": report}, file))


def _bench_sweep(bundle: Path, given: Mapping[str, Any], json_file: Path | None, plot: Path | None) -> None:
    """Time how the cost of a hop grows.

    Args:
        given: the options that were given, by the names of `SweepOptions`; None where the default holds.
    """
    from taemi_edge.bench.sweep import SweepOptions, run_sweep
    from taemi_edge.cli.bench_sweep import plot_sweep, print_sweep

    options = SweepOptions(**_set(given))
    report = _timed(run_sweep, bundle, options)
    print_sweep(report)
    _save(report, json_file, plot, plot_sweep)


def _set(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given; the others have their defaults."""
    return {name: value for name, value in given.items() if value is not None}


def _timed(run: Callable[..., _Report], bundle: Path, options: object) -> _Report:
    """Run a benchmark with a progress bar."""
    with shown_progress() as progress:
        return run(bundle, options, command_line(), progress)


def _save(report: _Report, json_file: Path | None, plot: Path | None, draw: Callable[[_Report, Path], object]) -> None:
    """Write what was measured to the files that were named."""
    save_json(json_file, report)
    if plot is not None:
        draw(report, plot)


def _refuse_beside(host: bool, options: Mapping[str, Any]) -> None:
    """Refuse options that --host or --sweep has no use for, by their values; one that was not given is empty."""
    if other := [_OPTIONS.get(name, name.replace("_", "-")) for name, value in options.items() if value]:
        beside = "--sources, --runs, --json and --plot beside --host, which runs nothing on a device"
        if not host:
            beside = (
                "--sources, --runs, --device, --threads, --unverified, --json and --plot beside --sweep, which times "
                "the bundle alone"
            )
        raise UsageError(f"--{other[0]}: expected only {beside}: leave it out")


def _batches(given: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """The batches of each part that `--batch` names.

    >>> _batches(["vision=4", "audio=2", "vision=8"])
    {'vision': (4, 8), 'audio': (2,)}
    """
    batches: dict[str, tuple[int, ...]] = {}
    for part, number in (key_and_value(text, "--batch", "PART=N") for text in given):
        batches[part] = (*batches.get(part, ()), whole_number(number, "--batch"))
    return batches
