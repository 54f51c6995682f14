"""`python -m tools.aarch64`; the package's own text says what it shows."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from taemi_edge.errors import TaemiError

from . import __doc__ as about
from .machine_root import ROOT_SUITE, MachineRoot, ToolError, make_machine_root, run
from .runs import doctor_of, parity_of, run_of

#: The processor of the runs: it has the instructions of Orin's Cortex-A78AE, which QEMU 10 does not know by name.
RUNS_ON = "cortex-a76"
#: Processors of the operators, by the instructions that decide which kernels multiply bytes.
PROCESSORS = {
    "cortex-a57": "no dot product",
    RUNS_ON: "dot product, as Orin's cores have",
    "neoverse-n2": "dot product, i8mm, bf16, SVE2",
    "max": "all of these and SME",
}
#: A processor of x86 that adds pairs of products in 16 bits: it shows that the cases find a wrong sum.
WITHOUT_VNNI, CONTROL = "Haswell", "MatMulInteger U8S8"
#: What ONNX Runtime 1.32 is known to compute otherwise, by processor, as a pattern of cases. On ARM, weights of -128
#: overflow in convolutions channel by channel, and without a dot product in all products; ties go away from zero. With
#: SME, DynamicQuantizeMatMul quantises each row by itself, and takes unsigned weights for signed ones.
ON_ARM = r"depthwise.* with -128$|at ties$"
KNOWN = {
    "cortex-a57": r" with -128|at ties$",
    "max": rf"{ON_ARM}|^DynamicQuantizeMatMul U8",
    WITHOUT_VNNI: r" U8S8( with -128)?( tail)?$",
}
KNOWN_APART = ("max", "int8-dynamic")
#: How close integer kernels must come to a graph as written: a value that another kernel adds in another order falls on
#: the other side of a rounding here and there, which a Transformer carries on. A saturated sum is far below.
LEAST_PEARSON = 0.995
STEPS = ("operators", "tiny", "mobile", "int8")
_GUEST = Path(__file__).with_name("guest.py")
_TAEMI = [sys.executable, "-m", "taemi_edge"]


def main(words: Sequence[str] | None = None) -> int:
    """Make the machine, run the steps and write the record.

    Returns:
        0 where all agreed, 1 where something did not, 2 where something is missing here.
    """
    given = _parser().parse_args(words)
    steps = given.only or STEPS[: 3 if given.calibrated is None else 4]
    if "int8" in steps and given.calibrated is None:
        print("aarch64: expected --calibrated BUNDLE for the step int8, found none", file=sys.stderr)
        return 2
    try:
        given.work.mkdir(parents=True, exist_ok=True)
        print(f"aarch64: making the machine in {given.work}")
        machine = make_machine_root(given.work)
        record = _read(given.output)
        record |= _header(machine)
        for step in steps:
            print(f"aarch64: {step}")
            began = time.monotonic()
            record[step] = _carry_out(step, machine, given) | {"emulated": True}
            record[step]["took_s_emulated"] = round(time.monotonic() - began)
            given.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    except (ToolError, TaemiError, OSError) as error:
        print(f"aarch64: {error}", file=sys.stderr)
        return 2
    bad = [problem for step in steps for problem in record[step]["problems"]]
    print("\n".join(f"aarch64: {problem}" for problem in bad) or f"aarch64: all agrees; see {given.output}")
    return 1 if bad else 0


def _carry_out(step: str, machine: MachineRoot, given: argparse.Namespace) -> dict[str, Any]:
    if step == "operators":
        return _operators(machine)
    if step == "int8":
        return _int8(machine, given.calibrated)
    bundle = _exported(f"taemi-{step}", given.work)
    python = machine.python_on(RUNS_ON)
    results: dict[str, Any] = {
        "processor": RUNS_ON,
        "parity": parity_of(python, bundle),
        "run": run_of(python, bundle, given.work),
    }
    if step == "tiny":
        results["doctor"] = doctor_of(python)
    problems = [f"{step}: {name}: {result['problem']}" for name, result in results.items() if "problem" in result]
    return results | {"problems": problems}


def _int8(machine: MachineRoot, bundle: Path) -> dict[str, Any]:
    """The INT8 graphs of a bundle on every kind of ARM processor, against the graphs as written."""
    from .int8_parts import write_int8_parts

    with tempfile.TemporaryDirectory() as cases:
        write_int8_parts(bundle, Path(cases))
        told = {
            name: json.loads(run([machine.python_on(name), _GUEST, cases, "--close"], 3000))["operators"]
            for name in PROCESSORS
        }
    return {"bundle": bundle.name, "parts": told, "problems": too_far(told)}


def too_far(told: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[str]:
    """The INT8 graphs that are not close to what is written and not known to be so; each a line."""
    return [
        f"{part} on {name}: Pearson {found['pearson']}"
        for name, parts in told.items()
        for part, found in parts.items()
        if not found["pearson"] >= LEAST_PEARSON and (name, part.partition(".")[2]) != KNOWN_APART
    ]


def _exported(recipe: str, work: Path) -> Path:
    """The bundle of a recipe: exported here where it is not there yet."""
    bundle = work / recipe
    if not (bundle / "manifest.json").is_file():
        run([*_TAEMI, "export", recipe, "--output", bundle])
    return bundle


def _operators(machine: MachineRoot) -> dict[str, Any]:
    """Every operator on every kind of processor; on x86 also on one without VNNI, which shows what a wrong sum is."""
    from .operators import write_cases

    pythons: dict[str, list[str | Path]] = {name: [machine.python_on(name)] for name in PROCESSORS}
    if os.uname().machine == "x86_64":
        pythons[WITHOUT_VNNI] = [machine.emulator("x86_64"), "-cpu", WITHOUT_VNNI, sys.executable]
    with tempfile.TemporaryDirectory() as cases:
        write_cases(Path(cases))
        told = {name: json.loads(run([*python, _GUEST, cases])) for name, python in pythons.items()}
    machines = {name: answer["machine"] for name, answer in told.items()}
    liars = [name for name, told_of in machines.items() if told_of["features"] != told_of["features_in_cpuinfo"]]
    problems = [f"{name}: /proc/cpuinfo names other features than the kernel" for name in liars]
    names = next(iter(told.values()))["operators"]
    table = {case: {name: answer["operators"][case] for name, answer in told.items()} for case in names}
    if table[CONTROL].get(WITHOUT_VNNI) == "exact":
        problems.append(f"{CONTROL} is exact on {WITHOUT_VNNI}: the cases find no wrong sum")
    return {"processors": PROCESSORS, "machines": machines, "table": table, "problems": problems + unexpected(table)}


def unexpected(table: Mapping[str, Mapping[str, str]]) -> list[str]:
    """What is not exact and not known to be so; each a line.

    >>> unexpected({"QGemm U8S8": {"cortex-a76": "off by 1", "Haswell": "off by 94"}})
    ['QGemm U8S8 on cortex-a76: off by 1']
    """
    return [
        f"{case} on {name}: {outcome}"
        for case, outcomes in table.items()
        for name, outcome in outcomes.items()
        if outcome != "exact" and not re.search(KNOWN.get(name, ON_ARM), case)
    ]


def _header(machine: MachineRoot) -> dict[str, Any]:
    return {
        "what": "results of an emulated arm64 machine; times under emulation say nothing about a real one",
        "emulated": True,
        "command": shlex.join(["python", *sys.orig_argv[1:]]),
        "date": date.today().isoformat(),
        "emulator": f"qemu-user {machine.emulator_version}",
        "root": f"Debian {ROOT_SUITE} arm64, with the wheels of requirements/locks/device-cp311.txt",
    }


def _read(file: Path) -> dict[str, Any]:
    """An earlier record, of which the steps that are not run again stay."""
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.aarch64", description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", choices=STEPS, help="run this step; repeatable")
    parser.add_argument(
        "--calibrated", type=Path, metavar="BUNDLE", help="with INT8 for processors: runs the step int8"
    )
    parser.add_argument("--work", type=Path, default=Path("runs/aarch64"), help="where the machine is made")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/aarch64.json"), help="the record")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
