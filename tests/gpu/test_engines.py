"""Engines that TensorRT builds and runs on the GPU here: verified in each precision, refused where they are foreign."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from taemi_edge.bundle.folder import MANIFEST, open_bundle, read_manifest, write_manifest
from taemi_edge.bundle.graph_source import find_graphs
from taemi_edge.engines.build import build_engine
from taemi_edge.engines.cache import EngineCache
from taemi_edge.errors import BackendError, BundleError, EngineError
from taemi_edge.parity.comparison import check_parity
from taemi_edge.runtime.opening import open_sessions
from tests.gpu.conftest import BUNDLES, why_not

pytestmark = pytest.mark.gpu

if _reason := why_not():
    pytest.skip(f"engines are built on a GPU with TensorRT: {_reason}", allow_module_level=True)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("manifest", BUNDLES, ids=lambda file: file.parent.name)
def test_every_part_is_verified_in_every_precision(manifest: Path, precision, target, tmp_path):
    built = build_engine(manifest.parent, target, precision, tmp_path / "engines", cache=EngineCache())
    failed = [verdict for verdict in built.record.verification if not verdict.ok]
    assert built.bundle.manifest.verified, failed


def test_a_second_build_comes_from_the_cache(smallest, target, tmp_path):
    source = find_graphs(open_bundle(smallest))
    again = build_engine(source, target, "fp16", tmp_path / "again", cache=EngineCache())
    assert again.from_cache
    assert again.bundle.manifest.verified


def test_parity_is_a_command_of_its_own(smallest):
    report, _ = check_parity(str(smallest))
    assert report.ok


def _changed(smallest: Path, folder: Path, **engine) -> Path:
    shutil.copytree(smallest, folder)
    manifest = read_manifest(folder)
    write_manifest(folder, msgspec.structs.replace(manifest, engine=msgspec.structs.replace(manifest.engine, **engine)))
    return folder


def test_engines_of_another_tensorrt_are_refused_before_they_are_read(smallest, tmp_path):
    folder = _changed(smallest, tmp_path / "other", library="tensorrt 10.3.0.30")
    with pytest.raises(EngineError, match=r"was built for tensorrt 10\.3\.0\.30 on .*, found tensorrt .*--rebuild"):
        open_sessions(open_bundle(folder))


def test_engines_of_another_gpu_are_refused(smallest, tmp_path):
    machine = {**read_manifest(smallest).engine.machine, "gpu": "Orin", "sm": "8.7"}
    folder = _changed(smallest, tmp_path / "other", machine=machine)
    with pytest.raises(EngineError, match=r"was built for tensorrt .* on Orin \(.*, found tensorrt "):
        open_sessions(open_bundle(folder))


def test_a_truncated_engine_never_reaches_tensorrt(smallest, tmp_path):
    folder = Path(shutil.copytree(smallest, tmp_path / "cut"))
    engine = folder / "fusion.engine"
    engine.write_bytes(engine.read_bytes()[:1000])
    with pytest.raises(BundleError, match="fusion.engine is not the file"):
        open_bundle(folder)


def test_an_engine_that_tensorrt_cannot_read_is_an_error_not_a_crash(smallest, tmp_path):
    folder = Path(shutil.copytree(smallest, tmp_path / "broken"))
    (folder / "fusion.engine").write_bytes(b"no engine at all" * 100)
    (folder / MANIFEST).touch()
    write_manifest(folder, read_manifest(folder))
    with pytest.raises(BackendError, match="TensorRT cannot read the engine"):
        open_sessions(open_bundle(folder))
