"""Files of trusted keys and certificates, and whom a trusted certificate vouches for."""

from __future__ import annotations

import os
from hashlib import sha256

import pytest

from taemi_edge.bundle import trusted_keys
from taemi_edge.bundle.signatures import check_signed
from taemi_edge.bundle.trusted_keys import fingerprint, read_trusted_keys
from taemi_edge.errors import KeyFileError, SignatureError
from tests import signatures as make
from tests.signatures import x509

DIGESTS = {"manifest.json": sha256(b"").hexdigest()}


def test_a_file_may_hold_several_keys(tmp_path):
    one, two = make.write_key(tmp_path, "one")[1], make.write_key(tmp_path, "two", "P-384")[1]
    both = tmp_path / "both"
    both.write_bytes(b"# the old one\n" + one.read_bytes() + b"# the new one\n" + two.read_bytes())
    assert len(read_trusted_keys(both).keys) == 2
    assert list(read_trusted_keys(one).keys) == [sha256(one.read_bytes()).hexdigest()]


def test_what_is_no_public_key_is_one_sentence(tmp_path):
    key, _ = make.write_key(tmp_path)
    with pytest.raises(KeyFileError, match="expected a public key, got a private key"):
        read_trusted_keys(key)
    _, weak = make.write_pair(tmp_path, "rsa", make.rsa_key())
    with pytest.raises(KeyFileError, match="P-256, P-384 or P-521, got RSAPublicKey"):
        read_trusted_keys(weak)
    _, other = make.write_pair(tmp_path, "k1", make.ec.generate_private_key(make.ec.SECP256K1()))
    with pytest.raises(KeyFileError, match="got one on secp256k1"):
        read_trusted_keys(other)
    for content, said in (
        (b"", "got neither"),
        (b"\0" * 1000, "got neither"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "something else"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "something else"),
        (b"-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n" * 501, "501 of them"),
        (b" " * ((1 << 20) + 1), "at most 1 MiB"),
    ):
        (tmp_path / "odd").write_bytes(content)
        with pytest.raises(KeyFileError, match=said):
            read_trusted_keys(tmp_path / "odd")


def test_no_file_is_one_sentence(tmp_path):
    with pytest.raises(KeyFileError, match="No such file"):
        read_trusted_keys(tmp_path / "none")
    with pytest.raises(KeyFileError, match="public key"):
        read_trusted_keys(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(KeyFileError, match="no file"):
        read_trusted_keys(tmp_path / "pipe")
    with pytest.raises(KeyFileError, match="null"):
        read_trusted_keys(tmp_path / "a\0b")


def test_a_key_that_may_not_be_looked_for_is_still_required(monkeypatch, tmp_path):
    monkeypatch.delenv("TAEMI_EDGE_TRUSTED_KEY", raising=False)
    monkeypatch.setattr(trusted_keys, "_INSTALLED_KEY", tmp_path / "none" / "trusted.pub")
    assert trusted_keys.required_key() is None

    def denied(path: object) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "lstat", denied)
    assert trusted_keys.required_key() == tmp_path / "none" / "trusted.pub"


def _check(chain, trusted, tmp_path, key=None):
    """Sign with the first certificate's key, and check it with the trusted ones."""
    content = make.signed(key or chain[0][0], DIGESTS, chain=[c for _, c in chain])
    file = make.write_certificates(tmp_path / "trusted.pem", *(c for _, c in trusted))
    return check_signed(content, DIGESTS, read_trusted_keys(file), "m.sig")


@pytest.fixture(scope="module")
def root():
    return make.certificate("root", authority=True)


@pytest.fixture(scope="module")
def between(root):
    return make.certificate("between", root, authority=True)


