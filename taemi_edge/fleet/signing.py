"""Signs bundles, and checks them, with keys, with certificates, and through sigstore.

Signatures are in the OpenSSF model-signing format (`bundle/signatures.py`), which the `model-signing` package and NGC
read and write. Keys and certificates need no network. Signing through sigstore does: it is left to `model-signing`.
"""

from __future__ import annotations

import json
import os
import stat
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taemi_edge.bundle.atomic import new_file
from taemi_edge.bundle.folder import MANIFEST, open_bundle
from taemi_edge.bundle.signatures import (
    BUNDLE_TYPE,
    PAYLOAD_TYPE,
    PREDICATE_TYPE,
    STATEMENT_TYPE,
    SignedBy,
    pre_authentication_encoding,
    signature_file,
)
from taemi_edge.bundle.trusted_keys import fingerprint, hash_of_curve, read_small_file, require_curve
from taemi_edge.errors import BundleError, KeyFileError, MissingExtraError, OutputError, SignatureError, TaemiError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import Certificate

_PURPOSE = "signing"
_SIGSTORE_PURPOSE = "signing and verifying through sigstore"


@dataclass(frozen=True)
class Signed:
    """A signature that was written.

    Attributes:
        file: where it lies.
        by: who signed.
        key_is_readable: whether other users of this machine may read the private key.
    """

    file: Path
    by: SignedBy
    key_is_readable: bool = False


def sign_bundle(
    folder: Path,
    key: Path,
    *,
    certificate: Path | None = None,
    chain: Sequence[Path] = (),
    password: Callable[[], str] | None = None,
) -> Signed:
    """Sign every file of a bundle; the signature is written beside its folder.

    Args:
        folder: of the bundle; it is opened, so that no broken one is signed.
        key: the private key (PEM) on P-256, P-384 or P-521.
        certificate: the signer's certificate (PEM), which then goes into the signature.
        chain: files of certificates between the signer's and an authority's.
        password: asked where the key is encrypted.

    Raises:
        BundleError: the bundle cannot be opened.
        KeyFileError: the key or a certificate cannot be used, or they do not belong together.
        OutputError: the signature cannot be written.
        MissingExtraError: the package `cryptography` is not installed.
    """
    private = read_private_key(key, password)
    public = private.public_key()
    if certificate is None:
        name, material = f"key {fingerprint(public)[:16]}", {"publicKey": {"hint": fingerprint(public)}}
    else:
        signer, *between = [c for file in (certificate, *chain) for c in _certificates(file)]
        if signer.public_key() != public:
            raise KeyFileError(f"{certificate}: expected the certificate of the key {key}, got one of another key")
        name, material = signer.subject.rfc4514_string(), _chain_material([signer, *between])
    digests = open_bundle(folder).digests
    file = signature_file(folder)
    content = _signature(statement_of(file.stem, digests), private, material)
    with new_file(file) as draft:
        draft.write_bytes(content)
        draft.chmod(0o644)
    readable = bool(key.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))
    return Signed(file, SignedBy(name, fingerprint(public), len(digests)), readable)


def verify_bundle(folder: Path, key: Path) -> SignedBy:
    """Check that a bundle is what the holder of a key signed.

    Args:
        folder: of the bundle.
        key: a file of public keys, or of certificates.

    Raises:
        SignatureError: it is not, or a file of the bundle was changed.
        BundleError: there is no bundle.
        KeyFileError: the key cannot be used.
    """
    try:
        bundle = open_bundle(folder, require_signature=key)
    except SignatureError:
        raise
    except BundleError as error:
        if not (folder / MANIFEST).is_file():
            raise
        raise SignatureError(str(error)) from error
    if bundle.signed_by is None:
        raise SignatureError(f"{folder}: its signature was not checked")
    return bundle.signed_by


