"""Signatures, keys, and what a registry answers."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

from taemi_edge.bundle.signatures import check_signed, signed_digests
from taemi_edge.bundle.trusted_keys import read_trusted_keys
from taemi_edge.fleet.artifact import artifact_from_bytes
from taemi_edge.fleet.credentials import find_credentials
from taemi_edge.fleet.reference import parse_reference
from taemi_edge.fleet.signing import read_private_key
from tests.fuzz.harness import SEEDS, Harness, as_file
from tests.fuzz.mutation.plain import mutate_text
from tests.fuzz.mutation.trees import mutate_json

_PLACE = parse_reference("oci://registry.example:5000/models/mine:3")


@cache
def _trusted() -> Any:
    return read_trusted_keys(SEEDS / "trusted-keys" / "several.pem")


@cache
def _signed() -> dict[str, str]:
    """The hashes that the seed of the parser `statement` signs."""
    return signed_digests((SEEDS / "statement" / "little.json").read_bytes())


def _signature(content: bytes) -> None:
    """A signature that is accepted must be over exactly what was signed."""
    check_signed(content, _signed(), _trusted(), "little.sig")
    envelope = json.loads(content)["dsseEnvelope"]
    original = json.loads((SEEDS / "signature" / "key.sig").read_bytes())["dsseEnvelope"]
    assert envelope["payload"].strip() == original["payload"].strip(), "another statement is accepted"


def _statement(content: bytes) -> None:
    for name, digest in signed_digests(content).items():
        assert isinstance(name, str)
        assert len(bytes.fromhex(digest)) == 32


def _keys(content: bytes) -> None:
    read_trusted_keys(as_file(content, "trusted.pem"))


def _private(content: bytes) -> None:
    read_private_key(as_file(content, "key.pem"), lambda: "a password")


def _artifact(content: bytes) -> None:
    for layer in artifact_from_bytes(content, "registry.example").layers:
        assert Path(layer.title).name == layer.title
        assert layer.title.isprintable()
        assert layer.size >= 0


def _reference(content: bytes) -> None:
    text = content.decode("utf-8", "replace")
    reference = parse_reference(text)
    assert parse_reference(str(reference)) == reference


def _credentials(content: bytes) -> None:
    """No credential helper is run: there is none on the path."""
    folder = str(as_file(content, "config.json").parent)
    own = {"DOCKER_CONFIG": folder, "PATH": folder, "XDG_CONFIG_HOME": folder, "HOME": folder}
    with mock.patch.dict(os.environ, own, clear=True):
        known = find_credentials(_PLACE)
    if known is not None:
        assert known.password not in repr(known) or len(known.password) < 8


_CRYPTO = ("cryptography",)

HARNESSES = (
    Harness("signature", _signature, mutate_json, needs=_CRYPTO),
    Harness("statement", _statement, mutate_json, needs=_CRYPTO),
    Harness("trusted-keys", _keys, mutate_text, needs=_CRYPTO),
    Harness("private-key", _private, mutate_text, share=0.5, needs=_CRYPTO),
    Harness("artifact", _artifact, mutate_json),
    Harness("reference", _reference, mutate_text, share=0.5),
    Harness("credentials", _credentials, mutate_json),
)
