"""What `taemi-edge doctor` says of the versions of TensorRT, PyCUDA and cuda-bindings: a sentence for each.

The versions are asked of the packages themselves, in a process of their own: some crash where they do not fit.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from taemi_edge.engines.known_versions import known_troubles, tensorrt_11_on, version_tuple
from taemi_edge.errors import in_one_line

#: "ok": as it should be. "absent": not installed, and not needed. "note": worth knowing. "problem": bundles cannot run.
Status = Literal["ok", "absent", "note", "problem"]

#: What PyCUDA says of itself: its version, the CUDA that it was built with, and the newest that the driver knows.
PYCUDA_SCRIPT = (
    "import pycuda.driver as d, pycuda; "
    "print(pycuda.VERSION_TEXT, '.'.join(map(str, d.get_version()[:2])), d.get_driver_version())"
)
#: The version of cuda-bindings, and why it cannot be used here; one line each.
GRAPHS_SCRIPT = (
    "from importlib.metadata import version; print(version('cuda-bindings')); "
    "from taemi_edge.runtime.tensorrt.driver import load_driver; print(load_driver()[1])"
)
#: The first PyCUDA that can be built with CUDA 13.
_PYCUDA_OF_CUDA_13 = "2025.1.2"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one check; `advice` is what the user can type or do, where anything helps."""

    name: str
    status: Status
    found: str
    advice: str = ""


def tensorrt_finding(version: str, sm: str, jetpack: str, device: str) -> Finding:
    """What is known of a version of TensorRT on this machine.

    Args:
        version: as the library gives it.
        sm: the compute capability; "" where it is not known.
        jetpack: its version; "" where there is none.
        device: the model of a Jetson; "" on other machines.
    """
    troubles = list(known_troubles(version, sm))
    advice = [f"TensorRT {version} {t.what}: {t.advice} ({t.reference})" for t in troubles]
    stopped = any(trouble.stops and sm in trouble.sms for trouble in troubles)
    if device:
        on_11 = tensorrt_11_on(jetpack, device)
        if version_tuple(version)[:1] >= (11,) and on_11 != "yes":
            advice.append(
                f"TensorRT 11 is for AGX Orin and Thor with JetPack 7.2.2 or later, this is {device} with JetPack "
                f"{jetpack or 'of an unknown version'}: install the TensorRT of your JetPack"
            )
        elif version_tuple(version)[:1] < (11,) and on_11 == "yes":
            found = f"{version}; TensorRT 11.4.1 (NVIDIA's SBSA package) supports this device, too"
            return Finding(name="TensorRT", status=_status(stopped, advice), found=found, advice="; ".join(advice))
    return Finding(name="TensorRT", status=_status(stopped, advice), found=version, advice="; ".join(advice))


def pycuda_finding(answer: str | None, toolkit: str, wanted: bool) -> Finding:
    """Whether PyCUDA fits CUDA and the driver.

    Args:
        answer: of `PYCUDA_SCRIPT`; None where it failed.
        toolkit: the version of the CUDA toolkit; "" where there is none.
        wanted: whether there is a GPU.
    """
    if not answer:
        advice = f"pip install {_package(toolkit)}" if wanted else ""
        if wanted and version_tuple(toolkit)[:1] >= (13,):
            advice = f"pip install 'pycuda>={_PYCUDA_OF_CUDA_13}'   # older ones cannot be built with CUDA {toolkit}"
        return Finding(
            name="PyCUDA", status="problem" if wanted else "absent", found="cannot be imported", advice=advice
        )
    version, *more = answer.split()
    built, known = (more[0], more[1]) if len(more) == 2 and more[1].isdigit() else ("", "0")
    if int(known) and version_tuple(built)[:1] > (int(known) // 1000,):
        advice = (
            f"pip install --force-reinstall --no-cache-dir pycuda   # with the toolkit of CUDA {int(known) // 1000}"
        )
        found = f"{version} is built for CUDA {built}, and the driver knows CUDA {int(known) // 1000}"
        return Finding(name="PyCUDA", status="problem", found=found, advice=advice)
    return Finding(name="PyCUDA", status="ok", found=f"{version} for CUDA {built}" if built else version)


def graphs_finding(answer: str | None, toolkit: str, wanted: bool) -> Finding:
    """Whether cuda-bindings fits the driver, so that CUDA graphs can be captured.

    Args:
        answer: of `GRAPHS_SCRIPT`; None where it is not installed.
        toolkit: the version of the CUDA toolkit; "" where there is none.
        wanted: whether there is a GPU.
    """
    if not answer:
        advice = f"pip install {_package(toolkit)}   # without it the same calls run uncaptured" if wanted else ""
        return Finding(name="cuda-bindings", status="absent", found="not installed", advice=advice)
    version, _, problem = answer.partition("\n")
    if not problem.strip():
        return Finding(name="cuda-bindings", status="ok", found=version.strip())
    status: Status = "note" if wanted else "absent"
    return Finding(name="cuda-bindings", status=status, found=version.strip(), advice=in_one_line(problem.strip()))


def _package(toolkit: str) -> str:
    """This package with the extra that follows a version of CUDA, for pip; of an unknown one pip takes the newest."""
    extra = {"12": "jetpack6", "13": "jetpack7"}.get(toolkit.partition(".")[0], "tensorrt")
    return f"'taemi-edge[{extra}]'"


def _status(stopped: bool, advice: list[str]) -> Literal["ok", "note", "problem"]:
    return "problem" if stopped else "note" if advice else "ok"