def make_key(file: Path, *, password: str | None = None) -> tuple[Path, str]:
    """Make a pair of keys on P-256: the private one in `file`, which its owner alone may read, and `file`.pub.

    Args:
        file: must not exist: a key is never replaced.
        password: encrypts the private key; None leaves it plain.

    Returns:
        The file of the public key, and its fingerprint.

    Raises:
        OutputError: one of the files is there already, or cannot be written.
        KeyFileError: the password is too long.
        MissingExtraError: the package `cryptography` is not installed.
    """
    ec, serialization = _cryptography()
    public_file = file.with_name(file.name + ".pub")
    for target in (file, public_file):
        if target.is_symlink() or target.exists():
            raise OutputError(f"{target}: expected a new file, and a key is never replaced: name another one")
    private = ec.generate_private_key(ec.SECP256R1())
    encryption = (
        serialization.NoEncryption() if password is None else serialization.BestAvailableEncryption(_bytes_of(password))
    )
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    public = private.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    try:
        content = private.private_bytes(pem, form, encryption)
    except ValueError as error:  # OpenSSL takes no password of more than 1023 bytes
        raise KeyFileError(f"{file}: expected a password that can encrypt a key: {error}") from error
    _write_new(file, content, 0o600)
    try:
        _write_new(public_file, public, 0o644)
    except OutputError:
        file.unlink()
        raise
    return public_file, fingerprint(private.public_key())


def sign_with_sigstore(folder: Path) -> Signed:
    """Sign a bundle through sigstore, with an identity in place of a key; this needs the network.

    The identity is the one that the machine has (in a CI job), or the browser asks for it.

    Raises:
        BundleError: the bundle cannot be opened.
        SignatureError: sigstore did not sign; the message has its reason.
        MissingExtraError: the package `model-signing` is not installed.
    """
    signing, _ = _model_signing()
    digests, file = open_bundle(folder).digests, signature_file(folder)
    with new_file(file) as draft:
        try:
            signing.Config().use_sigstore_signer(use_ambient_credentials=True).sign(folder.resolve(), draft)
        except OSError as error:
            raise _sigstore_error(folder, error) from error
        except Exception as error:  # the library raises errors of many packages
            raise _sigstore_error(folder, error) from error
        draft.chmod(0o644)
    return Signed(file, SignedBy("an identity of sigstore", "", len(digests)))


def verify_with_sigstore(folder: Path, identity: str, issuer: str) -> SignedBy:
    """Check a signature that was made through sigstore; this needs the network.

    Args:
        folder: of the bundle.
        identity: who must have signed, such as an e-mail address.
        issuer: the URL of who vouches for the identity, such as https://accounts.google.com.

    Raises:
        BundleError: the bundle cannot be opened.
        SignatureError: the signature does not hold, or sigstore cannot be asked; the message has the reason.
        MissingExtraError: the package `model-signing` is not installed.
    """
    _, verifying = _model_signing()
    digests, file = open_bundle(folder).digests, signature_file(folder)
    if not file.exists():
        raise SignatureError(f"{folder}: expected its signature in {file}, found none: sign it first")
    try:
        config = verifying.Config().use_sigstore_verifier(identity=identity, oidc_issuer=issuer)
        config.verify(folder.resolve(), file)
    except Exception as error:  # the library raises errors of many packages
        raise _sigstore_error(folder, error) from error
    return SignedBy(identity, "", len(digests))


def statement_of(name: str, digests: Mapping[str, str]) -> bytes:
    """Give the statement that is signed for files: their names and hashes, in the order of the names.

    Args:
        name: of the model; it only informs.
        digests: the sha256 of every file by name.

    Example:
        >>> import json
        >>> json.loads(statement_of("m", {"a.onnx": "00" * 32}))["predicate"]["serialization"]["method"]
        'files'
    """
    resources = [{"name": name, "algorithm": "sha256", "digest": digests[name]} for name in sorted(digests)]
    total = sha256(b"".join(bytes.fromhex(resource["digest"]) for resource in resources)).hexdigest()
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": total}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False},
            "resources": resources,
        },
    }
    return json.dumps(statement).encode("ascii")


