"""Pushing to registries that refuse, break off or keep something else."""

from __future__ import annotations

import json
import shutil

import pytest

pytest.importorskip("oras", reason="needs the extra `fleet`")

from taemi_edge.errors import BundleError, RegistryError, UsageError
from taemi_edge.fleet.push import push_bundle
from tests.fleet.hostile import reply


def test_a_folder_that_is_no_bundle_is_not_pushed(hostile, tiny_folder, tmp_path):
    shutil.copytree(tiny_folder, tmp_path / "tiny")
    (tmp_path / "tiny" / "vision.onnx").write_bytes(b"changed")
    with pytest.raises(BundleError, match=r"vision\.onnx is not the file"):
        push_bundle(tmp_path / "tiny", hostile.reference)
    assert hostile.requests == []


def test_a_digest_cannot_be_pushed_to(hostile, tiny_folder):
    with pytest.raises(UsageError, match="expected a tag to push to"):
        push_bundle(tiny_folder, hostile.by_digest)


@pytest.mark.parametrize(
    ("routes", "match"),
    [
        ({"/uploads/": reply(status="403 Forbidden")}, "may not do that"),
        ({"/uploads/": reply(status="202 Accepted", Location="ftp://x/y")}, "no plain http URL"),
        ({"/uploads/": reply(status="202 Accepted")}, "202"),
        ({"/uploads/": reply(status="503 Service Unavailable")}, "try again later"),
        (
            {"/uploads/": reply(status="202 Accepted", Location="/put"), "/put": reply(status="400 Bad Request")},
            "when nothing writes into the folder",
        ),
    ],
)
def test_a_registry_that_does_not_take_it(hostile, tiny_folder, routes, match):
    hostile.blobs = {}
    hostile.routes = routes
    with pytest.raises(RegistryError, match=match) as caught:
        push_bundle(tiny_folder, hostile.reference)
    assert "\n" not in str(caught.value)


def test_a_registry_that_keeps_another_manifest(hostile, tiny_folder):
    hostile.blobs = dict.fromkeys(hostile.blobs, b"") | {
        json.loads(hostile.manifest)["config"]["digest"]: b"",
    }
    hostile.routes["/manifests/1"] = reply(status="201 Created", Docker_Content_Digest="sha256:" + "0" * 64)
    with pytest.raises(RegistryError, match="expected the registry to keep sha256:"):
        push_bundle(tiny_folder, hostile.reference)
