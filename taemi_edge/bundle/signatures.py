"""Checks that a bundle is what the holder of a trusted key signed.

The signature of the folder `export/m` is the file `export/m.sig` beside it, in the OpenSSF model-signing format: a
Sigstore bundle (JSON) with an envelope (DSSE) around a statement (in-toto) that lists the sha256 of every file. The
`model-signing` package writes and reads the same.

Checking reads no file of the bundle: it takes the hashes that opening computes anyway. It accepts less than the
format allows, so that every byte that is used was signed: one signature, hashes of whole files in sha256, and neither
a file more nor a file less than was signed.

What it needs beyond the standard library is the package `cryptography` (`trusted_keys.py`).
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from taemi_edge.bundle.seal import require_sealed
from taemi_edge.bundle.trusted_keys import (
    TrustedKeys,
    certified_key,
    fingerprint,
    is_signed_by,
    read_small_file,
    read_trusted_keys,
)
from taemi_edge.errors import KeyFileError, SignatureError

BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
#: How a signature by another tool, or in another form, can be made one that is accepted here.
SIGN_AGAIN = "sign the bundle again with `taemi-edge sign`"
MANIFEST = "manifest.json"
_ENDING = ".sig"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_SHOWN = 3


@dataclass(frozen=True)
class SignedBy:
    """Who signed a bundle.

    Attributes:
        name: "key" and the first digits of its fingerprint, or the subject of a certificate.
        fingerprint: the sha256 of the signer's public key as PEM.
        files: how many files are signed.
        built_here: whether the signed files are the graphs, from which this device built the engines itself.
        content: of the signature's file.
    """

    name: str
    fingerprint: str
    files: int
    built_here: bool = False
    content: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class BuiltFrom:
    """What an engine bundle says of the graphs that it was built from.

    Attributes:
        digests: the sha256 of every file of their bundle.
        signature: the content of that bundle's signature.
    """

    digests: Mapping[str, str]
    signature: bytes


def import_what_checks_keys() -> None:
    """Import the parts of `cryptography` that a check by a key needs, before they are needed.

    Raises:
        ImportError: the package is not installed.
    """
    import cryptography.exceptions
    import cryptography.hazmat.primitives.asymmetric.ec
    import cryptography.hazmat.primitives.hashes
    import cryptography.hazmat.primitives.serialization  # noqa: F401 - to be imported is its purpose


def signature_file(folder: Path | str) -> Path:
    """Give the place of a bundle's signature: beside the folder itself, where a link to it leads.

    Example:
        >>> signature_file("/srv/models/m").as_posix()
        '/srv/models/m.sig'
    """
    resolved = Path(folder).resolve()
    return resolved.with_name(resolved.name + _ENDING)


def check_signature(
    folder: Path | str, digests: Mapping[str, str], key: Path, built_from: BuiltFrom | None = None
) -> SignedBy:
    """Check that a bundle is signed: it is itself, or this device built it from graphs that are.

    Args:
        folder: of the bundle; its signature lies beside it.
        digests: the sha256 of every file in it, by name, as 64 hexadecimal digits.
        key: a file of public keys or certificates.
        built_from: of an engine bundle that names signed graphs; None for every other bundle.

    Raises:
        SignatureError: there is no signature, it is by another key, the files are not those that were signed, or the
            engines are not this device's own.
        KeyFileError: `key` cannot be used.
        MissingExtraError: the package `cryptography` is not installed.
    """
    trusted = read_trusted_keys(key)
    file = signature_file(folder)
    if built_from is None or file.exists():
        try:
            return check_signed(_signature(folder, file), digests, trusted, str(file))
        except SignatureError:
            if built_from is None:
                raise
    signed = check_signed(built_from.signature, built_from.digests, trusted, f"{folder}, the signature of its graphs")
    try:
        require_sealed(digests[MANIFEST])
    except SignatureError as error:
        raise SignatureError(f"{folder}: {error}") from error
    return replace(signed, built_here=True)


def _signature(folder: Path | str, file: Path) -> bytes:
    """The content of a bundle's signature."""
    if not file.exists():
        raise SignatureError(
            f"{folder}: expected its signature in {file}, found none: sign it with `taemi-edge sign`, bring the "
            "signature along with the folder, or, where it holds engines, build them here with "
            "`taemi-edge build-engine --require-signature`"
        )
    try:
        return read_small_file(file, "a signature")
    except KeyFileError as error:
        raise SignatureError(str(error)) from error