def read_private_key(file: Path, password: Callable[[], str] | None = None) -> EllipticCurvePrivateKey:
    """Read a private key on P-256, P-384 or P-521.

    Args:
        file: PEM text, encrypted or not.
        password: asked where it is encrypted.

    Raises:
        KeyFileError: it is no private key of that kind, or the password is wrong or missing.
        MissingExtraError: the package `cryptography` is not installed.
    """
    _, serialization = _cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm

    content = read_small_file(file, "a private key (PEM)")
    if b"PRIVATE KEY-----" not in content:
        found = "a public key" if b"-----BEGIN PUBLIC KEY-----" in content else "something else"
        raise KeyFileError(f"{file}: expected a private key (PEM) to sign with, got {found}: name the private key")
    try:
        try:
            private = serialization.load_pem_private_key(content, None)
        except TypeError:  # it is encrypted
            given = password() if password is not None else ""
            private = serialization.load_pem_private_key(content, _bytes_of(given))
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyFileError(f"{file}: expected a private key, and its password where it has one: {error}") from error
    require_curve(private, file)
    key: EllipticCurvePrivateKey = private
    return key


def _signature(statement: bytes, private: EllipticCurvePrivateKey, material: dict[str, Any]) -> bytes:
    """Sign a statement; give the content of the signature's file."""
    ec, _ = _cryptography()
    signature = private.sign(pre_authentication_encoding(statement), ec.ECDSA(hash_of_curve(private)))
    bundle = {
        "mediaType": BUNDLE_TYPE,
        "verificationMaterial": {**material, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": b64encode(statement).decode("ascii"),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": b64encode(signature).decode("ascii"), "keyid": ""}],
        },
    }
    return json.dumps(bundle, separators=(",", ":")).encode("ascii")


def _chain_material(certificates: Sequence[Certificate]) -> dict[str, Any]:
    _, serialization = _cryptography()
    encoded = [b64encode(c.public_bytes(serialization.Encoding.DER)).decode("ascii") for c in certificates]
    return {"x509CertificateChain": {"certificates": [{"rawBytes": raw} for raw in encoded]}}


def _certificates(file: Path) -> list[Certificate]:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificates(read_small_file(file, "a certificate (PEM)"))
    except ValueError as error:
        raise KeyFileError(f"{file}: expected certificates (PEM), got something else: name another file") from error


def _bytes_of(password: str) -> bytes:
    """A password as it was typed: the bytes of one that is no UTF-8 come back as they were."""
    return password.encode("utf-8", "surrogateescape")


def _write_new(file: Path, content: bytes, mode: int) -> None:
    """Write a file that must not be there; its rights hold from its first byte on."""
    try:
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
            os.fchmod(stream.fileno(), mode)
            stream.write(content)
    except OSError as error:
        if not isinstance(error, FileExistsError):
            with suppress(OSError):
                file.unlink(missing_ok=True)
        raise OutputError(f"{file}: cannot be written: {error.strerror}: name another place") from error


def _cryptography() -> tuple[Any, Any]:
    """The modules `ec` and `serialization` of the package `cryptography`."""
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError as error:
        raise MissingExtraError("cryptography", "fleet", _PURPOSE) from error
    return ec, serialization


def _model_signing() -> tuple[Any, Any]:
    """The modules `signing` and `verifying` of the package `model-signing`."""
    try:
        from model_signing import signing, verifying
    except ImportError as error:
        raise MissingExtraError("model-signing", "sigstore", _SIGSTORE_PURPOSE) from error
    return signing, verifying


def _sigstore_error(folder: Path, error: Exception) -> TaemiError:
    said = " ".join(str(error).split())[:300] or type(error).__name__
    return SignatureError(
        f"{folder}: sigstore did not do it ({said}): it needs the network; `taemi-edge sign --key` and "
        "`verify --key` do without"
    )
