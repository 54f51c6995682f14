"""Signing whole bundles, and both ways between this package and the `model-signing` package, by its own command."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from taemi_edge.bundle.folder import open_bundle
from taemi_edge.errors import BundleError, KeyFileError, MissingExtraError, OutputError, SignatureError
from tests import signatures as make

from taemi_edge.fleet.signing import make_key, read_private_key, sign_bundle, sign_with_sigstore, verify_bundle  # isort: skip

needs_model_signing = pytest.mark.skipif(
    find_spec("model_signing") is None, reason="the package model-signing is not installed"
)


def _model_signing(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "model_signing", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.fixture
def bundle(tiny_folder: Path, tmp_path: Path) -> Path:
    shutil.copytree(tiny_folder, tmp_path / "m")
    return tmp_path / "m"


@pytest.mark.parametrize("curve", make.CURVES)
def test_what_was_signed_opens_with_the_key_alone(bundle, tmp_path, curve):
    key, public = make.write_key(tmp_path, curve=curve)
    signed = sign_bundle(bundle, key)
    assert (signed.file, signed.by.files) == (tmp_path / "m.sig", len(list(bundle.iterdir())))
    assert signed.file.stat().st_mode & 0o777 == 0o644
    assert not signed.key_is_readable
    assert verify_bundle(bundle, public).fingerprint == signed.by.fingerprint
    opened = open_bundle(bundle, require_signature=public)
    assert opened.signed_by is not None
    assert opened.signed_by.content == signed.file.read_bytes()
    with pytest.raises(SignatureError, match="by another key"):
        open_bundle(bundle, require_signature=make.write_key(tmp_path, "other")[1])


@needs_model_signing
@pytest.mark.parametrize("curve", ["P-384", *(pytest.param(c, marks=pytest.mark.nightly) for c in ("P-256", "P-521"))])
def test_model_signing_accepts_our_signatures_and_we_accept_its(bundle, tmp_path, curve):
    key, public = make.write_key(tmp_path, curve=curve)
    file = sign_bundle(bundle, key).file
    verified = _model_signing("verify", "key", bundle, "--signature", file, "--public_key", public)
    assert verified.returncode == 0, verified.stderr
    file.unlink()
    signed = _model_signing("sign", "key", bundle, "--private_key", key, "--signature", file)
    assert signed.returncode == 0, signed.stderr
    assert verify_bundle(bundle, public).files == len(list(bundle.iterdir()))
    (bundle / "text.onnx").write_bytes((bundle / "text.onnx").read_bytes() + b"\0")
    assert _model_signing("verify", "key", bundle, "--signature", file, "--public_key", public).returncode != 0
    with pytest.raises(SignatureError, match=r"text\.onnx"):
        verify_bundle(bundle, public)


@needs_model_signing
def test_certificates_hold_both_ways(bundle, tmp_path):
    root = make.certificate("root", authority=True)
    between = make.certificate("between", root, authority=True)
    leaf = make.certificate("model team", between)
    key, _ = make.write_pair(tmp_path, "k", leaf[0])
    trusted = make.write_certificates(tmp_path / "root.pem", root[1])
    own, chain = tmp_path / "leaf.pem", tmp_path / "chain.pem"
    make.write_certificates(own, leaf[1])
    make.write_certificates(chain, between[1])
    signed = sign_bundle(bundle, key, certificate=own, chain=[chain])
    assert verify_bundle(bundle, trusted).name == signed.by.name == "CN=model team"
    verified = _model_signing(
        "verify", "certificate", bundle, "--signature", signed.file, "--certificate_chain", trusted
    )
    assert verified.returncode == 0, verified.stderr
    signed.file.unlink()
    words = ("--private_key", key, "--signing_certificate", own, "--certificate_chain", chain)
    made = _model_signing("sign", "certificate", bundle, "--signature", signed.file, *words)
    assert made.returncode == 0, made.stderr
    assert verify_bundle(bundle, trusted).name == "CN=model team"
    other = make.write_certificates(tmp_path / "other.pem", make.certificate("root", authority=True)[1])
    with pytest.raises(SignatureError, match="not vouched for"):
        verify_bundle(bundle, other)


@needs_model_signing
@pytest.mark.parametrize("change", ["unsigned file", "git file", "link"])
def test_a_file_that_model_signing_lets_through_or_not_is_refused_here(bundle, tmp_path, change):
    key, public = make.write_key(tmp_path)
    sign_bundle(bundle, key)
    if change == "link":
        (bundle / "text.onnx").rename(tmp_path / "elsewhere")
        (bundle / "text.onnx").symlink_to(tmp_path / "elsewhere")
    else:
        (bundle / (".gitattributes" if change == "git file" else "more")).write_text("x")
    with pytest.raises(SignatureError):
        verify_bundle(bundle, public)


def test_a_file_that_was_added_with_its_hash_in_the_manifest_is_refused(bundle, tmp_path):
    key, public = make.write_key(tmp_path)
    sign_bundle(bundle, key)
    content = json.loads((bundle / "manifest.json").read_text())
    content["name"] = "another"
    (bundle / "manifest.json").write_text(json.dumps(content))
    open_bundle(bundle)
    with pytest.raises(SignatureError, match="changed 'manifest.json'.*sign it again"):
        verify_bundle(bundle, public)


def test_a_broken_bundle_is_not_signed_and_no_bundle_is_no_wrong_signature(bundle, tmp_path):
    key, public = make.write_key(tmp_path)
    (bundle / "text.onnx").write_bytes(b"")
    with pytest.raises(BundleError, match=r"text\.onnx"):
        sign_bundle(bundle, key)
    assert not (tmp_path / "m.sig").exists()
    with pytest.raises(BundleError, match="expected a bundle") as caught:
        verify_bundle(tmp_path / "none", public)
    assert not isinstance(caught.value, SignatureError)


def test_a_signature_is_replaced_whole_or_stays(bundle, tmp_path):
    key, public = make.write_key(tmp_path)
    sign_bundle(bundle, key)
    (bundle / "text.onnx").write_bytes(b"")
    with pytest.raises(BundleError):
        sign_bundle(bundle, key)
    assert json.loads((tmp_path / "m.sig").read_text())["mediaType"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["k", "k.pub", "m", "m.sig"]
    assert public.exists()


def test_what_cannot_sign_is_one_sentence(bundle, tmp_path):
    key, public = make.write_key(tmp_path)
    weak, _ = make.write_pair(tmp_path, "rsa", make.rsa_key())
    (tmp_path / "odd").write_bytes(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----")
    (tmp_path / "empty").write_bytes(b"")
    for file, said in (
        (public, "got a public key: name the private key"),
        (weak, "P-256, P-384 or P-521, got RSAPrivateKey"),
        (tmp_path / "odd", "expected a private key"),
        (tmp_path / "empty", "got something else"),
        (tmp_path / "none", "No such file"),
    ):
        with pytest.raises(KeyFileError, match=said) as caught:
            sign_bundle(bundle, file)
        assert "\n" not in str(caught.value)
    root = make.write_certificates(tmp_path / "root.pem", make.certificate("root")[1])
    with pytest.raises(KeyFileError, match="got one of another key"):
        sign_bundle(bundle, key, certificate=root)
    with pytest.raises(KeyFileError, match="expected certificates"):
        sign_bundle(bundle, key, certificate=public)


def test_an_encrypted_key_needs_its_password(bundle, tmp_path):
    key, public = make.write_key(tmp_path, password="sesame")
    sign_bundle(bundle, key, password=lambda: "sesame")
    assert verify_bundle(bundle, public)
    for password in (None, lambda: "", lambda: "wrong"):
        with pytest.raises(KeyFileError, match="and its password where it has one"):
            sign_bundle(bundle, key, password=password)


def test_a_key_that_others_may_read_is_noticed(bundle, tmp_path):
    key, _ = make.write_key(tmp_path)
    key.chmod(0o644)
    assert sign_bundle(bundle, key).key_is_readable


def test_a_new_key_is_its_owners_alone_and_never_replaced(bundle, tmp_path):
    public, fingerprint = make_key(tmp_path / "new")
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600
    sign_bundle(bundle, tmp_path / "new")
    assert verify_bundle(bundle, public).fingerprint == fingerprint
    before = (tmp_path / "new").read_bytes()
    for name in ("new", "next"):
        (tmp_path / "next.pub").write_text("there")
        with pytest.raises(OutputError, match="a key is never replaced"):
            make_key(tmp_path / name)
    assert (tmp_path / "new").read_bytes() == before
    assert not (tmp_path / "next").exists()
    with pytest.raises(OutputError, match="cannot be written"):
        make_key(tmp_path / "no folder" / "k")
    make_key(tmp_path / "locked", password="sesame")
    assert read_private_key(tmp_path / "locked", lambda: "sesame")


@needs_model_signing
def test_sigstore_without_a_network_is_one_sentence(bundle, tmp_path, monkeypatch):
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nothing listens there, whatever network a machine has
    with pytest.raises(SignatureError, match="it needs the network") as caught:
        sign_with_sigstore(bundle)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "m.sig").exists()


def test_without_cryptography_it_says_what_to_install(bundle, tmp_path, monkeypatch):
    key, public = make.write_key(tmp_path)
    sign_bundle(bundle, key)
    for name in ("exceptions", "hazmat.primitives", "hazmat.primitives.serialization"):
        monkeypatch.setitem(sys.modules, f"cryptography.{name}", None)
    for use in (lambda: sign_bundle(bundle, key), lambda: open_bundle(bundle, require_signature=public)):
        with pytest.raises(MissingExtraError, match=r"pip install 'taemi-edge\[fleet\]'"):
            use()


def test_a_password_that_no_key_can_have_is_one_sentence(tmp_path):
    with pytest.raises(KeyFileError, match="expected a password that can encrypt a key"):
        make_key(tmp_path / "k", password="x" * 2000)
    assert not list(tmp_path.iterdir())
    make_key(tmp_path / "k", password="\udcff")
    assert read_private_key(tmp_path / "k", lambda: "\udcff")
