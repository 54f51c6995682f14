"""Pulling from registries that lie, break off or crawl: one sentence, and what stood there stays."""

from __future__ import annotations

import json
import shutil
import threading
from hashlib import sha256

import pytest

pytest.importorskip("oras", reason="needs the extra `fleet`")

from taemi_edge.errors import BundleError, OutputError, RegistryError, UsageError
from taemi_edge.fleet import deadlines, transfer
from taemi_edge.fleet.artifact import TITLE
from taemi_edge.fleet.pull import pull_bundle
from tests.fleet.hostile import endless, reply, vision_of


@pytest.fixture
def old(tiny_folder, tmp_path):
    """A folder that is there already, with a file by which it is recognised."""
    folder = tmp_path / "here" / "tiny"
    shutil.copytree(tiny_folder, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "golden.npz").unlink()
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1))
    return folder


def refused(registry, output, match, error=RegistryError, reference=None, **options):
    """Pull, expect one sentence, and that what stood there stays."""
    before = {file.name: file.read_bytes() for file in output.iterdir()}
    with pytest.raises(error, match=match) as caught:
        pull_bundle(reference or registry.reference, output, **options)
    assert "\n" not in str(caught.value)
    assert {file.name: file.read_bytes() for file in output.iterdir()} == before
    assert {entry.name for entry in output.parent.iterdir()} <= {"tiny", ".pull-tiny"}


def changed(manifest: bytes, change) -> bytes:
    content = json.loads(manifest)
    change(content)
    return json.dumps(content).encode()


def titled(*titles):
    """A change that gives the first layers other names."""

    def change(content):
        for layer, title in zip(content["layers"], titles, strict=False):
            layer["annotations"][TITLE] = title

    return change


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (titled("../x"), "plain file name"),
        (titled("/etc/x"), "plain file name"),
        (titled("a\\b"), "plain file name"),
        (titled("a/b"), "plain file name"),
        (titled(".."), "plain file name"),
        (titled(".hidden"), "plain file name"),
        (titled(""), "plain file name"),
        (titled("a\nb"), "plain file name"),
        (titled("a\0b"), "plain file name"),
        (titled("x" * 256), "plain file name"),
        (titled("a.onnx", "A.onnx"), "different names"),
        (titled("\u00e4", "a\u0308"), "different names"),
        (lambda m: m["layers"].append(m["layers"][0]), "different names"),
        (lambda m: m["layers"][0].update(size=-1), "a size"),
        (lambda m: m["layers"][0].update(size=10**18), "a size of up to 8,589,934,592"),
        (lambda m: m["layers"][0].update(size=10**400), "a size of up to 8,589,934,592"),
        (lambda m: m["layers"][0].update(size="7"), "as JSON"),
        (lambda m: m["layers"][0].update(digest="md5:0"), "a sha256"),
        (lambda m: m["layers"][0].update(digest="sha256:../../x"), "a sha256"),
        (lambda m: m["layers"][0].pop("annotations"), "plain file name"),
        (lambda m: m.update(layers=m["layers"] * 300), "at most 1026 files"),
        (lambda m: m.update(layers=[]), "which has a manifest.json"),
        (lambda m: m.update(layers=None), "which has a manifest.json"),
        (lambda m: m.update(manifests=[], layers=[]), "an index of several manifests"),
        (lambda m: m.update(mediaType="application/vnd.docker.distribution.manifest.v1+json"), "one OCI manifest"),
        (lambda m: m.update(schemaVersion=1), "one OCI manifest"),
    ],
)
def test_a_hostile_manifest_is_refused(hostile, old, change, match):
    hostile.manifest = changed(hostile.manifest, change)
    refused(hostile, old, match, error=(RegistryError, OutputError))
    assert not [request for request in hostile.requests if "/blobs/" in request.path]


def test_what_does_not_fit_on_the_disk_is_not_begun(hostile, old, monkeypatch):
    monkeypatch.setattr("taemi_edge.fleet.pull._SPARE_BYTES", 1 << 60)
    refused(hostile, old, "room for", error=OutputError)
    assert not [request for request in hostile.requests if "/blobs/" in request.path]