def check_signed(content: bytes, digests: Mapping[str, str], trusted: TrustedKeys, shown: str) -> SignedBy:
    """Check a signature over files.

    Args:
        content: of the signature's file.
        digests: the sha256 of every file by name.
        trusted: whose signature is accepted.
        shown: what the message calls the signature, such as its path.

    Raises:
        SignatureError: the signature does not hold, or not for these files.
        KeyFileError: the trusted keys are of another kind than the signature.
    """
    try:
        name, key, statement = _opened_envelope(content, trusted)
        signed = signed_digests(statement)
        _require_same(signed, digests)
    except SignatureError as error:
        raise SignatureError(f"{shown}: {error}") from error
    return SignedBy(name, fingerprint(key), len(signed), content=content)


def require_signed_files(content: bytes, digests: Mapping[str, str], shown: str) -> None:
    """Refuse the signature of other files. Whose it is, is not asked: this is for who sends both on to others.

    Args:
        content: of the signature.
        digests: the sha256 of every file by name.
        shown: the signature's place, for messages.

    Raises:
        SignatureError: it is no signature, or signs something else.
    """
    try:
        envelope = _field(_parsed(content, "a signature"), "dsseEnvelope", dict)
        _require_same(signed_digests(_decoded(envelope, "payload")), digests)
    except SignatureError as error:
        raise SignatureError(f"{shown}: {error}") from error


def pre_authentication_encoding(payload: bytes) -> bytes:
    """The bytes that are signed for a payload (DSSE version 1, github.com/secure-systems-lab/dsse).

    Example:
        >>> pre_authentication_encoding(b"{}")
        b'DSSEv1 28 application/vnd.in-toto+json 2 {}'
    """
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def signed_digests(statement: bytes) -> dict[str, str]:
    """Read the hashes from a statement of the model-signing format.

    Returns:
        The sha256 of each file by name.

    Raises:
        SignatureError: the statement is of another form, or contradicts itself.
    """
    content = _parsed(statement, "a statement")
    _require(content, "_type", STATEMENT_TYPE)
    _require(content, "predicateType", PREDICATE_TYPE)
    predicate = _field(content, "predicate", dict)
    form = _field(predicate, "serialization", dict)
    if form.get("method") != "files" or form.get("hash_type") != "sha256":
        raise SignatureError(
            f"expected the sha256 of whole files, got method {_shown(form.get('method'))} with "
            f"{_shown(form.get('hash_type'))}: {SIGN_AGAIN}"
        )
    digests: dict[str, str] = {}
    for resource in _field(predicate, "resources", list):
        name, digest = _field(resource, "name", str), _field(resource, "digest", str)
        _require(resource, "algorithm", "sha256")
        if not _DIGEST.fullmatch(digest) or name in digests:
            raise SignatureError(f"expected each file once with its sha256, got {name!r:.80} otherwise: {SIGN_AGAIN}")
        digests[name] = digest
    subjects = _field(content, "subject", list)
    total = sha256(b"".join(map(bytes.fromhex, digests.values()))).hexdigest()
    if len(subjects) != 1 or _field(_field(subjects[0], "digest", dict), "sha256", str) != total:
        raise SignatureError(f"expected one subject with the hash over all files, got another: {SIGN_AGAIN}")
    return digests


