"""The keys that a device trusts: what lies in the file of `--require-signature` and of `verify --key`.

The file is PEM text. It holds one or more public keys on an elliptic curve (P-256, P-384 or P-521), or certificates:
those of a certificate authority, or a signer's own. A signature by any of them is accepted, so that a new key can be
installed beside the old one before the first bundle is signed with it.

The package `cryptography` is imported with the first key.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taemi_edge.bundle.limits import MOST_SIGNATURE_BYTES
from taemi_edge.errors import KeyFileError, MissingExtraError, SignatureError, printable

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.hashes import HashAlgorithm
    from cryptography.x509 import Certificate
    from cryptography.x509.verification import ExtensionPolicy

_MOST_BLOCKS = 500
_MOST_IN_CHAIN = 10
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----.*?-----END \1-----", re.DOTALL)
_CURVES = {"secp256r1": "SHA256", "secp384r1": "SHA384", "secp521r1": "SHA512"}
_WANTED = "an EC key on P-256, P-384 or P-521"


#: Names the key that this device trusts, in place of the file below.
TRUSTED_KEY_VARIABLE = "TAEMI_EDGE_TRUSTED_KEY"
#: Where it lies, every bundle that runs on this device must be signed with it.
_INSTALLED_KEY = Path("/etc/taemi-edge/trusted.pub")


@dataclass(frozen=True)
class TrustedKeys:
    """The content of a file of trusted keys.

    Attributes:
        file: where it lies.
        keys: public keys by their fingerprint.
        certificates: of authorities, or of signers.
    """

    file: Path
    keys: dict[str, EllipticCurvePublicKey]
    certificates: tuple[Certificate, ...]


def required_key(named: Path | str | None = None) -> Path | None:
    """Give the file of keys that bundles must be signed with here; None where no signature is asked for.

    Args:
        named: what was asked for. Without it, it is what $TAEMI_EDGE_TRUSTED_KEY names, or
            `/etc/taemi-edge/trusted.pub` where that is there.

    Example:
        >>> required_key("publisher.pub").name
        'publisher.pub'
    """
    if named or (named := os.environ.get(TRUSTED_KEY_VARIABLE)):
        return Path(named)
    try:
        os.lstat(_INSTALLED_KEY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return _INSTALLED_KEY  # its folder may not be looked into: reading the key says so
    return _INSTALLED_KEY


def read_trusted_keys(file: Path) -> TrustedKeys:
    """Read a file of public keys or certificates.

    Raises:
        KeyFileError: there is no such file, or it holds no key of a kind that can verify.
        MissingExtraError: the package `cryptography` is not installed.
    """
    content = read_small_file(file, "a public key (PEM)")
    blocks = [(match[1].decode(), match[0] + b"\n") for match in _BLOCK.finditer(content)]
    if private := [label for label, _ in blocks if label.endswith("PRIVATE KEY")]:
        raise KeyFileError(
            f"{file}: expected a public key, got a {private[0].lower()}: name the public one, "
            f"which `openssl pkey -in {file} -pubout` prints"
        )
    blocks = [block for block in blocks if block[0] in ("PUBLIC KEY", "CERTIFICATE")]
    if not 1 <= len(blocks) <= _MOST_BLOCKS:
        found = f"{len(blocks)} of them" if blocks else "neither"
        raise KeyFileError(f"{file}: expected public keys or certificates in PEM, got {found}: name another file")
    keys = [_public_key(block, file) for label, block in blocks if label == "PUBLIC KEY"]
    certificates = tuple(_certificate(block, file) for label, block in blocks if label == "CERTIFICATE")
    return TrustedKeys(file, {fingerprint(key): key for key in keys}, certificates)


def read_small_file(file: Path, expected: str) -> bytes:
    """Read a file of at most 1 MiB.

    Args:
        expected: what it should be, for the message.

    Raises:
        KeyFileError: it cannot be read, is no file, or is larger.
    """
    try:
        with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:  # a pipe would wait
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise KeyFileError(f"{file}: expected {expected}, got something that is no file: name another one")
            content = stream.read(MOST_SIGNATURE_BYTES + 1)
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or str(error)
        raise KeyFileError(f"{file}: expected {expected}: {said}: name one that is there and may be read") from error
    if len(content) > MOST_SIGNATURE_BYTES:
        raise KeyFileError(f"{file}: expected {expected} of at most 1 MiB, got a larger file: name another one")
    return content


def fingerprint(key: EllipticCurvePublicKey) -> str:
    """The sha256 of a public key as PEM, by which signatures name their key."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return sha256(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def require_curve(key: Any, file: Path) -> None:
    """Refuse a key that the signature format does not know.

    Args:
        key: public or private.
        file: where it lies, for the message.

    Raises:
        KeyFileError: it is no key on one of the three curves.
    """
    curve = getattr(getattr(key, "curve", None), "name", None)
    if curve not in _CURVES:
        found = f"one on {curve}" if curve else type(key).__name__.strip("_")
        raise KeyFileError(f"{file}: expected {_WANTED}, got {found}: make one with `taemi-edge keygen`")


