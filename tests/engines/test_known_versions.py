"""What is known of versions: the tables, the docs that show them, and builds that they apply to."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from taemi_edge.bundle.folder import read_manifest
from taemi_edge.engines import part_builder
from taemi_edge.engines.known_versions import (
    JETPACKS,
    MYELIN_FLAGS,
    TROUBLES,
    jetpack_of,
    known_troubles,
    version_tuple,
)
from taemi_edge.pages import SITE

PAGE = (Path(__file__).parent.parent.parent / "docs" / "reference" / "versions.md").read_text(encoding="utf-8")


def test_the_docs_show_every_jetpack_and_its_sources():
    for jetpack in JETPACKS:
        cells = (jetpack.version, jetpack.l4t, jetpack.tensorrt, jetpack.cuda, jetpack.python, jetpack.devices)
        assert "| " + " | ".join(cells) + " |" in PAGE, jetpack.version
        for source in jetpack.sources:
            assert source in PAGE, jetpack.version


def test_the_docs_name_every_trouble_and_its_sources():
    for trouble in TROUBLES:
        assert trouble.what in PAGE.replace("\n", " "), trouble.what
        for source in trouble.sources:
            path, _, section = source.removeprefix(SITE).partition("/#")
            own = f"../{path.rstrip('/')}.md{section and '#' + section}" if source.startswith(SITE) else source
            assert own in PAGE, trouble.what


def test_every_record_can_be_read():
    for trouble in TROUBLES:
        assert version_tuple(trouble.since) < version_tuple(trouble.until)
        assert trouble.sources
    order = [version_tuple(jetpack.l4t) for jetpack in JETPACKS if jetpack.l4t]
    assert order == sorted(order)
    for jetpack in JETPACKS:
        if jetpack.l4t:
            assert jetpack_of(jetpack.l4t) == jetpack


@pytest.mark.parametrize(
    ("version", "sm", "precision", "batch", "words"),
    [
        ("10.13.3.9", "8.7", "fp16", 4, ["compute capability 8.7"]),
        ("10.13.3.9", "11.0", "fp16", 4, []),
        ("10.13.3.9", "11.0", "fp16", 1, ["query, key and value"]),
        ("10.14.1.48", "11.0", "auto", 1, ["query, key and value"]),
        ("10.15.1", "11.0", "fp16", 1, []),
        ("10.3.0.30", "8.7", "fp16", 4, ["ViT-B/16 in FP16"]),
        ("10.3.0", "8.7", "int8", 4, []),
        ("10.16.1.11", "12.0", "fp16", 4, ["fused attention"]),
        ("10.16.1.11", "12.0", "fp32", 4, []),
        ("10.16.2.10", "8.7", "auto", 1, []),
        ("11.4.1", "8.7", "auto", 1, []),
        ("8.6.0", "9.0", "auto", 4, ["ViT-B/16 wrongly in FP32"]),
        ("a version of nobody", "", "", None, []),
        ("9" * 5000, "", "", None, []),
    ],
)
def test_what_is_known_of_a_version(version, sm, precision, batch, words):
    found = [trouble.what for trouble in known_troubles(version, sm, precision, batch)]
    assert len(found) == len(words), found
    for text, part in zip(found, words, strict=True):
        assert part in text


def test_a_build_works_around_what_is_known_and_says_so(build, builder, gpu, tmp_path, monkeypatch):
    sys.modules["tensorrt"].__version__ = "10.13.3.9"
    gpu.capability = (11, 0)
    monkeypatch.setenv(MYELIN_FLAGS, "-of:the=user")
    monkeypatch.setattr(part_builder, "require_covering", lambda *_: None)  # the golden feeds of this model have more
    code, notes = build("--set", "profiles.text.batch=[1,1,1]", "--no-cache")
    assert code == 0
    assert len(notes) == 1
    assert notes[0].startswith("note: text: tensorrt 10.13.3.9 fuses the layers for query, key and value wrongly")
    assert "NVIDIA/TensorRT-Edge-LLM#151" in notes[0]
    assert sorted(set(builder.flags)) == ["-of:the=user", "-of:the=user -peep:fc_h_fusion=off"]
    assert builder.flags.count("-of:the=user -peep:fc_h_fusion=off") == 1
    assert os.environ[MYELIN_FLAGS] == "-of:the=user"
    assert read_manifest(tmp_path / "o").engine.flags["workarounds"] == "text: -peep:fc_h_fusion=off"


def test_a_build_on_orin_with_a_tensorrt_without_it_is_told_before(build, builder, gpu):
    sys.modules["tensorrt"].__version__ = "10.13.3.9"
    gpu.capability = (8, 7)
    code, notes = build("--no-cache")
    assert code == 0
    assert len(notes) == 1
    assert "has no code for compute capability 8.7 (Jetson Orin): install the TensorRT of your JetPack" in notes[0]
