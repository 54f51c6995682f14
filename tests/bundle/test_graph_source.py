"""The graphs that engines were built from are found after a move, and another bundle is never taken for them."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import msgspec
import pytest

from taemi_edge.bundle.folder import MANIFEST, open_bundle, read_manifest, sha256_of, write_manifest
from taemi_edge.bundle.graph_source import find_graphs, seen_from
from taemi_edge.bundle.records import EngineRecord
from taemi_edge.errors import BundleError


@pytest.fixture
def graphs(tiny_folder, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "work" / "export" / "m"))


def engines_of(graphs: Path, folder: Path, **named: object) -> Path:
    """A bundle whose record says that it was built from these graphs."""
    shutil.copytree(graphs, folder)
    manifest = read_manifest(folder)
    record = EngineRecord(
        target="cpu",
        backend="onnxruntime-cpu",
        library="",
        machine={},
        source=seen_from(folder, graphs),
        asked="fp32",
        recipe={},
        flags={},
        build_key="",
        part_keys={},
        candidates=(),
        source_place=str(graphs),
        source_digests={MANIFEST: sha256_of(graphs / MANIFEST)},
    )
    record = msgspec.structs.replace(record, **named)
    write_manifest(folder, msgspec.structs.replace(manifest, verified=True, engine=record))
    return folder


def test_graphs_are_named_as_they_are_seen_from_the_engines(graphs, tmp_path):
    engines = engines_of(graphs, tmp_path / "work" / "engines" / "m-cpu")
    assert read_manifest(engines).engine.source == "../../export/m"
    assert find_graphs(open_bundle(engines)) == graphs


def test_both_moved_together(graphs, tmp_path):
    engines_of(graphs, tmp_path / "work" / "engines" / "m-cpu")
    (tmp_path / "work").rename(tmp_path / "elsewhere")
    found = find_graphs(open_bundle(tmp_path / "elsewhere" / "engines" / "m-cpu"))
    assert found == tmp_path / "elsewhere" / "export" / "m"


def test_engines_that_were_built_in_a_draft_and_renamed(graphs, tmp_path):
    engines = engines_of(graphs, tmp_path / "work" / "a" / "b" / "draft")
    engines.rename(tmp_path / "m-cpu")
    assert find_graphs(open_bundle(tmp_path / "m-cpu")) == graphs


def test_engines_through_a_link(graphs, tmp_path):
    engines = engines_of(graphs, tmp_path / "work" / "engines" / "m-cpu")
    (tmp_path / "current").symlink_to(engines)
    assert find_graphs(open_bundle(tmp_path / "current")) == graphs


def test_graphs_that_lie_beside_the_engines_under_their_name(graphs, tmp_path):
    engines = engines_of(graphs, tmp_path / "work" / "engines" / "m-cpu")
    (tmp_path / "device").mkdir()
    engines.rename(tmp_path / "device" / "m-cpu")
    graphs.rename(tmp_path / "device" / "m")
    assert find_graphs(open_bundle(tmp_path / "device" / "m-cpu")) == tmp_path / "device" / "m"


def test_another_bundle_is_never_taken(graphs, tmp_path):
    engines = engines_of(graphs, tmp_path / "work" / "engines" / "m-cpu")
    bundle = open_bundle(engines)
    manifest = read_manifest(graphs)
    write_manifest(graphs, msgspec.structs.replace(manifest, trained_on="other clips"))
    want = bundle.manifest.engine.source_digests[MANIFEST][:12]
    said = rf"sha256 {want}\.\.\.\): {graphs} is another bundle, {tmp_path}/work/engines/m is not there: put"
    with pytest.raises(BundleError, match=said):
        find_graphs(bundle)
    shutil.move(graphs, engines.with_name("m"))
    with pytest.raises(BundleError, match=rf"{graphs} is not there, {engines.with_name('m')} is another bundle"):
        find_graphs(bundle)


def test_a_bundle_that_was_built_before_names_its_graphs_absolutely(graphs, tmp_path):
    old = {"source": str(graphs), "source_place": "", "source_digests": {}}
    engines = engines_of(graphs, tmp_path / "engines", **old)
    assert find_graphs(open_bundle(engines)) == graphs
    graphs.rename(tmp_path / "m")
    assert find_graphs(open_bundle(engines)) == tmp_path / "m"
    (tmp_path / "m").rename(tmp_path / "n")
    with pytest.raises(BundleError, match=re.escape(f"(a bundle): {graphs} is not there")):
        find_graphs(open_bundle(engines))


def test_a_place_that_cannot_be_read_is_not_there(graphs, tmp_path):
    os.mkfifo(tmp_path / MANIFEST)  # nobody writes into it
    for source in ("a\0b", "n" * 5000, ".."):
        engines = engines_of(graphs, tmp_path / "engines", source=source, source_place="", source_digests={})
        with pytest.raises(BundleError, match="is not there"):
            find_graphs(open_bundle(engines))
        shutil.rmtree(engines)


def test_a_bundle_of_graphs_has_none(graphs):
    with pytest.raises(BundleError, match="expected a bundle of engines"):
        find_graphs(open_bundle(graphs))
