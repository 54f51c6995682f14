"""Examines a machine for `taemi-edge doctor`: what works, what does not, and what the user can type to mend it.

Nothing on the machine is changed. All files are read under a root folder, so that tests can examine the files of a
Jetson on another machine.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from taemi_edge.cli.gpu_findings import (
    GRAPHS_SCRIPT,
    PYCUDA_SCRIPT,
    Finding,
    Status,
    graphs_finding,
    pycuda_finding,
    tensorrt_finding,
)
from taemi_edge.engines.known_versions import jetpack_of
from taemi_edge.errors import in_one_line
from taemi_edge.pages import page
from taemi_edge.runtime.processor import features
from taemi_edge.runtime.tensorrt.machine import device_model

_MIN_MEMORY_GB, _MIN_DISK_GB = 1.0, 2.0
_L4T = re.compile(r"R(\d{1,3})\s*\(release\),\s*REVISION:\s*([\d.]{1,20})")
#: The compute capability of each Jetson's chip, by its name in the device tree.
_CHIPS = {"tegra234": "8.7", "tegra264": "11.0"}
#: What a processor has for products of bytes, in words of Linux.
_FOR_INTEGERS = ("avx2", "avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm", "sve")
#: Tries a product in a process of its own: an ONNX Runtime that does not fit this processor may end it.
EXACT_SCRIPT = "from taemi_edge.runtime.processor import kernels_are_exact as exact; print(exact())"
_ELEMENTS = ("appsink", "decodebin", "rtspsrc", "videoconvert", "v4l2src", "alsasrc", "pulsesrc")
_JETSON_ELEMENTS = ("nvv4l2decoder", "nvvidconv")
_EXTRAS = {
    "pictures": ("opencv-python-headless",),
    "text": ("tokenizers",),
    "serve": ("starlette", "uvicorn", "websockets", "prometheus-client"),
    "mqtt": ("paho-mqtt",),
    "zenoh": ("eclipse-zenoh", "rosbags"),
    "asr": ("faster-whisper",),
    "plot": ("matplotlib",),
    "export": ("torch", "onnx", "transformers"),
    "remote": ("pyarrow",),
    "ray": ("ray",),
}


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All findings, and the devices on which bundles can run here."""

    findings: tuple[Finding, ...]
    runs_on: dict[str, bool]

    @property
    def ok(self) -> bool:
        """Whether no finding is a problem."""
        return not any(finding.status == "problem" for finding in self.findings)


@dataclass(frozen=True)
class MachineProbe:
    """How the machine is examined: by files under `root`, and by what programs print.

    Attributes:
        root: the folder that stands for "/".
        run: runs a program and returns what it printed; None where it is not installed, fails or hangs.
    """

    root: Path = Path("/")
    run: Callable[[Sequence[str]], str | None] = lambda words: _answer(words)

    def text(self, path: str) -> str | None:
        """The content of a file under `root`; None where it cannot be read."""
        try:
            return (self.root / path.lstrip("/")).read_text(encoding="utf-8", errors="replace").strip("\0\n ")
        except OSError:
            return None

    @property
    def is_jetson(self) -> bool:
        """Whether NVIDIA's L4T is installed."""
        return self.text("/etc/nv_tegra_release") is not None


def examine(machine: MachineProbe | None = None) -> Report:
    """Make every check.

    Args:
        machine: how the machine is examined; this machine by default.

    Returns:
        The findings in the order in which `taemi-edge doctor` prints them.
    """
    machine = machine or MachineProbe()
    findings = [finding for look in _LOOKS for finding in look(machine)]
    findings += [_memory(machine), _disk()]
    states = {finding.name: finding.status for finding in findings}
    return Report(
        findings=tuple(findings),
        runs_on={
            "cpu": states.get("ONNX Runtime") != "problem",
            "cuda": states.get("ONNX Runtime CUDA") == "ok",
            "tensorrt": all(states.get(name) in ("ok", "note") for name in ("TensorRT", "PyCUDA", "NVIDIA driver")),
        },
    )


def _machine(machine: MachineProbe) -> Iterator[Finding]:
    model = device_model(machine.root) or platform.machine()
    yield Finding(name="machine", status="ok", found=f"{model}, {os.cpu_count()} cores, {platform.system()}")


