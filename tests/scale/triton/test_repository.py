"""The folder that `export-triton` writes, and what it refuses before anything is written."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

import taemi_edge
from taemi_edge.bundle.folder import Bundle, open_bundle, write_manifest
from taemi_edge.bundle.records import EngineRecord
from taemi_edge.errors import BundleError, EngineError, OptionError, OutputError, SignatureError, UsageError
from taemi_edge.scale.triton.config import ServingOptions, config_text, served_model, settle
from taemi_edge.scale.triton.repository import export_repository
from tests.cli.checks import refused

#: What Triton runs of every model.
CODE = Path(taemi_edge.__file__).parent / "scale" / "triton" / "model.py"


def names_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def parameters_of(config: str) -> dict[str, Any]:
    found = re.findall(r'parameters { key: "(\w+)" value { string_value: (".*") } }', config)
    return {key: json.loads(json.loads(value)) for key, value in found}


def test_a_model_is_a_folder_of_its_own(cli_here, tiny_folder: Path, tmp_path: Path):
    done = cli_here("export-triton", tiny_folder, "--output", tmp_path / "repo")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"wrote {tmp_path}/repo/taemi-tiny without a signature",
        f"tritonserver --model-repository {tmp_path}/repo",
    ]
    model = tmp_path / "repo" / "taemi-tiny"
    bundle = {f"1/bundle/{file.name}" for file in tiny_folder.iterdir()}
    assert names_below(model) == {"config.pbtxt", "1/model.py", *bundle}
    assert open_bundle(model / "1" / "bundle").digests == open_bundle(tiny_folder).digests
    assert (model / "1" / "model.py").read_bytes() == CODE.read_bytes()
    assert {path.name for path in (tmp_path / "repo").iterdir()} == {"taemi-tiny"}


def test_the_configuration_says_what_the_model_takes_and_gives(tiny_folder: Path):
    bundle = open_bundle(tiny_folder)
    options = ServingOptions(slots=4, idle_s=12.5, queue_delay_us=500, window_s=3.0, hop_s=0.25, threads=2)
    config = config_text(bundle, "served", options)
    for line in (
        'name: "served"',
        "max_batch_size: 4",
        '  { name: "end_s" data_type: TYPE_FP64 dims: [ 1 ] },',
        '  { name: "text" data_type: TYPE_UINT8 dims: [ -1 ] optional: true allow_ragged_batch: true }',
        '  { name: "intensities" data_type: TYPE_FP32 dims: [ 6 ] },',
        "  max_sequence_idle_microseconds: 12500000",
        "  oldest { max_candidate_sequences: 8 max_queue_delay_microseconds: 500 }",
        "instance_group [ { kind: KIND_CPU count: 1 } ]",
    ):
        assert line in config.splitlines()
    parameters = parameters_of(config)
    assert parameters["streams"] == ["vision", "audio", "text"]
    assert parameters["sample_rates_hz"] == {"audio": 16_000}
    assert parameters["presence_states"] == ["live", "stale", "missing", "recovering"]
    assert list(parameters["outputs"]) == ["intensities"]
    as_triton_gives = {key: {"string_value": json.dumps(value)} for key, value in parameters.items()}
    assert served_model(as_triton_gives) == settle(bundle, options)


def test_names_of_outputs_may_hold_anything(tiny_folder: Path):
    bundle = open_bundle(tiny_folder)
    names = ('say "no"\\', "größe", "a\\nb", "x: y", "{}", "你好")
    outputs = {"intensities": msgspec.structs.replace(bundle.manifest.outputs["intensities"], names=names)}
    manifest = msgspec.structs.replace(bundle.manifest, outputs=outputs)
    odd = type(bundle)(bundle.folder, manifest, bundle.tokens)
    assert parameters_of(config_text(odd, "m", ServingOptions()))["outputs"]["intensities"] == list(names)


def test_models_lie_side_by_side_and_are_replaced_whole(tiny_folder: Path, tmp_path: Path):
    _write(tmp_path / "theirs" / "1" / "model.onnx")  # Triton makes a configuration for it
    for name in ("one", "two", "one"):
        export_repository(tiny_folder, tmp_path, name=name, options=ServingOptions(slots=2 if name == "two" else 3))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "theirs", "two"]
    assert "max_batch_size: 3" in (tmp_path / "one" / "config.pbtxt").read_text()


def test_the_signature_goes_along(tiny_folder: Path, tmp_path: Path):
    signatures = pytest.importorskip("tests.signatures", reason="signatures need the extra `fleet`")
    from taemi_edge.fleet.signing import sign_bundle

    private, public = signatures.write_key(tmp_path)
    other = signatures.write_key(tmp_path, "other")[1]
    shutil.copytree(tiny_folder, tmp_path / "tiny")
    with pytest.raises(SignatureError):
        export_repository(tmp_path / "tiny", tmp_path / "repo", require_signature=public)
    sign_bundle(tmp_path / "tiny", private)
    written = export_repository(tmp_path / "tiny", tmp_path / "repo", require_signature=public)
    assert written.signed
    copy = written.folder / "1" / "bundle"
    assert open_bundle(copy, require_signature=public).signed_by is not None
    with pytest.raises(SignatureError):
        open_bundle(copy, require_signature=other)
    (tmp_path / "tiny.sig").write_text("{}")
    with pytest.raises(SignatureError):
        export_repository(tmp_path / "tiny", tmp_path / "other-repo")
    assert not (tmp_path / "other-repo").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--name", "a/b"], "--name 'a/b': expected a model name for Triton"),
        (["--name", ""], "--name '': expected a model name for Triton"),
        (["--name", ".."], "--name '..': expected"),
        (["--name", "größe"], "--name 'größe': expected"),
        (["--name", "x" * 101], "expected a model name for Triton"),
        (["--slots", "0"], "--slots 0: expected 1 to 256 sequences at once"),
        (["--slots", "257"], "--slots 257: expected 1 to 256"),
        (["--window", "1", "--hop", "2"], "--hop 2: expected a hop no longer than the window of 1 s"),
        (["--hop", "4.5"], "--hop 4.5: expected a hop no longer than the window of 4 s"),
        (["--window", "0.1"], "--hop 0.5: expected a hop no longer than the window of 0.1 s"),
        (["--window", "nan"], "--window nan: expected 0.001 to 3600 seconds"),
        (["--hop", "0"], "--hop 0: expected"),
        (["--threads", "5000"], "--threads 5000: expected 0 to 1024 threads"),
        (["--idle-s", "0"], "--idle-s 0: expected 1 to 86400 seconds"),
        (["--queue-delay-us", "-1"], "--queue-delay-us -1: expected 0 to 1e+06 microseconds"),
        (["--device", "tensorrt"], "holds ONNX graphs: run `taemi-edge build-engine"),
    ],
)
def test_options_that_cannot_be(cli_here, tiny_folder: Path, tmp_path: Path, words: list[str], message: str):
    done = cli_here("export-triton", tiny_folder, "--output", tmp_path / "repo", *words)
    refused(done, message)
    assert not (tmp_path / "repo").exists()


def test_bundles_that_are_not_served(tiny_folder: Path, tmp_path: Path):
    shutil.copytree(tiny_folder, tmp_path / "changed")
    (tmp_path / "changed" / "vision.onnx").write_bytes(b"another")
    with pytest.raises(BundleError, match=r"vision\.onnx is not the file"):
        export_repository(tmp_path / "changed", tmp_path / "repo")
    with pytest.raises(BundleError, match="expected a bundle"):
        export_repository(tmp_path / "nowhere", tmp_path / "repo")
    shutil.copytree(tiny_folder, tmp_path / "tiny")
    built = as_engines(shutil.copytree(tiny_folder, tmp_path / "engines"))
    assert "kind: KIND_GPU count: 1 gpus: [ 0 ]" in config_text(built, "m", ServingOptions())
    with pytest.raises(UsageError, match="holds TensorRT engines: leave --device cpu away"):
        export_repository(built.folder, tmp_path / "repo", options=ServingOptions(device="cpu"))
    write_manifest(built.folder, msgspec.structs.replace(built.manifest, verified=False))
    with pytest.raises(EngineError, match="expected verified engines"):
        export_repository(built.folder, tmp_path / "repo")
    odd = msgspec.structs.replace(open_bundle(tiny_folder).manifest, name="valve noises")
    write_manifest(tmp_path / "tiny", odd)
    with pytest.raises(OptionError, match="'valve noises': expected a model name for Triton"):
        export_repository(tmp_path / "tiny", tmp_path / "repo")
    assert not (tmp_path / "repo").exists()
    assert export_repository(tmp_path / "tiny", tmp_path / "repo", name="valves").name == "valves"


def as_engines(folder: Path) -> Bundle:
    """The bundle as one of TensorRT engines, as far as its manifest and its files say."""
    manifest = open_bundle(folder).manifest
    parts = {name: msgspec.structs.replace(part, file=f"{name}.engine") for name, part in manifest.parts.items()}
    for name, part in manifest.parts.items():
        (folder / part.file).rename(folder / f"{name}.engine")
    record = EngineRecord(
        target="none",
        backend="tensorrt",
        library="tensorrt 0.0.0",
        machine={},
        source="",
        asked="fp32",
        recipe={},
        flags={},
        build_key="",
        part_keys={},
        candidates=(),
    )
    write_manifest(folder, msgspec.structs.replace(manifest, parts=parts, verified=True, engine=record))
    return open_bundle(folder)


def _write(file: Path, text: str = "") -> None:
    file.parent.mkdir(parents=True)
    file.write_text(text)


def test_what_is_there_and_not_ours_stays(cli_here, tiny_folder: Path, tmp_path: Path):
    _write(tmp_path / "home" / "letters" / "a.txt", "dear")
    refused(cli_here("export-triton", tiny_folder, "-o", tmp_path / "home"), "found 'letters', which is no model of")
    (tmp_path / "file").write_text("text")
    refused(cli_here("export-triton", tiny_folder, "-o", tmp_path / "file"), "cannot be written: a file stands")
    theirs = tmp_path / "repo" / "taemi-tiny"
    _write(theirs / "1" / "model.onnx")
    (theirs / "config.pbtxt").write_text("")
    refused(cli_here("export-triton", tiny_folder, "-o", tmp_path / "repo"), "taemi-edge has not written (1/ holds")
    (theirs / "1" / "model.onnx").rename(theirs / "1" / "model.py")
    refused(cli_here("export-triton", tiny_folder, "-o", tmp_path / "repo"), "1/ holds 'no bundle'")
    assert names_below(theirs) == {"config.pbtxt", "1/model.py"}
    shutil.rmtree(theirs)
    export_repository(tiny_folder, tmp_path / "repo")
    (theirs / "2").mkdir()
    refused(
        cli_here("export-triton", tiny_folder, "-o", tmp_path / "repo"), "holds other files (2) and is not replaced"
    )
    refused(cli_here("export-triton", tiny_folder, "-o", tiny_folder), "found 'MODEL_CARD.md', which is no model of")
    refused(
        cli_here("export-triton", tiny_folder, "-o", tiny_folder / "repo"), "expected a place outside of the bundle"
    )


def test_a_place_that_triton_cannot_read_is_told(cli_here, tiny_folder: Path, tmp_path: Path):
    done = cli_here("export-triton", tiny_folder, "-o", tmp_path / "größe 1")
    assert done.returncode == 0
    assert "loads no model from" in done.stderr
    assert done.stdout.splitlines()[-1] == f"tritonserver --model-repository '{tmp_path}/größe 1'"


def test_an_export_that_fails_leaves_nothing(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OutputError, match="no space left on the device"):
        export_repository(tiny_folder, tmp_path / "repo")
    assert list(tmp_path.iterdir()) == []