def _opened_envelope(content: bytes, trusted: TrustedKeys) -> tuple[str, Any, bytes]:
    """Check the signature of an envelope; give the signer's name and key, and the signed statement."""
    bundle = _parsed(content, "a signature")
    _require(bundle, "mediaType", BUNDLE_TYPE)
    envelope = _field(bundle, "dsseEnvelope", dict)
    _require(envelope, "payloadType", PAYLOAD_TYPE)
    signatures = _field(envelope, "signatures", list)
    if len(signatures) != 1:
        raise SignatureError(f"expected one signature in the envelope, got {len(signatures)}: {SIGN_AGAIN}")
    payload, signature = _decoded(envelope, "payload"), _decoded(signatures[0], "sig")
    message = pre_authentication_encoding(payload)
    for known, key in trusted.keys.items():
        if is_signed_by(key, signature, message):
            return f"key {known[:16]}", key, payload
    return *_by_certificate(bundle, signature, message, trusted), payload


def _by_certificate(bundle: Any, signature: bytes, message: bytes, trusted: TrustedKeys) -> tuple[str, Any]:
    """Check a signature that none of the trusted public keys made: it may come with a certificate."""
    material = _field(bundle, "verificationMaterial", dict)
    if "certificate" in material:
        raise SignatureError(
            "expected a signature by a key or with a certificate of yours, got one made through sigstore: check it "
            "with `taemi-edge verify --identity`, or sign the bundle with a key"
        )
    if "x509CertificateChain" not in material:
        hint = material["publicKey"].get("hint") if isinstance(material.get("publicKey"), dict) else None
        known = isinstance(hint, str) and hint in trusted.keys
        if known:
            raise SignatureError(f"the signature is broken, or what it signs was changed: {SIGN_AGAIN}")
        of = f" ({hint[:16]!r})" if isinstance(hint, str) else ""
        raise SignatureError(
            f"expected a signature by a key in {trusted.file}, got one by another key{of}: name the key of who signed "
            "it, or get the bundle anew from whom you trust"
        )
    chain = _field(_field(material, "x509CertificateChain", dict), "certificates", list)
    name, key = certified_key([_decoded(certificate, "rawBytes") for certificate in chain], trusted)
    if not is_signed_by(key, signature, message):
        raise SignatureError(f"the signature is broken, or what it signs was changed: {SIGN_AGAIN}")
    return name, key


def _require_same(signed: Mapping[str, str], found: Mapping[str, str]) -> None:
    """Refuse files that are not exactly those that were signed."""
    changed = [name for name in signed if name in found and signed[name] != found[name]]
    problems = [
        f"{said} {', '.join(f'{name!r:.80}' for name in sorted(names)[:_SHOWN])}"
        + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
        for said, names in (
            ("changed", changed),
            ("missing", set(signed) - set(found)),
            ("not signed", set(found) - set(signed)),
        )
        if names
    ]
    if problems:
        raise SignatureError(
            f"the files are not those that were signed ({'; '.join(problems)}): get the bundle and its signature "
            "anew, or, where you changed it yourself, sign it again"
        )


def _parsed(text: bytes, what: str) -> Any:
    """Read JSON; no key may stand twice in an object, since another reader could take the other value."""
    try:
        return json.loads(text.decode("utf-8"), object_pairs_hook=_once_each)
    except (ValueError, RecursionError) as error:
        raise SignatureError(f"expected {what} in JSON, got something else ({error!s:.200}): {SIGN_AGAIN}") from error


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("a key stands twice")
    return content


def _field(content: Any, name: str, kind: type[Any]) -> Any:
    value = content.get(name) if isinstance(content, dict) else None
    if not isinstance(value, kind):
        raise SignatureError(f"expected {name} of the model-signing format, got {_shown(value)}: {SIGN_AGAIN}")
    return value


def _require(content: Any, name: str, want: str) -> None:
    got = content.get(name) if isinstance(content, dict) else None
    if got != want:
        raise SignatureError(f"expected {name} {want}, got {_shown(got)}: {SIGN_AGAIN}")


def _shown(value: Any) -> str:
    """A value for a message, in a few characters."""
    plain = value is None or isinstance(value, (str, bool, float))
    return repr(value)[:80] if plain else f"a value of type {type(value).__name__}"


def _decoded(content: Any, name: str) -> bytes:
    try:
        return b64decode(_field(content, name, str), validate=True)
    except ValueError as error:
        raise SignatureError(f"expected {name} in base64, got something else: {SIGN_AGAIN}") from error
