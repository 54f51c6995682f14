"""What `doctor` finds: on this machine, and on what a Jetson's files say ."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from taemi_edge.cli.doctor import MachineProbe, Report, examine
from taemi_edge.cli.gpu_findings import Finding
from tests.runtime.tensorrt.jetsons import AGX_ORIN_64, AGX_THOR, ORIN_NANO_8, ORIN_NX_16, Jetson


def jetson(root: Path, module: Jetson = ORIN_NANO_8, package: str = "6.2.1+b38", **answers: str) -> MachineProbe:
    """A root with a Jetson's files, on which programs answer as told."""
    module.write(root)
    files = {
        "proc/meminfo": "MemTotal:        7802456 kB\nMemFree:          100000 kB\nMemAvailable:    5102456 kB\n",
        "proc/asound/cards": " 0 [HDA            ]: tegra-hda - NVIDIA Jetson Orin Nano HDA\n",
        "usr/local/cuda/version.json": '{"cuda": {"name": "CUDA SDK", "version": "12.6.11"}}',
        "var/lib/dpkg/status": f"Package: nvidia-jetpack\nStatus: install ok installed\nVersion: {package}\n\n"
        if package
        else "",
        "sys/module/nvidia/version": "540.4.0\n",
        "dev/video0": "",
    }
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)

    def run(words: Sequence[str]) -> str | None:
        line = " ".join(words)
        known = {
            "import tensorrt": answers.get("tensorrt"),
            "import pycuda": answers.get("pycuda"),
            "cuda-bindings": answers.get("graphs"),
            "import onnxruntime": "1.23.2 CPUExecutionProvider",
            "nvpmodel": answers.get("nvpmodel", "NV Power Mode: 15W\n0"),
            "gst-inspect-1.0 --version": "gst-inspect-1.0 version 1.20.3\nGStreamer 1.20.3",
            "--exists": None if words[-1] == answers.get("without") else "",
        }
        return next((answer for part, answer in known.items() if part in line), None)

    return MachineProbe(root, run)


def finding(report: Report, name: str) -> Finding:
    return next(finding for finding in report.findings if finding.name == name)


def test_this_machine_is_fit_to_run_on_the_cpu(cli):
    done = cli("doctor", "--json")
    report = json.loads(done.stdout)
    assert report["runs_on"]["cpu"] is True
    names = [finding["name"] for finding in report["findings"]]
    for name in ("JetPack", "Python", "TensorRT", "NVIDIA driver", "CUDA", "GStreamer", "power mode", "memory", "disk"):
        assert name in names
    assert done.returncode == any(finding["status"] == "problem" for finding in report["findings"])
    assert "runs on: cpu yes" in cli("doctor").stdout


def test_a_jetson_that_is_as_it_should_be(tmp_path):
    answers = {"tensorrt": "10.3.0", "pycuda": "2025.1 12.6 12060", "graphs": "12.9.1\n"}
    answers["nvpmodel"] = "NV Power Mode: MAXN_SUPER\n2"
    report = examine(jetson(tmp_path, **answers))
    assert finding(report, "machine").found.startswith("NVIDIA Jetson Orin Nano")
    assert finding(report, "JetPack").found == "6.2.1+b38 (L4T 36.4.3)"
    assert finding(report, "TensorRT").found == "10.3.0"
    assert finding(report, "PyCUDA") == Finding(name="PyCUDA", status="ok", found="2025.1 for CUDA 12.6")
    assert finding(report, "cuda-bindings") == Finding(name="cuda-bindings", status="ok", found="12.9.1")
    assert finding(report, "CUDA").found == "12.6.11"
    assert finding(report, "power mode").status == "ok"
    assert finding(report, "cameras").found == "/dev/video0"
    assert finding(report, "memory").found == "5.1 of 7.8 GB free"
    assert report.runs_on["tensorrt"]


@pytest.mark.parametrize(
    ("answers", "name", "status", "advice"),
    [
        ({}, "TensorRT", "problem", "apt-get install python3-libnvinfer"),
        ({"tensorrt": "10.3.0"}, "TensorRT", "note", "ViT-B/16 in FP16"),
        ({"tensorrt": "10.3.0"}, "TensorRT", "note", "NVIDIA/TensorRT#4723"),
        ({"tensorrt": "10.13.3.9"}, "TensorRT", "problem", "has no code for compute capability 8.7"),
        ({"pycuda": "2024.1 13.0 12060"}, "PyCUDA", "problem", "with the toolkit of CUDA 12"),
        ({"graphs": "13.0.1\ncuda-bindings is made for CUDA 13.0"}, "cuda-bindings", "note", "made for CUDA 13.0"),
        ({}, "cuda-bindings", "absent", "taemi-edge[jetpack6]"),
        ({"tensorrt": "10.3.0"}, "PyCUDA", "problem", "taemi-edge[jetpack6]"),
        ({"tensorrt": "10.3.0"}, "power mode", "note", "nvpmodel -m 0"),
        ({"without": "nvv4l2decoder"}, "GStreamer", "note", "nvidia-l4t-gstreamer"),
    ],
)
def test_what_is_wrong_comes_with_what_to_type(tmp_path, answers, name, status, advice):
    found = finding(examine(jetson(tmp_path, **answers)), name)
    assert found.status == status
    assert advice in found.advice


