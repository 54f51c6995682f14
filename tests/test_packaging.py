"""What a device is set up with: the unit, the configuration and the Dockerfiles, as far as they can be tried here."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from taemi_edge.live.config import load_live_config

PACKAGING = Path(__file__).parent.parent / "packaging"
DOCKERFILES = sorted(PACKAGING.glob("Dockerfile.*"))


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_dockerfiles_pass_hadolint(file: Path):
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("hadolint is in the extra `dev`, for x86-64")
    done = subprocess.run([str(hadolint), str(file)], capture_output=True, text=True, check=False)
    assert not done.stdout + done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_dockerfiles_copy_all_that_a_wheel_is_made_of(file: Path):
    """Their Python steps are packaging/install.sh, which makes the environments that test_on_device_pythons.sh uses."""
    text = file.read_text()
    assert "/src/taemi-edge/packaging/install.sh /opt/taemi-edge python3" in text
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