@pytest.mark.parametrize(
    "content", [b"", b"<html>", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"schemaVersion":' + b"9" * 10_000 + b"}"]
)
def test_what_is_no_manifest_is_refused(hostile, old, content):
    hostile.manifest = content
    refused(hostile, old, "expected the manifest of a bundle as JSON")


def test_a_manifest_without_an_end_is_read_no_further_than_4_mib(hostile, old):
    hostile.routes["/manifests/1"] = endless
    refused(hostile, old, "at most 4194304 bytes")


def test_another_manifest_than_the_digest_says_is_refused(hostile, old):
    asked = hostile.by_digest
    hostile.manifest += b" "
    refused(hostile, old, "expected the manifest of that digest", reference=asked)


def test_a_registry_that_contradicts_itself_is_refused(hostile, old):
    hostile.routes["/manifests/1"] = reply(hostile.manifest, Docker_Content_Digest="sha256:" + "0" * 64)
    refused(hostile, old, "look at the registry")


@pytest.mark.parametrize(
    ("lie", "match"),
    [
        (lambda whole: reply(bytes(len(whole))), "its sha256 differs"),
        (lambda whole: reply(whole + b"x"), "gives another size"),
        (lambda whole: reply(whole + b"x", Content_Length="", Connection="close"), "gives more"),
        (lambda whole: endless, "gives more"),
        (lambda whole: reply(whole, Content_Encoding="gzip"), "got a packed one"),
        (lambda whole: reply(whole, "206 Partial Content", Content_Range="bytes 7-9/10"), "another range"),
        (lambda whole: reply(whole[:9], Content_Length=str(len(whole)), Connection="close"), "broke off"),
        (lambda whole: reply(status="404 Not Found"), "404"),
        (lambda whole: reply(status="500 \x1b[31mred"), r"500 \(Internal Server Error\)"),
        (lambda whole: reply(status="401 Unauthorized", Www_Authenticate='Basic realm="x"'), "docker login"),
        (lambda whole: reply(status="302 Found", Location="file:///etc/passwd"), "no plain http URL"),
        (lambda whole: reply(status="302 Found", Location="http://me:secret@127.0.0.1/x"), "no plain http URL"),
        (lambda whole: reply(status="302 Found", Location="http://[::x"), "no plain http URL"),
        (lambda whole: reply(status="302 Found", Location="/v2/m/blobs/again"), "redirects"),
    ],
)
def test_a_hostile_blob_is_refused(hostile, old, lie, match):
    digest = vision_of(hostile)
    hostile.routes[digest] = hostile.routes["again"] = lie(hostile.blobs[digest])
    if "again" in str(match) or match == "redirects":
        hostile.routes["again"] = reply(status="302 Found", Location="/v2/m/blobs/again")
    for file in old.glob("vision.onnx"):
        file.unlink()  # nothing to copy: it must be fetched
    refused(hostile, old, match)


def test_a_transfer_that_breaks_goes_on_at_the_byte(hostile, tmp_path):
    digest = vision_of(hostile)
    whole, asked = hostile.blobs[digest], []

    def breaking(request, connection):
        asked.append(request.headers.get("range"))
        start = int((request.headers.get("range") or "bytes=0-")[6:-1])
        part = whole[start : start + 40_000]
        headers = {"Content_Length": str(len(whole) - start), "Connection": "close"}
        if start:
            headers["Content_Range"] = f"bytes {start}-{len(whole) - 1}/{len(whole)}"
        reply(part, "206 Partial Content" if start else "200 OK", **headers)(request, connection)

    hostile.routes[digest] = breaking
    pulled = pull_bundle(hostile.reference, tmp_path / "tiny")
    assert asked == [None, "bytes=40000-", "bytes=80000-"]
    assert pulled.fetched_bytes == sum(map(len, hostile.blobs.values()))


def test_a_registry_that_begins_anew_each_time_is_given_up(hostile, old, monkeypatch):
    monkeypatch.setattr("taemi_edge.fleet.transfer._WORTH_GOING_ON", 1000)
    monkeypatch.setattr("taemi_edge.fleet.transfer.RETRY_AFTER_S", (0.0, 0.0))
    digest = vision_of(hostile)
    whole, asked = hostile.blobs[digest], []

    def breaking(request, connection):
        asked.append(request.headers.get("range"))
        if len(asked) > 20:
            return reply(status="404 Not Found")(request, connection)
        return reply(whole[:5000], Content_Length=str(len(whole)), Connection="close")(request, connection)

    hostile.routes[digest] = breaking
    for file in old.glob("vision.onnx"):
        file.unlink()  # nothing to copy: it must be fetched
    refused(hostile, old, "broke off")
    assert asked == [None, "bytes=5000-", "bytes=5000-"]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_stopped_pull_goes_on_where_it_stopped(hostile, tmp_path, ranges):
    class Stopping:
        calls = 0

        def stage(self, text):
            pass

        def count(self, done, total, what):
            self.calls += 1
            if self.calls == 5:
                raise KeyboardInterrupt

    digest = next(iter(sorted(hostile.blobs, key=lambda digest: -len(hostile.blobs[digest]))))
    if not ranges:
        hostile.routes[digest] = reply(hostile.blobs[digest])  # whole, whatever the range
    with pytest.raises(KeyboardInterrupt):
        pull_bundle(hostile.reference, tmp_path / "tiny", progress=Stopping())
    assert [entry.name for entry in tmp_path.iterdir()] == [".pull-tiny"]
    kept = sum(file.stat().st_size for file in (tmp_path / ".pull-tiny").iterdir())
    assert kept > 0
    pulled = pull_bundle(hostile.reference, tmp_path / "tiny")
    total = sum(map(len, hostile.blobs.values()))
    assert pulled.fetched_bytes + pulled.reused_bytes == total
    assert not ranges or pulled.reused_bytes == kept
    assert [entry.name for entry in tmp_path.iterdir()] == ["tiny"]


def test_a_damaged_rest_of_an_earlier_try_is_fetched_anew(hostile, tmp_path):
    digest = vision_of(hostile)
    kept = tmp_path / ".pull-tiny"
    kept.mkdir(mode=0o700)
    (kept / (digest.removeprefix("sha256:") + ".part")).write_bytes(b"damaged")
    pull_bundle(hostile.reference, tmp_path / "tiny")
    assert len([request for request in hostile.requests if digest in request.path]) == 2


def test_links_in_the_kept_folder_are_not_followed(hostile, tmp_path):
    digest = vision_of(hostile)
    victim = tmp_path / "victim"
    victim.write_text("mine")
    kept = tmp_path / ".pull-tiny"
    kept.mkdir(mode=0o700)
    (kept / (digest.removeprefix("sha256:") + ".part")).symlink_to(victim)
    with pytest.raises(OutputError):
        pull_bundle(hostile.reference, tmp_path / "tiny")
    assert victim.read_text() == "mine"
    shutil.rmtree(kept)
    kept.symlink_to(tmp_path)
    with pytest.raises(OutputError, match="a folder of your own"):
        pull_bundle(hostile.reference, tmp_path / "tiny")


def test_files_that_are_here_are_copied(hostile, old, tiny_folder, tmp_path):
    pulled = pull_bundle(hostile.reference, old)
    assert pulled.fetched_bytes == sum((tiny_folder / name).stat().st_size for name in ("golden.npz", "manifest.json"))
    again = pull_bundle(hostile.reference, tmp_path / "other", reuse=[old])
    assert again.fetched_bytes == (tiny_folder / "manifest.json").stat().st_size


def test_a_file_that_is_not_what_its_manifest_says_is_not_copied(hostile, old, tiny_folder):
    (old / "vision.onnx").write_bytes(bytes((old / "vision.onnx").stat().st_size))
    pull_bundle(hostile.reference, old)
    assert (old / "vision.onnx").read_bytes() == (tiny_folder / "vision.onnx").read_bytes()


def test_what_is_no_bundle_never_stands_there(hostile, old):
    """Every blob is what the manifest says, but the bundle's own manifest knows nothing of them."""
    content = b'{"schema": 2}'
    digest = sha256(content).hexdigest()
    hostile.blobs[f"sha256:{digest}"] = content

    def change(manifest):
        for layer in manifest["layers"]:
            if layer["annotations"][TITLE] == "manifest.json":
                layer.update(digest=f"sha256:{digest}", size=len(content))

    hostile.manifest = changed(hostile.manifest, change)
    refused(hostile, old, f"{old}/manifest.json: ", error=BundleError)
    assert not old.with_name(".pull-tiny").exists()


def test_two_pulls_to_one_folder_do_not_meet(hostile, tmp_path):
    inside, go_on = threading.Event(), threading.Event()

    def waiting(request, connection):
        inside.set()
        go_on.wait(20)
        reply(hostile.manifest)(request, connection)

    hostile.routes["/manifests/1"] = waiting
    first = threading.Thread(target=pull_bundle, args=(hostile.reference, tmp_path / "tiny"))
    first.start()
    inside.wait(20)
    with pytest.raises(OutputError, match="another pull is writing it"):
        pull_bundle(hostile.reference, tmp_path / "tiny")
    go_on.set()
    first.join()
    assert (tmp_path / "tiny" / "manifest.json").is_file()


def test_a_head_that_comes_a_byte_at_a_time_is_given_up(hostile, old, monkeypatch):
    monkeypatch.setattr(deadlines._Deadline, "limit_s", 0.3)
    ended = threading.Event()

    def crawling(request, connection):
        try:
            for byte in b"HTTP/1.1 200 OK\r\n" + b"x" * 1000:
                connection.sendall(bytes([byte]))
                ended.wait(0.05)
        except OSError:
            ended.set()

    hostile.routes["/manifests/1"] = crawling
    refused(hostile, old, "cannot be reached")


def test_a_body_that_crawls_is_given_up(hostile, old, monkeypatch):
    monkeypatch.setattr(transfer, "_SPEED_WINDOW_S", 0.2)
    (old / "vision.onnx").unlink()

    def crawling(request, connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(200):
            connection.sendall(b"x")
            threading.Event().wait(0.05)

    hostile.routes[vision_of(hostile)] = crawling
    refused(hostile, old, r"brought \d+ bytes in|broke off")


def test_a_link_that_updates_keep_is_not_pulled_through(tmp_path):
    (tmp_path / "versions" / "a" / "engines").mkdir(parents=True)
    (tmp_path / "current").symlink_to("versions/a/engines")
    with pytest.raises(UsageError, match="got a link that `taemi-edge update` keeps"):
        pull_bundle("oci://127.0.0.1:1/m:1", tmp_path / "current")
