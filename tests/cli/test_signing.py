"""The commands `keygen`, `sign` and `verify`, and `--require-signature` of others."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from taemi_edge.cli.main import app
from taemi_edge.errors import SignatureError, TaemiError

pytest.importorskip("cryptography", reason="signatures need the extra `fleet`")


@pytest.fixture
def bundle(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TAEMI_EDGE_STATE", str(tmp_path / "here"))
    monkeypatch.setenv("TAEMI_EDGE_CACHE", str(tmp_path / "cache"))
    shutil.copytree(tiny_folder, tmp_path / "m")
    return tmp_path / "m"


def call(*words: object) -> None:
    """The command line without the start of a process."""
    app([str(word) for word in words], standalone_mode=False)


def test_the_first_minutes(cli, bundle, tmp_path):
    """A key, a signature and a check; and a check that fails."""
    call("keygen", tmp_path / "k")
    signed = cli("sign", bundle, "--key", tmp_path / "k")
    assert signed.returncode == 0
    assert "m.sig: 10 files, signed by key" in signed.stdout
    checked = cli("verify", bundle, "--key", tmp_path / "k.pub")
    assert checked.returncode == 0
    assert f"{bundle}: signed by key" in checked.stdout
    (bundle / "text.onnx").write_bytes(b"x")
    refused = cli("verify", bundle, "--key", tmp_path / "k.pub")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.count("\n") == 1


def test_nothing_is_written_beside_the_bundle_that_ships(cli, tmp_path, monkeypatch):
    call("keygen", tmp_path / "k")
    monkeypatch.chdir(tmp_path)
    refused = cli("sign", "taemi-nano", "--key", tmp_path / "k")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "got one that ships, whose signature would lie inside the installed package: run `cp -r " in refused.stderr


def test_passwords_come_from_a_variable(bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("KEY_PASSWORD", "sesame")
    call("keygen", tmp_path / "k", "--password-env", "KEY_PASSWORD")
    assert "ENCRYPTED" in (tmp_path / "k").read_text()
    with pytest.raises(TaemiError, match="--password-env NAME"):
        call("sign", bundle, "--key", tmp_path / "k")  # pytest's standard input is no terminal
    with pytest.raises(TaemiError, match="NOT_SET"):
        call("sign", bundle, "--key", tmp_path / "k", "--password-env", "NOT_SET")
    call("sign", bundle, "--key", tmp_path / "k", "--password-env", "KEY_PASSWORD")
    call("verify", bundle, "--key", tmp_path / "k.pub")


def test_wrong_use_is_one_sentence(bundle, tmp_path):
    call("keygen", tmp_path / "k")
    for words in (
        ("sign", bundle),
        ("sign", bundle, "--key", tmp_path / "k", "--sigstore"),
        ("sign", bundle, "--key", tmp_path / "k", "--chain", tmp_path / "k.pub"),
        ("sign", bundle, "--key", tmp_path / "k.pub"),
        ("sign", tmp_path, "--key", tmp_path / "k"),
        ("verify", bundle, "--issuer", "https://example.com"),
        ("verify", bundle, "--key", tmp_path / "k"),
        ("verify", bundle, "--identity", "jo@example.com"),
        ("keygen", tmp_path / "k"),
    ):
        with pytest.raises(TaemiError) as caught:
            call(*words)
        assert (caught.value.exit_code, "\n" in str(caught.value)) == (2, False), words


def test_a_run_over_files_requires_what_it_is_told_or_what_the_device_trusts(bundle, demo_vtt, tmp_path, monkeypatch):
    call("keygen", tmp_path / "k")
    run = ("run", bundle, "--transcript", demo_vtt, "--output", tmp_path / "o.jsonl")
    with pytest.raises(SignatureError, match="found none"):
        call(*run, "--require-signature", tmp_path / "k.pub")
    with monkeypatch.context() as trusting:
        trusting.setenv("TAEMI_EDGE_TRUSTED_KEY", str(tmp_path / "k.pub"))
        with pytest.raises(SignatureError, match="found none"):
            call(*run)
    assert not (tmp_path / "o.jsonl").exists()
    call("sign", bundle, "--key", tmp_path / "k")
    call(*run, "--require-signature", tmp_path / "k.pub")
    assert (tmp_path / "o.jsonl").stat().st_size


def test_a_live_run_requires_what_its_configuration_says(cli, bundle, demo_video, tmp_path):
    call("keygen", tmp_path / "k")
    settings = tmp_path / "live.toml"
    key = f'require_signature = "{tmp_path / "k.pub"}"'
    settings.write_text(f'{key}\n[[source]]\nname = "a"\nuri = "{demo_video}"\n')
    live = ("run", bundle, "--config", settings, "--duration", 0.5, "--output", tmp_path / "o.jsonl")
    with pytest.raises(SignatureError, match="found none"):
        call(*live)
    call("sign", bundle, "--key", tmp_path / "k")
    done = cli(*live)
    assert done.returncode == 0, done.stderr


def test_engines_that_were_built_here_run_and_copies_of_another_device_do_not(
    bundle, demo_vtt, tmp_path, monkeypatch, capsys
):
    call("keygen", tmp_path / "k")
    key = ("--require-signature", tmp_path / "k.pub")
    build = ("build-engine", bundle, "--target", "cpu", "--precision", "fp32", "--output", tmp_path / "e", *key)
    with pytest.raises(SignatureError, match="found none"):
        call(*build)
    call("sign", bundle, "--key", tmp_path / "k")
    call(*build)
    run = ("run", tmp_path / "e", "--transcript", demo_vtt, "--output", tmp_path / "o.jsonl", *key)
    call(*run)
    call("verify", tmp_path / "e", "--key", tmp_path / "k.pub")
    assert "10 files of the graphs that this device built its engines from" in capsys.readouterr().out
    monkeypatch.setenv("TAEMI_EDGE_STATE", str(tmp_path / "there"))
    with pytest.raises(SignatureError, match="build them here"):
        call(*run)