def _processor(machine: MachineProbe) -> Iterator[Finding]:
    """What the processor has for INT8, and whether ONNX Runtime's integer kernels add up exactly on it."""
    found = features(machine.root)
    has = [name for name in _FOR_INTEGERS if name in found.features]
    named = f"{found.name or 'unnamed'}, with {', '.join(has)}" if has else found.name or "unnamed"
    answer = (machine.run([sys.executable, "-c", EXACT_SCRIPT]) or "").strip()
    if answer not in ("True", "False"):
        yield Finding(name="processor", status="note", found=f"{named}; its integer kernels could not be tried")
        return
    if answer == "True":
        yield Finding(name="processor", status="ok", found=f"{named}; integer kernels add up exactly")
        return
    found_words = f"{named}; integer kernels saturate, as on x86 without VNNI"
    where = page("how-to/engines", "integer-sums-that-do-not-fit")
    advice = f"build-engine takes only forms of INT8 that are right all the same: see {where}"
    yield Finding(name="processor", status="note", found=found_words, advice=advice)


def _jetpack(machine: MachineProbe) -> Iterator[Finding]:
    release = machine.text("/etc/nv_tegra_release")
    if release is None:
        yield Finding(name="JetPack", status="absent", found="not a Jetson")
        return
    match = _L4T.search(release)
    if match is None:
        found = f"an unknown release: {in_one_line(release)[:80] or 'the file is empty'}"
        yield Finding(name="JetPack", status="note", found=found)
        return
    l4t = f"{match[1]}.{match[2]}".rstrip(".")
    jetpack = _jetpack_version(machine)
    if int(match[1]) < 36:
        advice = "its Python is 3.8, which is too old: flash JetPack 6 or newer"
        yield Finding(name="JetPack", status="problem", found=f"{jetpack or '5 or older'} (L4T {l4t})", advice=advice)
        return
    yield Finding(name="JetPack", status="ok", found=f"{jetpack or 'unknown'} (L4T {l4t})")


def _python(machine: MachineProbe) -> Iterator[Finding]:
    version = platform.python_version()
    in_venv = sys.prefix != sys.base_prefix
    found = f"{version} at {sys.prefix}{' (venv)' if in_venv else ''}"
    supported = (3, 10) <= sys.version_info[:2] <= (3, 12)
    advice = "" if supported else "JetPack and the tests have 3.10 to 3.12: make a venv of one of them"
    yield Finding(name="Python", status="ok" if supported else "note", found=found, advice=advice)
    if not in_venv or not machine.is_jetson:
        return
    places = [machine.root / f"usr/lib/python3{minor}/dist-packages" for minor in ("", f".{sys.version_info.minor}")]
    hidden = any((place / "tensorrt").is_dir() for place in places) and _version_of("tensorrt") is None
    if not hidden:
        yield Finding(name="JetPack's packages", status="ok", found="visible in this venv")
        return
    config = Path(sys.prefix) / "pyvenv.cfg"
    yield Finding(
        name="JetPack's packages",
        status="problem",
        found="TensorRT is installed, and this venv does not see it",
        advice=f"sed -i 's/^include-system-site-packages.*/include-system-site-packages = true/' {config}",
    )


def _tensorrt(machine: MachineProbe) -> Iterator[Finding]:
    version = machine.run([sys.executable, "-c", "import tensorrt; print(tensorrt.__version__)"])
    if version is None:
        installed = _version_of("tensorrt")
        if installed:
            advice = f"{sys.executable} -c 'import tensorrt'   # shows why"
            yield Finding(
                name="TensorRT", status="problem", found=f"{installed} is installed and fails to load", advice=advice
            )
            return
        advice = "sudo apt-get install python3-libnvinfer" if machine.is_jetson else ""
        status: Status = "problem" if machine.is_jetson else "absent"
        yield Finding(name="TensorRT", status=status, found="not installed", advice=advice)
        return
    device = device_model(machine.root) if machine.is_jetson else ""
    yield tensorrt_finding(version, _compute_capability(machine), _jetpack_version(machine), device)