def test_a_chain_to_a_trusted_authority_holds(root, between, tmp_path):
    leaf = make.certificate("model team", between)
    by = _check([leaf, between], [root], tmp_path)
    assert (by.name, by.fingerprint) == ("CN=model team", fingerprint(leaf[0].public_key()))
    assert _check([leaf], [between], tmp_path).files == 1
    assert _check(
        [make.certificate("signer", root, key=make.ec.generate_private_key(make.ec.SECP521R1()))], [root], tmp_path
    )
    old = make.certificate("rsa root", authority=True, key=make.rsa_key())
    assert _check([make.certificate("signer", old)], [old], tmp_path)


def test_a_signers_own_certificate_may_be_trusted(root, tmp_path):
    alone, leaf = make.certificate("alone"), make.certificate("signer", root)
    assert _check([alone], [alone], tmp_path)
    assert _check([leaf], [leaf], tmp_path)
    with pytest.raises(SignatureError, match="not vouched for"):
        _check([make.certificate("another of that authority", root)], [leaf], tmp_path)


def test_chains_that_do_not_hold_are_refused(root, between, tmp_path):
    leaf = make.certificate("model team", between)
    stranger = make.certificate("root", authority=True)
    no_authority = make.certificate("not one", root)
    shallow = make.certificate("shallow", root, authority=True, path_length=0)
    below = make.certificate("below", shallow, authority=True)
    may_not = make.certificate("may not", root, authority=True, usage=False, extra=(
        (x509.KeyUsage(True, False, False, False, False, False, False, False, False), True),
    ))  # fmt: skip
    unknown = make.certificate("odd", root, extra=(
        (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4.5"), b"\x05\x00"), True),
    ))  # fmt: skip
    for chain in (
        [leaf],
        [make.certificate("model team", stranger)],
        [leaf, make.certificate("between", stranger, authority=True)],
        [make.certificate("forged", no_authority), no_authority],
        [make.certificate("deep", below), below, shallow],
        [make.certificate("x", may_not), may_not],
        [unknown],
    ):
        with pytest.raises(SignatureError, match="not vouched for"):
            _check(chain, [root], tmp_path)


def test_a_certificate_must_be_for_signing_and_fit_the_signature(root, tmp_path):
    with pytest.raises(SignatureError, match="not one for signing"):
        _check([make.certificate("no usage", root, usage=False)], [root], tmp_path)
    code = ((x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.CODE_SIGNING]), False),)
    assert _check([make.certificate("code", root, usage=False, extra=code)], [root], tmp_path)
    leaf = make.certificate("model team", root)
    with pytest.raises(SignatureError, match="broken"):
        _check([leaf], [root], tmp_path, key=make.certificate("thief")[0])


def test_odd_chains_and_kinds_of_trust_are_refused(root, tmp_path):
    leaf = make.certificate("model team", root)
    with pytest.raises(SignatureError, match="1 to 10 certificates"):
        _check([leaf] * 11, [root], tmp_path)
    _, public = make.write_key(tmp_path)
    with pytest.raises(KeyFileError, match="expected the certificate of its authority"):
        check_signed(make.signed(leaf[0], DIGESTS, chain=[leaf[1]]), DIGESTS, read_trusted_keys(public), "m.sig")
    trusted = read_trusted_keys(make.write_certificates(tmp_path / "root.pem", root[1]))
    with pytest.raises(SignatureError, match="by another key"):
        check_signed(make.signed(leaf[0], DIGESTS), DIGESTS, trusted, "m.sig")
    nothing = {"x509CertificateChain": {"certificates": [{"rawBytes": "AAAA"}]}}
    garbage = make.signed(leaf[0], DIGESTS, envelope=lambda b: b.update(verificationMaterial=nothing))
    with pytest.raises(SignatureError, match="expected certificates in the signature"):
        check_signed(garbage, DIGESTS, trusted, "m.sig")


def test_the_bare_key_of_a_certificate_may_be_trusted(root, tmp_path):
    leaf = make.certificate("model team", root)
    _, public = make.write_pair(tmp_path, "leaf", leaf[0])
    content = make.signed(leaf[0], DIGESTS, chain=[leaf[1]])
    assert check_signed(content, DIGESTS, read_trusted_keys(public), "m.sig").name.startswith("key ")
