"""What `doctor` finds: on this machine, and on what a Jetson's files say (made up after NVIDIA's own)."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from taemi_edge.cli.doctor import Finding, MachineProbe, Report, examine

ORIN = "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 01:49:37 2025\n"


def jetson(root: Path, release: str = ORIN, **answers: str) -> MachineProbe:
    """A root with a Jetson's files, on which programs answer as told."""
    files = {
        "etc/nv_tegra_release": release,
        "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit Super\0",
        "proc/meminfo": "MemTotal:        7802456 kB\nMemFree:          100000 kB\nMemAvailable:    5102456 kB\n",
        "proc/asound/cards": " 0 [HDA            ]: tegra-hda - NVIDIA Jetson Orin Nano HDA\n",
        "usr/local/cuda/version.json": '{"cuda": {"name": "CUDA SDK", "version": "12.6.11"}}',
        "var/lib/dpkg/status": "Package: nvidia-jetpack\nStatus: install ok installed\nVersion: 6.2.1+b38\n\n",
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
    answers = {"tensorrt": "10.3.0", "pycuda": "2025.1", "nvpmodel": "NV Power Mode: MAXN_SUPER\n2"}
    report = examine(jetson(tmp_path, **answers))
    assert finding(report, "machine").found.startswith("NVIDIA Jetson Orin Nano")
    assert finding(report, "JetPack").found == "6.2.1+b38 (L4T 36.4.3)"
    assert finding(report, "TensorRT") == Finding(name="TensorRT", status="ok", found="10.3.0")
    assert finding(report, "CUDA").found == "12.6.11"
    assert finding(report, "power mode").status == "ok"
    assert finding(report, "cameras").found == "/dev/video0"
    assert finding(report, "memory").found == "5.1 of 7.8 GB free"
    assert report.runs_on["tensorrt"]


@pytest.mark.parametrize(
    ("answers", "name", "status", "advice"),
    [
        ({}, "TensorRT", "problem", "apt-get install python3-libnvinfer"),
        ({"tensorrt": "10.13.3.9"}, "TensorRT", "note", "wrongly at batch 1"),
        ({"tensorrt": "10.3.0"}, "PyCUDA", "problem", "taemi-edge[tensorrt]"),
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
        ("# R38 (release), REVISION: 2.1, GCID: 1", "ok", "L4T 38.2.1"),
        ("something else", "note", "an unknown release"),
    ],
)
def test_releases_of_jetpack(tmp_path, release, status, words):
    found = finding(examine(jetson(tmp_path, release)), "JetPack")
    assert (found.status, words in found.found) == (status, True)


def test_a_report_with_a_problem_is_no_success(tmp_path):
    assert not examine(jetson(tmp_path)).ok