def _cuda(machine: MachineProbe) -> Iterator[Finding]:
    driver = machine.text("/proc/driver/nvidia/version") or machine.text("/sys/module/nvidia/version")
    gpus = machine.run(["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"])
    found = gpus or (driver.splitlines()[0][:100] if driver else None)
    if found:
        yield Finding(name="NVIDIA driver", status="ok", found=found)
    else:
        yield Finding(name="NVIDIA driver", status="absent", found="no NVIDIA GPU that a driver drives")
    toolkit = _toolkit(machine.text("/usr/local/cuda/version.json"))
    if toolkit:
        yield Finding(name="CUDA", status="ok", found=toolkit)
    else:
        yield Finding(name="CUDA", status="absent", found="no toolkit in /usr/local/cuda")
    yield pycuda_finding(machine.run([sys.executable, "-c", PYCUDA_SCRIPT]), toolkit, found is not None)
    yield graphs_finding(machine.run([sys.executable, "-c", GRAPHS_SCRIPT]), toolkit, found is not None)


def _onnxruntime(machine: MachineProbe) -> Iterator[Finding]:
    both = [name for name in ("onnxruntime", "onnxruntime-gpu") if _version_of(name)]
    script = "import onnxruntime as o; print(o.__version__, *o.get_available_providers())"
    answer = machine.run([sys.executable, "-c", script])
    if answer is None:
        found, advice = "cannot be imported", "pip install --force-reinstall onnxruntime"
        if _shows_another_processor(machine):
            found = (
                "cannot be imported: /proc/cpuinfo names no ARM processor, on which ONNX Runtime 1.28 and later crash"
            )
            advice = "QEMU 8.1 or later shows the emulated one; or pip install 'onnxruntime<1.28'"
        yield Finding(name="ONNX Runtime", status="problem", found=found, advice=advice)
        return
    version, *providers = answer.split()
    if len(both) == 2:
        advice = "pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu"
        yield Finding(name="ONNX Runtime", status="problem", found="two builds overwrite each other", advice=advice)
    else:
        yield Finding(name="ONNX Runtime", status="ok", found=version)
    has_cuda = "CUDAExecutionProvider" in providers
    yield Finding(
        name="ONNX Runtime CUDA",
        status="ok" if has_cuda else "absent",
        found="there" if has_cuda else "not in this build",
    )


def _shows_another_processor(machine: MachineProbe) -> bool:
    """Whether an ARM machine hides its processor: under QEMU before 8.1, /proc/cpuinfo is that of the host."""
    return platform.machine() in ("aarch64", "arm64") and "CPU implementer" not in (machine.text("/proc/cpuinfo") or "")


def _extras(_machine: MachineProbe) -> Iterator[Finding]:
    for extra, packages in _EXTRAS.items():
        missing = [package for package in packages if _version_of(package) is None]
        if missing:
            advice = f"pip install 'taemi-edge[{extra}]'"
            yield Finding(name=f"extra {extra}", status="absent", found=f"without {', '.join(missing)}", advice=advice)
        else:
            yield Finding(name=f"extra {extra}", status="ok", found="installed")


def _gstreamer(machine: MachineProbe) -> Iterator[Finding]:
    version = machine.run(["gst-inspect-1.0", "--version"])
    if version is None:
        advice = "sudo apt-get install gstreamer1.0-tools gstreamer1.0-plugins-good gstreamer1.0-plugins-bad"
        yield Finding(name="GStreamer", status="absent", found="no gst-inspect-1.0", advice=advice)
        return
    wanted = (*_ELEMENTS, *(_JETSON_ELEMENTS if machine.is_jetson else ()))
    missing = [name for name in wanted if machine.run(["gst-inspect-1.0", "--exists", name]) is None]
    found = version.splitlines()[0].removeprefix("gst-inspect-1.0 ")
    if missing:
        advice = "sudo apt-get install gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-pulseaudio"
        advice = "sudo apt-get install nvidia-l4t-gstreamer" if set(missing) & set(_JETSON_ELEMENTS) else advice
        yield Finding(name="GStreamer", status="note", found=f"{found}, without {', '.join(missing)}", advice=advice)
    else:
        yield Finding(name="GStreamer", status="ok", found=f"{found}, with {', '.join(wanted)}")
    from taemi_edge.live.capture.gst_reader import BINDINGS, find_gst_python

    python = find_gst_python()
    status: Status = "ok" if python else "note"
    yield Finding(name="GStreamer's Python", status=status, found=python or "none", advice="" if python else BINDINGS)


