"""Places in a bucket, on a real S3 server: whole objects, claims of a name, refusals in one sentence."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from taemi_edge.corpora.remote_address import parse_place
from taemi_edge.corpora.remote_place import RemotePlace
from taemi_edge.corpora.store_place import LocalPlace, StorePlace, open_place
from taemi_edge.errors import MediaError, OutputError, PlaceError, StoreError, UsageError
from tests.corpora.faulty_server import faulty_server
from tests.corpora.s3_server import BUCKET, ENVIRONMENT, S3Server, environment, free_port, s3_server, wait_for

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as running, environment(**ENVIRONMENT):
        yield running


@pytest.fixture
def place(server: S3Server, request: pytest.FixtureRequest) -> StorePlace:
    return open_place(server.uri(f"places/{abs(hash(request.node.name))}"))


def left_behind() -> set[str]:
    return {entry.name for entry in Path(tempfile.gettempdir()).glob(".draft-*")}


def test_what_is_written_is_read_listed_and_deleted(place: StorePlace, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert place.names() == []
    assert not place.exists("index.json")
    for name, data in (("index.json", b"{}"), ("pending/a b%20é.bin", b""), ("pending/c", b"x" * (11 << 20))):
        place.write(name, data)
        assert place.exists(name)
        assert place.read(name) == data
        with pickle.loads(pickle.dumps(place)).local(name) as file:  # noqa: S301
            assert file.read_bytes() == data
        assert not file.exists()
    assert place.names() == ["index.json", "pending/"]
    assert place.names("pending") == ["a b%20é.bin", "c"]
    with place.draft("index.json") as draft:
        draft.write_bytes(b"[]")
    assert place.read("index.json") == b"[]"
    for name in ("pending/a b%20é.bin", "pending/c", "pending", "pending", "nothing"):
        place.delete(name)
    assert place.names() == ["index.json"]
    assert not left_behind()


def test_a_draft_that_fails_changes_nothing(place: StorePlace):
    place.write("index.json", b"before")
    with pytest.raises(KeyboardInterrupt), place.draft("index.json") as draft:
        draft.write_bytes(b"half")
        raise KeyboardInterrupt
    assert place.read("index.json") == b"before"


@pytest.mark.parametrize("size", [0, 3, 11 << 20])
def test_what_a_server_refuses_to_take_is_not_there(place: RemotePlace, server: S3Server, size: int):
    with faulty_server(server.port) as proxy:
        there = open_place(f"{place}?endpoint_override={proxy.url}")
        proxy.faults = lambda method, path: (
            (403, "AccessDenied") if method == "PUT" and "partNumber=1" not in path else None
        )
        with pytest.raises(PlaceError, match=r"does not let these credentials write \(ACCESS_DENIED\)"):
            there.write("shard", b"x" * size)
        with pytest.raises(PlaceError, match="does not let these credentials write"):
            there.create("lock", b"mine")
    assert place.names() == []


def test_of_many_that_create_a_name_one_is_told_so(place: StorePlace):
    told: list[bool] = []
    threads = [
        threading.Thread(target=lambda n=n: told.append(place.create("lock", str(n).encode()))) for n in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(told) in ([False] * 5 + [True], [False] * 6)  # nobody, where all of them meet again and again
    assert place.exists("lock") is any(told)
    assert not any(told) or not place.create("lock", b"another")
    assert place.names() == (["lock"] if any(told) else [])


def test_one_alone_creates_a_name(place: StorePlace):
    assert place.create("lock", b"mine")
    assert not place.create("lock", b"theirs")
    assert place.read("lock") == b"mine"


def test_messages_name_the_place_and_not_where_a_file_was_downloaded_to(place: StorePlace):
    place.write("folder/a.mp4", b"no video")
    with pytest.raises(MediaError) as caught, place.local("folder/a.mp4") as file:
        raise MediaError(f"{file}: nothing in it can be decoded")
    assert str(caught.value) == f"{place}/folder/a.mp4: nothing in it can be decoded"
    with pytest.raises(StoreError, match="folder/b.mp4 is not there"), place.local("folder/b.mp4"):
        pass


@pytest.mark.parametrize("name", ["../index.json", "/etc/passwd", "a/../../b", "a//b", "", "x" * 300, "a\0b"])
def test_names_stay_within_the_place(place: StorePlace, name: str):
    with pytest.raises(StoreError, match="expected the name of a file in it"), place.local(name):
        pass


def test_hostile_names_in_a_listing_are_left_out(place: StorePlace, server: S3Server):
    client, base = server.client(), place.address.path
    for name in ("../../etc/passwd", "./x", "/x", "good.mp4", "q?x=1#y%41.mp4"):
        client.put_object(Bucket=BUCKET, Key=f"{base}/{name}", Body=b"x")
    assert place.names() == ["good.mp4", "q?x=1#y%41.mp4"]
    assert place.read("q?x=1#y%41.mp4") == b"x"


def test_no_room_for_a_file(place: StorePlace, monkeypatch):
    place.write("a", b"x" * 100)
    sizes = {"free": 10, "total": 1000}
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), sizes))
    told = "expected room for s3://.*free some, or name another folder in TMPDIR"
    with pytest.raises(OutputError, match=told), place.local("a"):
        pass
    sizes["total"] = 50
    with pytest.raises(StoreError, match="expected a file that fits on the disk"), place.local("a"):
        pass


class TestRefusals:
    @pytest.mark.parametrize(
        ("where", "message"),
        [
            ("s3://me:secret@clips/x", "credentials do not belong in an address"),
            ("s3://clips/x?access_key=AKIASECRET", "credentials belong in the environment"),
            ("s3://clips/x?endpoint_override=http://me:secret@host", "expected endpoint_override=http"),
            ("s3://clips/../x", "expected a folder whose parts have names"),
            ("ftp://host/x", "expected a path, or an address with s3://"),
            ("file://host/x", "expected file:///FOLDER"),
            ("s3://", "expected s3://BUCKET/FOLDER"),
        ],
    )
    def test_addresses_that_cannot_be(self, where: str, message: str):
        with pytest.raises(UsageError, match=message) as caught:
            open_place(where)
        assert "ecret" not in str(caught.value)
        assert "AKIA" not in str(caught.value)

    def test_a_bucket_that_is_not_there(self, server: S3Server):
        with pytest.raises(PlaceError, match=f"s3://nobodys/x: the server .*{server.port} has no bucket 'nobodys'"):
            open_place(server.uri("x", bucket="nobodys"))

    def test_nobody_at_the_endpoint(self):
        with pytest.raises(PlaceError, match="cannot be reached, nothing accepts connections there"):
            open_place("s3://clips/x?endpoint_override=http://127.0.0.1:9")

    def test_a_name_that_nobody_knows(self):
        with pytest.raises(PlaceError, match="cannot be reached, nobody knows that name"):
            open_place("s3://clips/x?endpoint_override=http://no-such-host.invalid")

    def test_a_folder_by_its_address(self, tmp_path: Path):
        assert open_place(f"file://{tmp_path}/a%20b") == LocalPlace(tmp_path / "a b")

    def test_the_endpoint_of_the_environment_goes_along(self, server: S3Server, monkeypatch):
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        there = open_place(f"s3://{BUCKET}/x")
        monkeypatch.delenv("AWS_ENDPOINT_URL")
        assert isinstance(there, RemotePlace)
        assert there.names() == []

    @pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION"])
    def test_an_environment_that_cannot_be_meant_is_not_passed_over(self, monkeypatch, name: str):
        """Without it, the data would go to another server."""
        monkeypatch.setenv(name, "http://me:very-secret@minio.local:9000/stores")
        with pytest.raises(UsageError, match=f"^{name}: expected .* or the like, got another value") as error:
            parse_place(f"s3://{BUCKET}/x")
        assert "secret" not in str(error.value)


def test_google_cloud_storage():
    """On an emulator of PyPI (gcp-storage-emulator) where its command is there; no test needs it installed."""
    command = shutil.which("gcp-storage-emulator")
    if command is None:
        pytest.skip("gcp-storage-emulator is not installed")
    port = free_port()
    words = [command, "start", "--host", "127.0.0.1", "--port", str(port), "--in-memory", "--default-bucket", BUCKET]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(process, port)
        options = f"?endpoint_override=http://127.0.0.1:{port}&anonymous=true"
        place = open_place(f"gs://{BUCKET}/x{options}")
        assert place.names() == []
        for name, data in (("pending/a.bin", b"abc"), ("index.json", b""), ("large", b"x" * (11 << 20))):
            place.write(name, data)
            assert place.read(name) == data
        assert place.names() == ["index.json", "large", "pending/"]
        assert place.names("pending") == ["a.bin"]
        assert (place.exists("index.json"), place.exists("pending/b.bin")) == (True, False)
        assert place.create("lock", b"mine")
        assert not place.create("lock", b"theirs")
        for name in ("pending/a.bin", "pending", "large"):
            place.delete(name)
        assert place.names() == ["index.json", "lock"]
        with pytest.raises(StoreError, match="gs://clips/x/gone is not there"):
            place.read("gone")
        with pytest.raises(PlaceError, match="gs://nobodys/x: the server .* has no bucket 'nobodys'"):
            open_place(f"gs://nobodys/x{options}")
    finally:
        process.kill()
        process.wait()
