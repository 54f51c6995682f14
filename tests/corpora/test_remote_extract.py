"""Features of a corpus in a bucket, kept in a bucket: the same bytes as on this machine, whatever the server does."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="calibration needs the extra `export`")
pytest.importorskip("pyarrow", reason="a bucket needs the extra `remote`")

from taemi_edge.bundle.folder import Bundle
from taemi_edge.calibration.clip_spool import spool_clips
from taemi_edge.corpora.clip_reading import Reading
from taemi_edge.corpora.evaluate import EvaluateOptions, evaluate_on
from taemi_edge.corpora.extract import ExtractOptions, ExtractResult, extract_features
from taemi_edge.corpora.opening import open_any_corpus
from taemi_edge.corpora.store_place import open_place
from taemi_edge.errors import PlaceError
from tests.corpora.faulty_server import FaultyServer, faulty_server
from tests.corpora.s3_server import BUCKET, ENVIRONMENT, S3Server, environment, s3_server
from tests.corpora.stores import first_clips

pytestmark = pytest.mark.once

#: Two of each split.
CLIPS = 6


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as running, environment(**ENVIRONMENT):
        yield running


@pytest.fixture(scope="module")
def few(corpus_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first clips of the synthetic corpus."""
    return first_clips(corpus_folder, tmp_path_factory.mktemp("few") / "synthetic", CLIPS // 3)


@pytest.fixture(scope="module")
def uri(server: S3Server, few: Path) -> str:
    server.upload(few, "synthetic")
    return server.uri("synthetic")


@pytest.fixture(scope="module")
def store(few: Path, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("few") / "store"
    extract(few, tiny_folder, folder)
    return folder


@pytest.fixture
def staging(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The folder of temporary files, of child processes too; at the end it is empty."""
    folder = tmp_path / "staging"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert not list(folder.iterdir())


def extract(corpus: Path | str, bundle: Path, output: Path | str, **reading: object) -> ExtractResult:
    options = ExtractOptions(Reading(**reading), workers=1)
    return extract_features(open_any_corpus(corpus), str(bundle), output, options)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def test_a_store_of_clips_in_a_bucket_is_that_of_clips_here(
    uri: str, store: Path, tiny_folder: Path, staging: Path, tmp_path: Path
):
    extract(uri, tiny_folder, tmp_path / "store")
    assert files_of(tmp_path / "store") == files_of(store)


def test_a_store_in_a_bucket_is_that_on_this_machine(
    server: S3Server, uri: str, store: Path, tiny_folder: Path, staging: Path, cli
):
    words = ["extract", tiny_folder, "--data", uri, "--output", server.uri("store"), "--workers", 2]
    done = cli(*words)
    assert done.returncode == 0, done.stderr
    assert server.contents("store") == files_of(store)
    assert done.stdout.startswith(f"s3://{BUCKET}/store: {CLIPS}")
    assert "endpoint" not in done.stdout + done.stderr
    assert extract(uri, tiny_folder, server.uri("store")).encoded == 0
    assert server.contents("store") == files_of(store)


@pytest.mark.parametrize("form", ["store", "corpus"])
def test_what_lies_in_a_bucket_is_judged_as_what_lies_here(
    server: S3Server, uri: str, store: Path, tiny_folder: Path, staging: Path, form: str
):
    if form == "store":
        server.upload(store, "judged")
        there = evaluate_on(tiny_folder, server.uri("judged"), "all")
    else:
        there = evaluate_on(tiny_folder, uri, "all", EvaluateOptions(store_folder=server.uri("kept"), workers=1))
        assert server.contents("kept") == files_of(store)
    assert repr(there) == repr(evaluate_on(tiny_folder, store, "all"))  # an undefined figure is NaN


def test_clips_in_a_bucket_calibrate_as_those_here(uri: str, few: Path, tiny: Bundle, staging: Path, tmp_path: Path):
    there, here = (
        spool_clips(open_any_corpus(data).split("train"), tiny, tmp_path / name, longest_s=5.0, workers=1)
        for name, data in (("there", uri), ("here", few))
    )
    assert len(there) == len(here) > 0
    for theirs, ours in zip(there, here, strict=True):
        assert all(np.array_equal(theirs.features[name], ours.features[name]) for name in ours.features)


@pytest.mark.nightly
def test_pickled_features_in_a_bucket(server: S3Server, few: Path, tiny_folder: Path, staging: Path, tmp_path: Path):
    import pickle

    folder = Path(shutil.copytree(few, tmp_path / "synthetic"))
    (folder / "vit").mkdir()
    for clip in open_any_corpus(folder).clips[:-1]:
        (folder / "vit" / f"{clip.id}.pkl").write_bytes(pickle.dumps(np.ones((4, 8), np.float32)))
    server.upload(folder, "pickled/synthetic")
    here = extract(folder, tiny_folder, tmp_path / "here", features={"vision": "vit"})
    extract(server.uri("pickled/synthetic"), tiny_folder, tmp_path / "there", features={"vision": "vit"})
    assert files_of(tmp_path / "there") == files_of(tmp_path / "here")
    assert any("no vit/" in remark for remarks in here.remarks.values() for remark in remarks)


def test_a_killed_run_is_gone_on_with(server: S3Server, uri: str, store: Path, tiny_folder: Path):
    words = ["extract", tiny_folder, "--data", uri, "--output", server.uri("killed"), "--workers", "1"]
    command = [sys.executable, "-m", "taemi_edge", *map(str, words)]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while not any(name.startswith("pending/") for name in server.names("killed")):
            assert running.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        running.kill()
        running.wait()
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert server.contents("killed") == files_of(store)


class TestFaults:
    @pytest.fixture
    def proxy(self, server: S3Server) -> Iterator[FaultyServer]:
        with faulty_server(server.port) as running:
            yield running

    def at(self, proxy: FaultyServer, folder: str) -> str:
        return f"s3://{BUCKET}/{folder}?endpoint_override={proxy.url}"

    def test_a_request_that_fails_is_made_again(self, proxy: FaultyServer):
        made = Counter[str]()

        def faults(method: str, path: str) -> tuple[int, str] | None:
            made[method] += 1
            return (500, "InternalError") if method in ("PUT", "GET") and made[method] == 1 else None

        place = open_place(self.at(proxy, "again"))
        proxy.faults = faults
        place.write("file", b"whole")
        assert place.read("file") == b"whole"
        assert min(made["PUT"], made["GET"]) > 1

    @pytest.mark.nightly
    def test_a_store_is_the_same_whatever_failed_once(
        self, proxy: FaultyServer, server: S3Server, uri: str, store: Path, tiny_folder: Path, staging: Path
    ):
        made, first = Counter[str](), open_any_corpus(uri).clips[0]

        def faults(method: str, path: str) -> tuple[int, str] | None:
            made[f"{method} {path}"] += 1
            is_chosen = path.endswith(("test_split.csv", "shard-00000.safetensors", "index.json", f"{first.video}"))
            return (500, "InternalError") if is_chosen and made[f"{method} {path}"] == 1 else None

        proxy.faults = faults
        extract(self.at(proxy, "synthetic"), tiny_folder, self.at(proxy, "twice"))
        assert server.contents("twice") == files_of(store)

    def test_one_clip_that_cannot_be_had_is_a_problem_of_that_clip(
        self, proxy: FaultyServer, uri: str, tiny_folder: Path, staging: Path, tmp_path: Path
    ):
        lost = open_any_corpus(uri).clips[0]
        proxy.faults = lambda _, path: (403, "AccessDenied") if path.endswith(f"{lost.video}") else None
        result = extract(self.at(proxy, "synthetic"), tiny_folder, tmp_path / "store")
        assert list(result.problems) == [lost.id]
        assert re.fullmatch(
            rf"s3://{BUCKET}/synthetic/{lost.video}: the server 127.0.0.1:\d+ failed to read it \(ACCESS_DENIED\)",
            result.problems[lost.id],
        )

    @pytest.mark.parametrize(
        ("fault", "message"),
        [
            ((400, "ExpiredToken"), r"the credentials have expired \(ExpiredToken\): renew them"),
            ((403, "RequestTimeTooSkewed"), "the clock of this machine differs"),
            ((301, "PermanentRedirect"), r"lies in another region: add \?region=NAME"),
            ((503, "SlowDown"), r"failed to list \(SLOW_DOWN\): try again later"),
        ],
    )
    def test_a_server_that_refuses(self, proxy: FaultyServer, fault: tuple[int, str], message: str):
        proxy.faults = lambda _method, _path: fault
        with pytest.raises(PlaceError, match=message):
            open_any_corpus(self.at(proxy, "synthetic"))

    def test_credentials_that_expire_in_the_middle(
        self, proxy: FaultyServer, uri: str, store: Path, tiny_folder: Path, staging: Path, tmp_path: Path
    ):
        seen: list[str] = []

        def faults(_method: str, path: str) -> tuple[int, str] | None:
            seen.extend([path] if path.endswith(".mp4") else [])
            return (400, "ExpiredToken") if len(set(seen)) > 2 else None

        proxy.faults = faults
        with pytest.raises(PlaceError, match=f"^s3://{BUCKET}/synthetic: the credentials have expired"):
            extract(self.at(proxy, "synthetic"), tiny_folder, tmp_path / "store")
        assert list((tmp_path / "store" / "pending").iterdir())
        extract(uri, tiny_folder, tmp_path / "store")
        assert files_of(tmp_path / "store") == files_of(store)


@pytest.mark.nightly
def test_a_server_that_stops_in_the_middle(
    few: Path, store: Path, tiny_folder: Path, staging: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("taemi_edge.corpora.remote_address._ATTEMPTS", 2)

    class Stops:
        def stage(self, name: str) -> None:
            pass

        def count(self, done: int, total: int, what: str) -> None:
            if done == 1:
                own.process.kill()

    with s3_server() as own, environment(**ENVIRONMENT):
        own.upload(few, "synthetic")
        corpus = open_any_corpus(own.uri("synthetic"))
        with pytest.raises(PlaceError, match="cannot be reached, nothing accepts connections there"):
            extract_features(corpus, str(tiny_folder), tmp_path / "s", ExtractOptions(workers=1), progress=Stops())
    extract(few, tiny_folder, tmp_path / "s")
    assert files_of(tmp_path / "s") == files_of(store)


@pytest.fixture(scope="module")
def guarded(few: Path) -> Iterator[tuple[S3Server, dict[str, dict[str, str]]]]:
    with s3_server() as running, environment(**ENVIRONMENT):
        running.upload(few, "synthetic")
        users = {
            "reader": running.user("s3:ListBucket", "s3:GetObject"),
            "nobody": running.user("s3:PutObject"),
            "stranger": {"AWS_ACCESS_KEY_ID": "AKIASTRANGER", "AWS_SECRET_ACCESS_KEY": "very-secret"},
        }
        users["wrong"] = {**users["reader"], "AWS_SECRET_ACCESS_KEY": "very-secret"}
        running.check_rights()
        yield running, users


class TestRights:
    """Users of a server that asks who they are."""

    @pytest.mark.parametrize(
        ("user", "message"),
        [
            ("nobody", "does not let these credentials list (ACCESS_DENIED): ask for the right"),
            ("stranger", "does not know these credentials (INVALID_ACCESS_KEY_ID): check them"),
            ("wrong", "does not know these credentials (SIGNATURE_DOES_NOT_MATCH): check them"),
        ],
    )
    def test_a_corpus(self, guarded, tiny_folder: Path, tmp_path: Path, cli_here, monkeypatch, user: str, message: str):
        server, users = guarded
        for name, value in users[user].items():
            monkeypatch.setenv(name, value)
        done = cli_here("extract", tiny_folder, "--data", server.uri("synthetic"), "--output", tmp_path / "store")
        assert done.returncode == 2
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert not [value for value in users[user].values() if value in done.stderr]
        assert not (tmp_path / "store").exists()

    def test_a_store_that_may_not_be_written(self, guarded, tiny_folder: Path, cli_here, monkeypatch):
        server, users = guarded
        for name, value in users["reader"].items():
            monkeypatch.setenv(name, value)
        words = ["extract", tiny_folder, "--data", server.uri("synthetic"), "--output", server.uri("store")]
        done = cli_here(*words, "--workers", 1)
        assert done.returncode == 2
        assert "s3://clips/store: the server" in done.stderr
        assert "does not let these credentials write (ACCESS_DENIED)" in done.stderr


def test_words_that_cannot_be_an_address_are_refused(tiny_folder: Path, tmp_path: Path, cli_here):
    data = "s3://me:very-secret@clips/x"
    done = cli_here("extract", tiny_folder, "--data", data, "--output", tmp_path / "store")
    assert done.returncode == 2
    assert "credentials do not belong in an address" in done.stderr
    assert "very-secret" not in done.stderr
    assert os.listdir(tmp_path) == []