def test_a_venv_that_hides_jetpacks_packages_is_told_apart_from_a_missing_tensorrt(tmp_path):
    machine = jetson(tmp_path)
    (tmp_path / "usr/lib/python3/dist-packages/tensorrt").mkdir(parents=True)
    found = finding(examine(machine), "JetPack's packages")
    assert found.status == "problem"
    assert f"{sys.prefix}/pyvenv.cfg" in found.advice


@pytest.mark.parametrize(
    ("release", "status", "words"),
    [
        ("# R35 (release), REVISION: 6.0, GCID: 1, BOARD: generic", "problem", "L4T 35.6.0"),
        ("# R36 (release), REVISION: 3.0, GCID: 1", "ok", "L4T 36.3.0"),
        ("# R36 (release), REVISION: 4.7, GCID: 1", "ok", "6.2.1 (L4T 36.4.7)"),
        ("# R38 (release), REVISION: 2.1, GCID: 1", "ok", "7.0 (L4T 38.2.1)"),
        ("# R39 (release), REVISION: 2.0, GCID: 1", "ok", "7.2 (L4T 39.2.0)"),
        ("# R41 (release), REVISION: 1.0, GCID: 1", "ok", "unknown (L4T 41.1.0)"),
        ("something else", "note", "an unknown release"),
        ("", "note", "an unknown release"),
    ],
)
def test_releases_of_jetpack(tmp_path, release, status, words):
    found = finding(examine(jetson(tmp_path, replace(ORIN_NANO_8, release=release), package="")), "JetPack")
    assert (found.status, words in found.found) == (status, True), found


@pytest.mark.parametrize(
    ("module", "package", "version", "status", "words"),
    [
        (AGX_ORIN_64, "7.2.2", "10.16.2.10", "ok", "TensorRT 11.4.1 (NVIDIA's SBSA package) supports this device, too"),
        (AGX_THOR, "7.2.2+b7", "11.4.1", "ok", "11.4.1"),
        (AGX_THOR, "7.1", "10.13.3.9", "note", "query, key and value wrongly where the largest batch is 1"),
        (AGX_ORIN_64, "7.2", "11.4.1", "note", "this is NVIDIA Jetson AGX Orin Developer Kit with JetPack 7.2:"),
        (ORIN_NX_16, "7.2.2", "11.4.1", "note", "TensorRT 11 is for AGX Orin and Thor with JetPack 7.2.2 or later"),
        (ORIN_NX_16, "7.2.2", "10.16.2.10", "ok", "10.16.2.10"),
        (ORIN_NANO_8, "", "11.4.1", "note", "with JetPack 6.2:"),
    ],
)
def test_a_tensorrt_and_the_jetson_that_it_is_on(tmp_path, module, package, version, status, words):
    found = finding(examine(jetson(tmp_path, module, package, tensorrt=version)), "TensorRT")
    assert found.status == status
    assert words in f"{found.found} {found.advice}"
    assert "\n" not in found.advice


def test_a_pycuda_that_cannot_be_built_with_cuda_13(tmp_path):
    machine = jetson(tmp_path, AGX_THOR, "7.0")
    (tmp_path / "usr/local/cuda/version.json").write_text('{"cuda": {"version": "13.0.0"}}')
    found = finding(examine(machine), "PyCUDA")
    assert found.status == "problem"
    assert "pycuda>=2025.1.2" in found.advice


def test_a_server_is_asked_for_its_compute_capability(tmp_path):
    def run(words: Sequence[str]) -> str | None:
        line = " ".join(words)
        return "12.0\n12.0" if "compute_cap" in line else "10.16.1.11" if "import tensorrt" in line else None

    found = finding(examine(MachineProbe(tmp_path, run)), "TensorRT")
    assert found.status == "note"
    assert "NVIDIA/TensorRT#4837" in found.advice


def test_a_report_with_a_problem_is_no_success(tmp_path):
    assert not examine(jetson(tmp_path)).ok


X86_FLAGS = "processor\t: 0\nvendor_id\t: AuthenticAMD\nflags\t\t: fpu sse avx2\n"
ARM_FEATURES = "processor\t: 0\nFeatures\t: fp asimd asimddp\nCPU implementer\t: 0x41\nCPU part\t: 0xd42\n"


@pytest.mark.parametrize(
    ("architecture", "cpuinfo", "advice"),
    [
        ("aarch64", X86_FLAGS, "QEMU 8.1 or later"),
        ("aarch64", ARM_FEATURES, "--force-reinstall"),
        ("x86_64", X86_FLAGS, "--force-reinstall"),
    ],
)
def test_an_emulator_that_shows_the_processor_of_its_host_is_named(
    tmp_path, monkeypatch, architecture: str, cpuinfo: str, advice: str
):
    """ONNX Runtime 1.28 and later end the process there with a segmentation fault, which no exception reports."""
    monkeypatch.setattr("platform.machine", lambda: architecture)
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(cpuinfo)
    report = examine(MachineProbe(tmp_path, lambda words: None))
    found = finding(report, "ONNX Runtime")
    assert found.status == "problem"
    assert advice in found.advice
