"""Signatures in the model-signing format: what holds, and every way in which one must not."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taemi_edge.bundle.seal import seal_manifest
from taemi_edge.bundle.signatures import BuiltFrom, check_signature, check_signed, signature_file, signed_digests
from taemi_edge.bundle.trusted_keys import read_trusted_keys
from taemi_edge.errors import KeyFileError, SignatureError
from tests import signatures as make

DIGESTS = {name: sha256(name.encode()).hexdigest() for name in ("manifest.json", "text.onnx", "fusion.onnx")}


class Signer:
    """A key pair with the file that a device trusts."""

    def __init__(self, folder: Path, curve: str = "P-256") -> None:
        self.key = make.ec.generate_private_key(make.CURVES[curve]())
        self.trusted = read_trusted_keys(make.write_pair(folder, f"signer-{curve}", self.key)[1])


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return Signer(tmp_path_factory.mktemp("keys"))


@pytest.mark.parametrize("curve", make.CURVES)
def test_a_signature_on_each_curve_holds(tmp_path, curve):
    signer = Signer(tmp_path, curve)
    by = check_signed(make.signed(signer.key, DIGESTS), DIGESTS, signer.trusted, "m.sig")
    assert (by.files, by.name, by.built_here) == (3, f"key {by.fingerprint[:16]}", False)


def _altered(**changes: str) -> dict[str, str]:
    return {name.replace("_", "."): digest for name, digest in {**DIGESTS, **changes}.items()}


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({**DIGESTS, "text.onnx": "0" * 64}, "changed 'text.onnx'"),
        ({**DIGESTS, "vision.onnx": "0" * 64}, "not signed 'vision.onnx'"),
        ({"manifest.json": DIGESTS["manifest.json"]}, "missing 'fusion.onnx', 'text.onnx'"),
        ({**DIGESTS, **{f"more-{i}": "0" * 64 for i in range(5)}}, "and 2 more"),
        ({}, "missing"),
    ],
)
def test_files_that_are_not_exactly_those_that_were_signed_are_refused(signer, found, said):
    with pytest.raises(SignatureError, match=said):
        check_signed(make.signed(signer.key, DIGESTS), found, signer.trusted, "m.sig")


def _predicate(**changes: Any):
    return lambda content: content["predicate"]["serialization"].update(changes)


def _resource(**changes: Any):
    return lambda content: content["predicate"]["resources"][0].update(changes)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_predicate(method="shards", shard_size=1000), "sha256 of whole files, got method 'shards'"),
        (_predicate(hash_type="blake3"), "'blake3'"),
        (_resource(algorithm="blake2b"), "expected algorithm sha256, got 'blake2b'"),
        (_resource(digest="00"), "each file once"),
        (_resource(digest=DIGESTS["text.onnx"].upper()), "each file once"),
        (_resource(name="text.onnx"), "each file once"),
        (_resource(name=7), "expected name"),
        (lambda c: c["predicate"]["resources"].append("x"), "expected name"),
        (lambda c: c["predicate"].pop("resources"), "expected resources"),
        (lambda c: c["predicate"]["resources"].reverse(), "hash over all files"),
        (lambda c: c["subject"][0]["digest"].update(sha256="0" * 64), "hash over all files"),
        (lambda c: c["subject"].append(c["subject"][0]), "one subject"),
        (lambda c: c.update(subject=[]), "one subject"),
        (lambda c: c.update(predicateType="https://model_signing/Digests/v0.1"), "expected predicateType"),
        (lambda c: c.update(_type="https://in-toto.io/Statement/v0.1"), "expected _type"),
        (lambda c: c.update(predicate=[]), "expected predicate"),
    ],
)
def test_statements_of_another_form_are_refused_though_they_are_signed(signer, change, said):
    with pytest.raises(SignatureError, match=said):
        check_signed(make.signed(signer.key, DIGESTS, statement=change), DIGESTS, signer.trusted, "m.sig")


def _envelope(**changes: Any):
    return lambda bundle: bundle["dsseEnvelope"].update(changes)


def _signature(value: Any):
    return lambda bundle: bundle["dsseEnvelope"]["signatures"][0].update(sig=value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_envelope(payloadType="text/plain"), "expected payloadType application/vnd.in-toto"),
        (_envelope(payload="!"), "expected payload in base64"),
        (_envelope(payload=b64encode(b"{}").decode()), "by another key"),
        (_envelope(signatures=[]), "one signature in the envelope, got 0"),
        (lambda b: b["dsseEnvelope"]["signatures"].append({"sig": "", "keyid": ""}), "got 2"),
        (_signature(""), "by another key"),
        (_signature("AAAA"), "by another key"),
        (_signature(7), "expected sig"),
        (lambda b: b.update(mediaType="application/vnd.dev.sigstore.bundle.v0.1+json"), "expected mediaType"),
        (lambda b: b.pop("verificationMaterial"), None),
        (lambda b: b["verificationMaterial"].update(certificate={"rawBytes": "AAAA"}), None),
    ],
)
def test_envelopes_of_another_form_are_refused(signer, change, said):
    content = make.signed(signer.key, DIGESTS, envelope=change)
    if said is None:  # who signed is what counts, not what else the envelope says
        assert check_signed(content, DIGESTS, signer.trusted, "m.sig").files == 3
        return
    with pytest.raises(SignatureError, match=f"m.sig: .*{said}"):
        check_signed(content, DIGESTS, signer.trusted, "m.sig")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "JSON"),
        (b"\xff\xfe", "JSON"),
        (b"[" * 200_000, "JSON"),
        (b'{"a":' * 200_000, "JSON"),
        (b"9" * 5000, "JSON"),
        (b"[]", "expected mediaType"),
        (b'{"mediaType": 1, "mediaType": 2}', "a key stands twice"),
        (b'{"mediaType": ' + b"[" * 900 + b"]" * 900 + b"}", "expected mediaType"),
    ],
)
def test_other_content_is_one_sentence(signer, content, said):
    with pytest.raises(SignatureError, match=said) as caught:
        check_signed(content, DIGESTS, signer.trusted, "m.sig")
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)


def test_a_key_that_stands_twice_in_what_was_signed_is_refused(signer):
    twice = json.dumps({"_type": "a"})[:-1] + ', "_type": "https://in-toto.io/Statement/v1"}'
    with pytest.raises(SignatureError, match="a key stands twice"):
        signed_digests(twice.encode())


def test_a_broken_signature_by_the_right_key_is_told_from_another_key(signer, tmp_path):
    def name_the_key(bundle: dict[str, Any]) -> None:
        bundle["verificationMaterial"]["publicKey"]["hint"] = next(iter(signer.trusted.keys))
        bundle["dsseEnvelope"]["payload"] = b64encode(b"{}").decode()

    with pytest.raises(SignatureError, match="broken, or what it signs was changed"):
        check_signed(make.signed(signer.key, DIGESTS, envelope=name_the_key), DIGESTS, signer.trusted, "m.sig")
    other = Signer(tmp_path)
    with pytest.raises(SignatureError, match="by another key"):
        check_signed(make.signed(other.key, DIGESTS), DIGESTS, signer.trusted, "m.sig")


def test_a_signature_through_sigstore_says_how_to_check_it(signer, tmp_path):
    def through_sigstore(bundle: dict[str, Any]) -> None:
        bundle["verificationMaterial"] = {"certificate": {"rawBytes": "AAAA"}, "tlogEntries": []}

    content = make.signed(Signer(tmp_path).key, DIGESTS, envelope=through_sigstore)
    with pytest.raises(SignatureError, match="verify --identity"):
        check_signed(content, DIGESTS, signer.trusted, "m.sig")


def _folder(tmp_path: Path, signer: Signer) -> tuple[Path, Path]:
    folder = tmp_path / "m"
    folder.mkdir()
    (tmp_path / "m.sig").write_bytes(make.signed(signer.key, DIGESTS))
    return folder, signer.trusted.file


def test_the_signature_lies_beside_the_folder_where_a_link_leads(tmp_path, signer):
    folder, key = _folder(tmp_path, signer)
    (tmp_path / "current").symlink_to("m")
    assert signature_file(tmp_path / "current") == tmp_path / "m.sig"
    assert check_signature(tmp_path / "current", DIGESTS, key).files == 3
    (tmp_path / "current.sig").write_text("not looked at")
    assert check_signature(f"{folder}/", DIGESTS, key).files == 3


def test_no_signature_and_what_is_no_file_are_one_sentence(tmp_path, signer):
    folder, key = _folder(tmp_path, signer)
    file = tmp_path / "m.sig"
    file.unlink()
    with pytest.raises(SignatureError, match=r"m\.sig, found none: sign it with"):
        check_signature(folder, DIGESTS, key)
    os.mkfifo(file)
    with pytest.raises(SignatureError, match="no file"):
        check_signature(folder, DIGESTS, key)
    file.unlink()
    file.write_bytes(b" " * ((1 << 20) + 1))
    with pytest.raises(SignatureError, match="at most 1 MiB"):
        check_signature(folder, DIGESTS, key)
    file.unlink()
    file.mkdir()
    with pytest.raises(SignatureError, match="a signature"):
        check_signature(folder, DIGESTS, key)


ENGINES = {"manifest.json": "1" * 64, "text.engine": "2" * 64}


def test_engines_that_this_device_built_from_signed_graphs_hold(tmp_path, signer, monkeypatch):
    monkeypatch.setenv("TAEMI_EDGE_STATE", str(tmp_path / "state"))
    built = BuiltFrom(DIGESTS, make.signed(signer.key, DIGESTS))
    with pytest.raises(SignatureError, match="found no seal"):
        check_signature(tmp_path / "e", ENGINES, signer.trusted.file, built)
    seal_manifest("1" * 64)
    by = check_signature(tmp_path / "e", ENGINES, signer.trusted.file, built)
    assert (by.built_here, by.files) == (True, 3)
    for wrong in (
        BuiltFrom({**DIGESTS, "text.onnx": "0" * 64}, built.signature),
        BuiltFrom(DIGESTS, make.signed(Signer(tmp_path).key, DIGESTS)),
    ):
        with pytest.raises(SignatureError, match="the signature of its graphs"):
            check_signature(tmp_path / "e", ENGINES, signer.trusted.file, wrong)
    monkeypatch.setenv("TAEMI_EDGE_STATE", str(tmp_path / "another device"))
    with pytest.raises(SignatureError, match="build them here"):
        check_signature(tmp_path / "e", ENGINES, signer.trusted.file, built)


def test_engines_may_be_signed_themselves(tmp_path, signer, monkeypatch):
    monkeypatch.setenv("TAEMI_EDGE_STATE", str(tmp_path / "state"))
    (tmp_path / "e.sig").write_bytes(make.signed(signer.key, ENGINES))
    built = BuiltFrom(DIGESTS, b"whatever")
    assert not check_signature(tmp_path / "e", ENGINES, signer.trusted.file, built).built_here
    (tmp_path / "e.sig").write_bytes(b"broken")
    with pytest.raises(SignatureError, match="the signature of its graphs"):
        check_signature(tmp_path / "e", ENGINES, signer.trusted.file, built)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["mediaType", "dsseEnvelope", "payload", "signatures", "sig", "verificationMaterial", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_fuzzed_signatures_are_refused_in_one_sentence(signer, data):
    """Parts of a whole signature are replaced by anything; and bytes of it are flipped."""
    bundle = json.loads(make.signed(signer.key, DIGESTS))
    place = data.draw(st.sampled_from(["", "verificationMaterial", "dsseEnvelope"]))
    inside = bundle[place] if place else bundle
    name = data.draw(st.sampled_from(sorted(inside)))
    if data.draw(st.booleans()):
        inside[name] = data.draw(JSON)
        content = json.dumps(bundle).encode()
    else:
        raw = bytearray(json.dumps(bundle).encode())
        at = data.draw(st.integers(0, 9_999)) % len(raw)  # a signature is not always of one length
        raw[at] ^= data.draw(st.integers(1, 255))
        content = bytes(raw)
    try:
        by = check_signed(content, DIGESTS, signer.trusted, "m.sig")
    except (SignatureError, KeyFileError) as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 600
    else:
        assert by.files == len(DIGESTS)  # what was changed says nothing about who signed what
