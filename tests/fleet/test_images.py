"""packaging/build_image.sh reads the digests of base images from a registry, once."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("oras", reason="needs the extra `fleet`")

from taemi_edge.fleet.push import push_bundle

SCRIPT = Path(__file__).parent.parent.parent / "packaging/build_image.sh"


def _pin(lock: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "IMAGES_LOCK": str(lock), "PIN_ONLY": "1", "SKOPEO_OPTIONS": "--tls-verify=false"}
    return subprocess.run([SCRIPT, "jetpack-7.2"], env=environment, capture_output=True, text=True, check=False)


def test_digests_that_are_missing_are_read_and_kept(registry, tiny_folder, tmp_path):
    if shutil.which("skopeo") is None:
        pytest.skip("needs skopeo, from tools/install_test_servers.sh")
    pushed = push_bundle(tiny_folder, f"oci://{registry.host}/base/image:26.03")
    lock = tmp_path / "images.lock"
    image, known = f"{registry.host}/base/image:26.03", f"sha256:{'0' * 64}"
    lock.write_text(f"jetpack-7.2 BUILD   {image} -\njetpack-7.2 RUNTIME {image} {known}\n")
    done = _pin(lock)
    assert done.returncode == 0, done.stderr
    digest = pushed.reference.digest
    assert lock.read_text() == f"jetpack-7.2 BUILD   {image} {digest}\njetpack-7.2 RUNTIME {image} {known}\n"
    assert done.stdout == f"build_image.sh: {image} is {digest} now: commit {lock}\n"


def test_a_registry_that_is_not_there_changes_nothing(tmp_path):
    lock = tmp_path / "images.lock"
    lock.write_text("jetpack-7.2 BUILD 127.0.0.1:1/base:1 -\njetpack-7.2 RUNTIME 127.0.0.1:1/base:1 -\n")
    before = lock.read_text()
    done = _pin(lock)
    assert done.returncode == 1
    assert "127.0.0.1:1/base:1: its digest could not be read" in done.stderr
    assert lock.read_text() == before