def hash_of_curve(key: Any) -> HashAlgorithm:
    """The hash that signatures by a key use: each curve has one."""
    from cryptography.hazmat.primitives import hashes

    chosen: HashAlgorithm = getattr(hashes, _CURVES[key.curve.name])()
    return chosen


def is_signed_by(key: EllipticCurvePublicKey, signature: bytes, message: bytes) -> bool:
    """Whether a signature (DER) over a message is by the holder of a key."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

    try:
        key.verify(signature, message, ECDSA(hash_of_curve(key)))
    except InvalidSignature:
        return False
    return True


def certified_key(chain: Sequence[bytes], trusted: TrustedKeys) -> tuple[str, EllipticCurvePublicKey]:
    """Give the name and the key of a signer whose certificate a trusted one vouches for.

    The certificates are checked as of the day when the signer's was issued, as the `model-signing` package does:
    nothing that is offline tells when a signature was made, and the clock of a device may be wrong.

    Args:
        chain: the signer's certificate and those between it and a trusted one, as DER.
        trusted: certificates of authorities, or the signer's own.

    Raises:
        SignatureError: no trusted certificate vouches for it, or it is not for signing.
        KeyFileError: `trusted` holds no certificates.
    """
    try:
        from cryptography import x509
        from cryptography.x509.verification import ExtensionPolicy, PolicyBuilder, Store, VerificationError
    except ImportError as error:
        raise MissingExtraError("cryptography", "fleet", "checking a certificate (from version 45 on)") from error
    if not trusted.certificates:
        raise KeyFileError(
            f"{trusted.file}: the signature comes with a certificate, expected the certificate of its authority, "
            "got public keys alone: name the authority's certificate"
        )
    if not 1 <= len(chain) <= _MOST_IN_CHAIN:
        raise SignatureError(f"expected 1 to {_MOST_IN_CHAIN} certificates in the signature, got {len(chain)}")
    try:
        signer, *between = [x509.load_der_x509_certificate(der) for der in chain]
        name = printable(signer.subject.rfc4514_string()[:200]) or "a certificate without a name"
        if signer not in trusted.certificates:
            policy = PolicyBuilder().store(Store(list(trusted.certificates))).time(signer.not_valid_before_utc)
            policy = policy.extension_policies(ca_policy=_authority_policy(), ee_policy=ExtensionPolicy.permit_all())
            policy.build_client_verifier().verify(signer, between)
        key: Any = signer.public_key()
        may_sign = _may_sign(signer)
    except VerificationError as error:
        raise SignatureError(
            f"the certificate of the signer, {name!r}, is not vouched for by one in {trusted.file} ({error})"[:500]
        ) from error
    except Exception as error:  # a hostile certificate raises errors of many kinds, some of them Rust's own
        raise SignatureError(f"expected certificates in the signature, got something else ({error})"[:500]) from error
    if not may_sign or getattr(getattr(key, "curve", None), "name", None) not in _CURVES:
        raise SignatureError(f"the certificate {name!r} is not one for signing with {_WANTED}")
    return name, key


def _may_sign(certificate: Certificate) -> bool:
    """Whether a certificate says that it is for signing: in general, or for code."""
    from cryptography import x509

    try:
        if certificate.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature:
            return True
    except x509.ExtensionNotFound:
        pass
    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return False
    return x509.oid.ExtendedKeyUsageOID.CODE_SIGNING in usages


def _authority_policy() -> ExtensionPolicy:
    """What the certificate of an authority must say: that it is one, and may sign others."""
    from cryptography import x509
    from cryptography.x509.verification import Criticality, ExtensionPolicy

    def is_authority(_policy: Any, _certificate: Any, extension: Any) -> None:
        if not extension.ca:
            raise ValueError("a certificate in between is not that of an authority")

    def may_certify(_policy: Any, _certificate: Any, extension: Any) -> None:
        if extension is not None and not extension.key_cert_sign:
            raise ValueError("a certificate in between may not sign others")

    policy = ExtensionPolicy.permit_all()
    policy = policy.require_present(x509.BasicConstraints, Criticality.AGNOSTIC, is_authority)
    return policy.may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, may_certify)


def _public_key(block: bytes, file: Path) -> EllipticCurvePublicKey:
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ImportError as error:
        raise MissingExtraError("cryptography", "fleet", "checking a signature") from error
    try:
        key: Any = load_pem_public_key(block)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyFileError(f"{file}: expected {_WANTED}, got something else: name another file") from error
    require_curve(key, file)
    checked: EllipticCurvePublicKey = key
    return checked


def _certificate(block: bytes, file: Path) -> Certificate:
    try:
        from cryptography import x509
    except ImportError as error:
        raise MissingExtraError("cryptography", "fleet", "checking a signature") from error
    try:
        return x509.load_pem_x509_certificate(block)
    except ValueError as error:
        raise KeyFileError(f"{file}: expected certificates in PEM, got something else: name another file") from error
