"""Recordings in a bucket of a real S3 server: each is downloaded once for the clips that follow each other."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="a bucket needs the extra `remote`")
pytest.importorskip("mcap")
pytest.importorskip("rosbags")

from taemi_edge.corpora.drives import for_model
from taemi_edge.corpora.opening import find_corpus
from taemi_edge.corpora.remote_place import RemotePlace
from taemi_edge.corpora.staging import drop_recordings
from taemi_edge.corpora.stream_files import sample_rows
from tests.corpora.s3_server import ENVIRONMENT, S3Server, environment, s3_server
from tests.corpora.test_drives import STREAMS
from tests.robots.drives import write_bag, write_mcap
from tests.robots.messages import Form, messages

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as running, environment(**ENVIRONMENT):
        yield running


def test_each_recording_is_downloaded_once(
    server: S3Server, drive: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "drives").mkdir()
    write_mcap(tmp_path / "drives" / "monday.mcap", messages(drive, Form(pictures="jpeg", others=False)))
    write_bag(tmp_path / "drives" / "tuesday", messages(drive, Form(pictures="none", others=False)))
    server.upload(tmp_path / "drives", "drives")
    here = for_model(find_corpus(tmp_path / "drives"), STREAMS, 2.0)
    there = for_model(find_corpus(server.uri("drives")), STREAMS, 2.0)
    assert [clip.id for clip in there.clips] == [clip.id for clip in here.clips]
    assert there.labels_sha256 == here.labels_sha256
    fetched, fetch = [], RemotePlace.fetch

    def told(place: RemotePlace, name: str, folder: Path) -> Path:
        fetched.append(name)
        return fetch(place, name, folder)

    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(RemotePlace, "fetch", told)
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    for ours, theirs in zip(here.clips, there.clips, strict=True):
        expected, found = sample_rows(ours, STREAMS, {}), sample_rows(theirs, STREAMS, {})
        for stream, rows in expected.items():
            assert len(rows) == len(found[stream])
            assert all(np.array_equal(a[k], b[k]) for a, b in zip(rows, found[stream], strict=True) for k in a)
    drop_recordings()
    assert sorted(fetched) == ["monday.mcap", "tuesday/metadata.yaml", "tuesday/tuesday.db3"]
    assert list(scratch.iterdir()) == []