def _devices(machine: MachineProbe) -> Iterator[Finding]:
    cameras = sorted(machine.root.glob("dev/video*"))
    shut = [str(camera) for camera in cameras if not os.access(camera, os.R_OK | os.W_OK)]
    if shut:
        advice = "sudo usermod -aG video $USER   # then log in again"
        yield Finding(name="cameras", status="problem", found=f"no permission for {', '.join(shut)}", advice=advice)
    else:
        found = ", ".join(f"/dev/{camera.name}" for camera in cameras) or "none"
        yield Finding(name="cameras", status="ok" if cameras else "absent", found=found)
    cards = re.findall(r"^\s*\d+ \[[^\]]*\]: (.+)$", machine.text("/proc/asound/cards") or "", re.MULTILINE)
    yield Finding(name="sound cards", status="ok" if cards else "absent", found=", ".join(cards) or "none")


def _power(machine: MachineProbe) -> Iterator[Finding]:
    if machine.is_jetson:
        answer = machine.run(["nvpmodel", "-q"]) or ""
        match = re.search(r"NV Power Mode:\s*(\S+)", answer)
        mode = match[1] if match else "unknown"
        best = mode.upper().startswith("MAXN")
        advice = "" if best else "sudo nvpmodel -m 0 && sudo jetson_clocks   # fastest, and hottest"
        yield Finding(name="power mode", status="ok" if best else "note", found=mode, advice=advice)
        return
    governor = machine.text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    yield Finding(
        name="power mode", status="ok" if governor else "absent", found=governor or "this machine does not say"
    )


_LOOKS: tuple[Callable[[MachineProbe], Iterator[Finding]], ...] = (
    *(_machine, _processor, _jetpack, _python, _tensorrt, _cuda, _onnxruntime, _extras, _gstreamer, _devices, _power),
)


def _memory(machine: MachineProbe) -> Finding:
    text = machine.text("/proc/meminfo") or ""
    sizes = {name: int(kb) / 1e6 for name, kb in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}
    free, total = sizes.get("MemAvailable", 0.0), sizes.get("MemTotal", 0.0)
    enough = free >= _MIN_MEMORY_GB
    advice = "" if enough else "end other programs, or `sudo systemctl set-default multi-user.target` and reboot"
    found = f"{free:.1f} of {total:.1f} GB free"
    return Finding(name="memory", status="ok" if enough else "problem", found=found, advice=advice)


def _disk() -> Finding:
    usage = shutil.disk_usage(Path.cwd())
    enough = usage.free / 1e9 >= _MIN_DISK_GB
    advice = "" if enough else "free some space: engines and their cache take a few hundred MB each"
    found = f"{usage.free / 1e9:.1f} of {usage.total / 1e9:.1f} GB free here"
    return Finding(name="disk", status="ok" if enough else "problem", found=found, advice=advice)


def _dpkg_version(machine: MachineProbe, package: str) -> str | None:
    """The version of an installed Debian package."""
    status = machine.text("/var/lib/dpkg/status") or ""
    match = re.search(rf"^Package: {re.escape(package)}\n(?:.+\n)*?Version: (\S+)", status, re.MULTILINE)
    return match[1] if match else None


def _version_of(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _toolkit(text: str | None) -> str:
    """The version of the CUDA toolkit from its version.json; "" where there is none."""
    try:
        return str(json.loads(text)["cuda"]["version"]) if text else ""
    except (ValueError, KeyError, TypeError):
        return "an unknown version"


def _jetpack_version(machine: MachineProbe) -> str:
    """The version of JetPack, from its package or else from L4T; "" where neither says."""
    match = _L4T.search(machine.text("/etc/nv_tegra_release") or "")
    known = jetpack_of(f"{match[1]}.{match[2]}") if match else None
    return _dpkg_version(machine, "nvidia-jetpack") or (known.version if known else "")


def _compute_capability(machine: MachineProbe) -> str:
    """Of the first GPU; "" where nobody says. Jetsons have theirs by their chip."""
    chips = machine.text("/proc/device-tree/compatible") or ""
    chip = next((sm for name, sm in _CHIPS.items() if name in chips), None)
    if chip is None and machine.is_jetson:
        model = device_model(machine.root)
        chip = "8.7" if "Orin" in model else "11.0" if "Thor" in model else ""
    answer = chip or machine.run(["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]) or ""
    first = (answer.splitlines() or [""])[0].strip()
    return first if re.fullmatch(r"\d{1,2}\.\d", first) else ""


def _answer(words: Sequence[str]) -> str | None:
    """What a program printed; None where it is not installed, fails or hangs."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
