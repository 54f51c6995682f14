"""Keys, certificates and signatures for tests, made with `cryptography`, and altered as an attacker would."""

from __future__ import annotations

import datetime
import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cryptography", reason="signatures need the extra `fleet`")

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import NameOID

from taemi_edge.bundle.signatures import pre_authentication_encoding
from taemi_edge.bundle.trusted_keys import hash_of_curve
from taemi_edge.fleet.signing import statement_of

CURVES = {"P-256": ec.SECP256R1, "P-384": ec.SECP384R1, "P-521": ec.SECP521R1}
ISSUED = datetime.datetime(2020, 5, 1, tzinfo=datetime.timezone.utc)  # long over: certificates count as of that day


def write_key(folder: Path, name: str = "k", curve: str = "P-256", password: str | None = None) -> tuple[Path, Path]:
    """Write a private and a public key; give both files."""
    private = ec.generate_private_key(CURVES[curve]())
    return write_pair(folder, name, private, password)


def write_pair(folder: Path, name: str, private: Any, password: str | None = None) -> tuple[Path, Path]:
    how = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    key, public = folder / name, folder / f"{name}.pub"
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how))
    key.chmod(0o600)
    public.write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return key, public


def rsa_key() -> Any:
    return rsa.generate_private_key(65537, 2048)


def signed(
    private: Any,
    digests: dict[str, str],
    statement: Callable[[dict[str, Any]], object] = lambda _: None,
    envelope: Callable[[dict[str, Any]], object] = lambda _: None,
    chain: list[x509.Certificate] | None = None,
) -> bytes:
    """Sign digests as the format asks.

    Args:
        statement: changes the statement before it is signed.
        envelope: changes the finished signature.
        chain: certificates to send along.
    """
    content = json.loads(statement_of("m", digests))
    statement(content)
    payload = json.dumps(content).encode()
    signature = private.sign(pre_authentication_encoding(payload), ec.ECDSA(hash_of_curve(private)))
    raw = [{"rawBytes": b64encode(c.public_bytes(Encoding.DER)).decode()} for c in chain or ()]
    material: dict[str, Any] = {"x509CertificateChain": {"certificates": raw}} if raw else {"publicKey": {"hint": ""}}
    bundle: dict[str, Any] = {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {**material, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": b64encode(payload).decode(),
            "payloadType": "application/vnd.in-toto+json",
            "signatures": [{"sig": b64encode(signature).decode(), "keyid": ""}],
        },
    }
    envelope(bundle)
    return json.dumps(bundle).encode()


def payload_of(signature: bytes) -> dict[str, Any]:
    """The statement inside a signature."""
    content: dict[str, Any] = json.loads(b64decode(json.loads(signature)["dsseEnvelope"]["payload"]))
    return content


def certificate(
    name: str,
    issuer: tuple[Any, x509.Certificate] | None = None,
    *,
    authority: bool = False,
    key: Any = None,
    usage: bool = True,
    path_length: int | None = None,
    extra: tuple[tuple[x509.ExtensionType, bool], ...] = (),
) -> tuple[Any, x509.Certificate]:
    """Make a key and its certificate.

    Args:
        issuer: who signs it; itself by default.
        authority: whether it may sign others.
        usage: whether it says what it is for.
        path_length: how many authorities may stand below it.
        extra: further extensions, each with whether it is critical.
    """
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer, issued_by = (key, subject) if issuer is None else (issuer[0], issuer[1].subject)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issued_by)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(ISSUED)
        .not_valid_after(ISSUED + datetime.timedelta(days=30))
        .add_extension(x509.BasicConstraints(authority, path_length), critical=True)
    )
    if usage:
        said = x509.KeyUsage(not authority, False, False, False, False, authority, authority, False, False)
        builder = builder.add_extension(said, critical=True)
    for extension, critical in extra:
        builder = builder.add_extension(extension, critical)
    return key, builder.sign(signer, hashes.SHA256())


def write_certificates(file: Path, *certificates: x509.Certificate) -> Path:
    """Write certificates into one file (PEM)."""
    file.write_bytes(b"".join(c.public_bytes(Encoding.PEM) for c in certificates))
    return file
