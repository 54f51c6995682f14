"""Files of other toolkits: each is named with what to do, and none is opened."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path

import pytest

from taemi_edge.bundle.folder import open_bundle
from taemi_edge.bundle.foreign_models import foreign_model
from taemi_edge.errors import BundleError
from tests.cli.checks import refused

#: The name of a file, what it begins with, and what the sentence says.
FILES = {
    "weights of PyTorch": ("mine.pt", b"PK", r"weights alone \(a pickle, which is not opened here\).*init-model mine"),
    "a checkpoint of Lightning": ("mine.ckpt", b"\x80\x02", r"load_state_dict\(torch.load\('.*', weights_only=True"),
    "a pickle without an ending": ("mine", b"\x80\x04", "weights alone"),
    "weights of transformers": ("pytorch_model.bin", b"PK", "weights alone"),
    "safetensors": ("mine.safetensors", b"", r"load_state_dict\(load_file\('"),
    "one graph": ("mine.onnx", b"\x08", r"`encoder = 'mine.onnx'` of a \[streams.NAME\]"),
    "Keras": ("mine.h5", b"\x89HDF", "a model of Keras: convert .* `tf2onnx`"),
    "TensorFlow Lite": ("mine.tflite", b"", "a model of TensorFlow Lite"),
    "ExecuTorch": ("mine.pte", b"", "a model of ExecuTorch"),
    "an engine": ("mine.engine", b"", "an engine of TensorRT"),
    "torch.export": ("mine.pt2", b"PK", "a program of torch.export"),
}  # fmt: skip


class Bomb:
    """Tells on itself where it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("unpickled"),)


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_toolkit_says_what_to_do(name: str, tmp_path: Path):
    file, content, words = FILES[name]
    (tmp_path / file).write_bytes(content)
    with pytest.raises(BundleError, match=f"{file}: expected a model with its streams, got .*{words}"):
        open_bundle(tmp_path / file)


def test_nothing_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.pkl").write_bytes(pickle.dumps(Bomb()))
    with zipfile.ZipFile("mine.pt", "w") as archive:
        archive.writestr("mine/data.pkl", pickle.dumps(Bomb()))
    assert all("which is not opened here" in (foreign_model(file) or "") for file in ("mine.pkl", "mine.pt"))
    assert not Path("unpickled").exists()


def test_torchscript_is_told_from_weights(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "mine.pt", "w") as archive:
        archive.writestr("mine/constants.pkl", b"")
        archive.writestr("mine/code/__torch__.py", b"")
    assert "a TorchScript module" in (foreign_model(tmp_path / "mine.pt") or "")


def test_a_folder_of_transformers_says_how_it_becomes_an_encoder(tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip"}))
    said = foreign_model(tmp_path) or ""
    assert f"architecture = 'clip' and weights = '{tmp_path}' in a recipe" in said
    for content in ("[]", "{", '{"model_type": 3}', "{}"):
        (tmp_path / "config.json").write_text(content)
        assert isinstance(foreign_model(tmp_path), str | None)


def test_what_is_ours_or_nobodys_is_left_to_others(tiny_folder: Path, tmp_path: Path):
    (tmp_path / "notes.txt").write_text("no model")
    assert [foreign_model(place) for place in (tiny_folder, tmp_path, tmp_path / "notes.txt", "no/such")] == [None] * 4


def test_every_command_says_it(cli_here, tmp_path: Path):
    (tmp_path / "mine.pth").write_bytes(b"\x80\x02")
    for command in (("parity",), ("inspect",), ("bench",), ("build-engine", "--target", "cpu"), ("run", "x.mp4")):
        name, *words = command
        done = cli_here(name, tmp_path / "mine.pth", *words)
        assert done.returncode == 2
        assert "mine.pth: expected a model with its streams, got weights alone" in done.stderr.splitlines()[-1]


def test_export_says_it(cli_here, tmp_path: Path):
    pytest.importorskip("torch", reason="export starts from PyTorch")
    (tmp_path / "mine.pth").write_bytes(b"\x80\x02")
    refused(cli_here("export", tmp_path / "mine.pth"), "declare the model that they belong to")


def test_a_configuration_that_nests_without_end_is_no_defect(tmp_path: Path):
    (tmp_path / "config.json").write_text("[" * 200_000)
    with pytest.raises(BundleError, match="expected a bundle"):
        open_bundle(tmp_path)


def test_the_address_of_a_registry_is_pulled_first():
    with pytest.raises(BundleError, match=r"got an address: run `taemi-edge pull ADDRESS --output DIR` first"):
        open_bundle("oci://registry.local/mine:2")
