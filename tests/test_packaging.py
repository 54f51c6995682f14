"""What a device is set up with: the unit, the configuration and the Dockerfiles, as far as they can be tried here."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from taemi_edge.live.config import load_live_config

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PACKAGING = Path(__file__).parent.parent / "packaging"
LOCKS = PACKAGING.parent / "requirements" / "locks"
DOCKERFILE = PACKAGING / "Dockerfile"
TARGETS = ("cpu", "jetpack-6.2", "jetpack-7.2")


def test_the_dockerfile_passes_hadolint():
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("hadolint is in the extra `dev`, for x86-64")
    done = subprocess.run([str(hadolint), str(DOCKERFILE)], capture_output=True, text=True, check=False)
    assert not done.stdout + done.stderr
    assert done.returncode == 0


def test_the_dockerfile_copies_all_that_a_wheel_is_made_of():
    """Its Python steps are packaging/install.sh, which makes the environments that test_on_device_pythons.sh uses."""
    text = DOCKERFILE.read_text()
    assert text.count("/src/taemi-edge/packaging/install.sh /opt/taemi-edge python3") == len(TARGETS)
    ignored = (PACKAGING.parent / ".dockerignore").read_text()
    for needed in ("taemi_edge", "export/*.toml", "calibration/*.toml", "engines/*.toml", "packaging", "requirements"):
        assert f"!{needed}" in ignored


def test_the_unit_is_one_that_systemd_understands(tmp_path):
    unit = (PACKAGING / "taemi-edge.service").read_text()
    settings = dict(re.findall(r"^(\w+)=(.*)$", unit, re.MULTILINE))
    assert settings["Type"] == "notify"
    assert int(settings["WatchdogSec"]) >= 10
    config = Path(settings["ExecStart"].split()[-1]).name
    assert load_live_config(PACKAGING / config).serve is not None
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not here")
    here = tmp_path / "taemi-edge.service"
    here.write_text(unit.replace("/opt/taemi-edge/bin/taemi-edge", sys.executable))
    done = subprocess.run([analyze, "verify", str(here)], capture_output=True, text=True, check=False)
    complaints = [line for line in done.stderr.splitlines() if "taemi-edge" in line]
    assert not complaints


def test_systemd_understands_the_units_of_updates(cli, tmp_path):
    unit = (PACKAGING / "taemi-edge-update.service").read_text()
    [command] = re.findall(r"^ExecStart=\S+ (update .*)$", unit.replace("\\\n", ""), re.MULTILINE)
    known = cli("update", "--help").stdout
    assert not [word for word in command.split() if word.startswith("--") and word not in known]
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not here")
    service = tmp_path / "taemi-edge-update.service"
    service.write_text(unit.replace("/opt/taemi-edge/bin/taemi-edge", sys.executable))
    timer = tmp_path / "taemi-edge-update.timer"
    timer.write_text((PACKAGING / timer.name).read_text())
    done = subprocess.run([analyze, "verify", str(service), str(timer)], capture_output=True, text=True, check=False)
    assert not [line for line in done.stderr.splitlines() if "taemi-edge" in line]


@pytest.mark.parametrize("unit", ["taemi-edge.service", "taemi-edge-update.service"])
def test_the_units_leave_a_service_little_to_do_harm_with(unit: str):
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not here")
    command = [analyze, "security", "--offline=yes", "--no-pager", str(PACKAGING / unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "offline" in done.stderr:
        pytest.skip("this systemd-analyze is older than --offline")
    exposure = re.search(rf"Overall exposure level for {unit}: ([\d.]+)", done.stdout)
    assert exposure is not None
    assert float(exposure[1]) <= 3.0


@pytest.mark.parametrize("target", TARGETS)
def test_images_are_built_on_digests_and_run_without_a_compiler(target: str):
    text = DOCKERFILE.read_text()
    stages = {
        name: body for _, name, body in re.findall(r"^FROM (\S+) AS (\S+)\n((?:(?!FROM ).*\n)*)", text, re.MULTILINE)
    }
    variable = re.sub(r"[.-]", "_", target.upper())
    assert f"FROM ${{{variable}_BUILD}} AS build-{target}\n" in text
    assert f"FROM ${{{variable}_RUNTIME}} AS {target}\n" in text
    assert f"COPY --from=build-{target} /opt/taemi-edge /opt/taemi-edge\nUSER 10001\n" in stages[target]
    assert "system_packages.sh run" in stages[target]
    assert "/src" not in stages[target]
    lines = [line.split() for line in (PACKAGING / "images.lock").read_text().splitlines() if line.startswith(target)]
    assert [line[1] for line in lines] == ["BUILD", "RUNTIME"]
    assert all(re.fullmatch(r"-|sha256:[0-9a-f]{64}", line[3]) for line in lines)
    # The tags of the file, which nothing but a name stands for, are those of the lock.
    for _, stage, tag, _ in lines:
        assert f"ARG {variable}_{stage}={tag}\n" in text


@pytest.mark.parametrize("target", ["nano", "build-cpu", "jetpack", ""])
def test_an_unknown_target_is_refused(target: str):
    done = subprocess.run([PACKAGING / "build_image.sh", target, "x"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    expected = "expected cpu, jetpack-6.2 or jetpack-7.2 and a name for the image"
    assert done.stderr == f"build_image.sh: {expected}, got '{target}' 'x'\n"


#: What `packaging/install.sh` installs beside the package's own needs.
DEVICE_EXTRAS = ("pictures", "text", "serve", "mqtt", "fleet")


def _locked(file: Path) -> dict[str, str]:
    """The version of each package of a lock file, all of whose lines are understood."""
    versions: dict[str, str] = {}
    for block in re.split(r"\n(?=\S)", file.read_text().strip()):
        if block.startswith("#"):
            continue
        head, *hashes = re.split(r" \\\n {4}", block)
        assert hashes, f"{file.name}: {head} has no hash"
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", line) for line in hashes)
        name, _, version = head.partition("==")
        versions[canonicalize_name(name)] = version
    return versions


@pytest.mark.parametrize(("jetpack", "python"), [("jetpack6", "3.10"), ("jetpack7", "3.12")])
def test_the_locks_follow_the_cuda_of_a_jetson(jetpack: str, python: str):
    """JetPack 6 is CPython 3.10 with CUDA 12, and JetPack 7 is CPython 3.12 with CUDA 13."""
    extras = tomllib.loads((PACKAGING.parent / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    lock = _locked(LOCKS / f"tensorrt-cp{python.replace('.', '')}.txt")
    for text in extras[jetpack]:
        requirement = Requirement(text)
        assert lock[canonicalize_name(requirement.name)] in requirement.specifier, "run make locks"


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12"])
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_locks_hold_every_package_that_a_device_needs(python: str, machine: str):
    project = tomllib.loads((PACKAGING.parent / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    here = {"python_version": python, "platform_machine": machine}
    tag = f"cp{python.replace('.', '')}.txt"
    device, tensorrt = _locked(LOCKS / f"device-{tag}"), _locked(LOCKS / f"tensorrt-{tag}")
    base = _locked(LOCKS / f"base-{tag}")
    assert base.items() <= device.items(), "run make locks"
    own = [text for extra in DEVICE_EXTRAS for text in extras[extra]]
    wanted = [(text, base) for text in project["dependencies"]] + [(text, device) for text in own]
    for text, lock in [*wanted, *((text, tensorrt) for text in extras["tensorrt"])]:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate(here):
            assert lock[canonicalize_name(requirement.name)] in requirement.specifier, "run make locks"
    constraints = (PACKAGING.parent / "requirements/constraints.txt").read_text()
    for line in constraints.splitlines():
        if line.startswith("#"):
            continue
        pin = Requirement(line)
        if pin.name in device and (pin.marker is None or pin.marker.evaluate(here)):
            assert device[canonicalize_name(pin.name)] in pin.specifier, "run make locks"


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12"])
def test_a_base_installation_has_nothing_that_is_large_and_seldom_needed(python: str):
    """tools/test_on_device_pythons.sh weighs it: under 300 MB. ONNX Runtime 1.23 names SymPy, and never imports it."""
    base = _locked(LOCKS / f"base-cp{python.replace('.', '')}.txt")
    assert not base.keys() & {"opencv-python-headless", "tokenizers", "huggingface-hub", "sympy", "matplotlib"}
    assert len(base) <= 24


@pytest.mark.network
@pytest.mark.once
@pytest.mark.parametrize("python", ["3.10", "3.12"])
def test_all_that_a_device_needs_has_wheels_for_aarch64(python: str):
    """Needs PyPI: the newest versions that the project allows, which no lock holds yet."""
    uv = Path(sys.executable).with_name("uv")
    if not uv.exists():
        pytest.skip("uv is in the extra `dev`")
    command = [str(uv), "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--only-binary", ":all:"]
    command += ["--python-platform", "aarch64-manylinux_2_28", "--python-version", python]
    command += ["--python", sys.executable]  # else it asks every interpreter of the machine for its version: 10 s
    done = subprocess.run(
        [*command, str(PACKAGING.parent / "pyproject.toml")], capture_output=True, text=True, check=False
    )
    if done.returncode and re.search("error sending request|dns error|timed out|offline", done.stderr):
        pytest.skip("PyPI cannot be reached")
    assert done.returncode == 0, done.stderr
    resolved = {canonicalize_name(line.partition("==")[0]) for line in done.stdout.splitlines()}
    project = tomllib.loads((PACKAGING.parent / "pyproject.toml").read_text())["project"]
    here = {"python_version": python, "platform_machine": "aarch64"}
    needed = [Requirement(text) for text in project["dependencies"]]
    assert {canonicalize_name(r.name) for r in needed if r.marker is None or r.marker.evaluate(here)} <= resolved


@pytest.mark.nightly
def test_the_bill_of_materials_names_what_is_locked(tmp_path):
    """Needs PyPI, as `make sbom` does."""
    subprocess.run([PACKAGING / "install.sh", tmp_path / "venv", sys.executable], check=True)
    subprocess.run([PACKAGING / "sbom.sh", tmp_path / "venv", tmp_path / "sbom.json"], check=True)
    bill = json.loads((tmp_path / "sbom.json").read_text())
    assert bill["bomFormat"] == "CycloneDX"
    # a package of the system stands there beside the one that hides it
    listed = [(canonicalize_name(part["name"]), part["version"]) for part in bill["components"]]
    lock = _locked(LOCKS / f"device-cp{sys.version_info[0]}{sys.version_info[1]}.txt")
    assert lock.items() <= set(listed)
    without = {name for (name, _), part in zip(listed, bill["components"], strict=True) if not part.get("licenses")}
    assert without & set(lock) <= {"protobuf"}, "their wheels declare no licence"


@pytest.mark.nightly
def test_a_run_makes_no_system_call_that_the_unit_forbids(tmp_path, tiny_folder, demo_video):
    strace, analyze = shutil.which("strace"), shutil.which("systemd-analyze")
    if strace is None or analyze is None:
        pytest.skip("strace or systemd-analyze is not here")
    command = [
        sys.executable,
        "-m",
        "taemi_edge",
        "run",
        str(tiny_folder),
        str(demo_video),
        "--live",
        "--serve",
        "127.0.0.1:0",
    ]
    traced = [strace, "-f", "-qq", "-o", str(tmp_path / "calls"), "--", *command, "--duration", "5"]
    done = subprocess.run(traced, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    called = set(re.findall(r"^\d+ +(\w+)\(", (tmp_path / "calls").read_text(), re.MULTILINE))
    assert "execve" in called
    unit = (PACKAGING / "taemi-edge.service").read_text()
    allowed, denied = (_calls(analyze, names) for names in re.findall(r"^SystemCallFilter=~?(.*)$", unit, re.MULTILINE))
    assert called - allowed == set()
    assert called & denied == set()


def _calls(analyze: str, sets: str) -> set[str]:
    """The system calls of sets such as "@system-service @mount", with the sets that they name."""
    found: set[str] = set()
    for name in sets.split():
        text = subprocess.run([analyze, "syscall-filter", name], capture_output=True, text=True, check=True).stdout
        for line in text.splitlines()[1:]:
            entry = line.strip()
            if entry.startswith("@"):
                found |= _calls(analyze, entry)
            elif entry and not entry.startswith("#"):
                found.add(entry)
    return found
