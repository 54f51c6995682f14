"""Corpora in a bucket of a real S3 server: every form is found, read and staged as on this machine."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.outputs import ClassesSpec
from taemi_edge.bundle.streams import StreamSpec, TextSpec
from taemi_edge.bundle.values import Array
from taemi_edge.corpora import sample_corpus
from taemi_edge.corpora.clip_reading import read_clip
from taemi_edge.corpora.opening import find_corpus, open_any_corpus
from taemi_edge.corpora.remote_place import RemotePlace
from taemi_edge.corpora.sample_corpus import SampleCorpus
from taemi_edge.corpora.stream_files import sample_rows
from taemi_edge.errors import CorpusError, InputError, MediaError
from taemi_edge.media.npz_files import read_arrays
from tests.corpora.label_files import ROW, write_labels
from tests.corpora.s3_server import BUCKET, ENVIRONMENT, S3Server, environment, s3_server
from tests.corpora.test_recorded_clips import STREAMS as RECORDED_STREAMS
from tests.corpora.test_recorded_clips import record
from tests.parity.toy_model import STREAMS as TOY_STREAMS

pytestmark = pytest.mark.once

STREAMS = {
    "imu": TOY_STREAMS["imu"],
    "pulse": TOY_STREAMS["pulse"],
    "mic": msgspec.structs.replace(TOY_STREAMS["mic"], sample_rate_hz=8000, context_s=0.0),
}
OUTPUTS = {"state": ClassesSpec(names=("still", "moving"))}


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as running, environment(**ENVIRONMENT):
        yield running


@pytest.fixture
def specs(tiny: Bundle) -> list[StreamSpec]:
    return [tiny.manifest.streams[name] for name in ("vision", "audio")]


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[str]]:
    """What is downloaded meanwhile; at the end the folder of temporary files is empty."""
    names: list[str] = []
    fetch, read = RemotePlace.fetch, RemotePlace.read

    def told(place: RemotePlace, name: str, folder: Path) -> Path:
        names.append(name)
        return fetch(place, name, folder)

    def told_of_read(place: RemotePlace, name: str) -> bytes:
        names.append(name)
        return read(place, name)

    (tmp_path / "staging").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "staging"))
    monkeypatch.setattr(RemotePlace, "fetch", told)
    monkeypatch.setattr(RemotePlace, "read", told_of_read)
    yield names
    assert not list((tmp_path / "staging").iterdir())


def upload(server: S3Server, folder: Path, name: str) -> str:
    server.upload(folder, name)
    return server.uri(name)


class TestLabelledClips:
    def test_the_clips_are_those_of_the_folder(self, server: S3Server, corpus_folder: Path, fetched: list[str]):
        here, there = open_any_corpus(corpus_folder), open_any_corpus(upload(server, corpus_folder, "synthetic"))
        assert set(fetched) == {"synthetic.json", *(file.name for file in corpus_folder.glob("*_split.csv"))}
        assert (there.labels_sha256, there.synthetic, there.name) == (here.labels_sha256, here.synthetic, here.name)
        assert there.unlabelled() == here.unlabelled()
        for ours, theirs in zip(here.clips, there.clips, strict=True):
            assert (theirs.id, theirs.split, theirs.labels) == (ours.id, ours.split, ours.labels)
            for file, named in ((ours.video, theirs.video), (ours.transcript, theirs.transcript)):
                assert (file and file.relative_to(corpus_folder)) == named

    def test_only_what_a_clip_needs_is_staged(
        self,
        server: S3Server,
        specs: list[StreamSpec],
        corpus_folder: Path,
        demo_video: Path,
        fetched: list[str],
        tmp_path: Path,
    ):
        folder = write_labels(tmp_path / "made", f"1,{ROW}", f"2,{ROW}")
        for name in ("raw/00001.mp4", "audio/00001.mp4", "audio/00002.wav", "face_images/00002/b.jpg"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(demo_video, folder / name)
        shutil.copytree(folder / "face_images" / "00002", folder / "face_images" / "00001")
        (folder / "audio" / "00001.wav").write_bytes(b"never read: the video has its own sound")
        picture = next(corpus_folder.rglob("*.jpg"), None)
        (folder / "face_images" / "00002" / "notes.txt").write_text("no picture")
        if picture is not None:
            shutil.copy(picture, folder / "face_images" / "00002" / "b.jpg")
        first, second = open_any_corpus(upload(server, folder, "needed")).clips
        fetched.clear()
        assert read_clip(first, *specs).crops
        assert fetched == ["raw/00001.mp4"]
        fetched.clear()
        ours = read_clip(open_any_corpus(folder).clips[1], *specs)
        theirs = read_clip(second, *specs)
        assert fetched == ["audio/00002.wav", "face_images/00002/b.jpg"]
        assert theirs.remarks == ours.remarks
        assert len(theirs.segments) == len(ours.segments) > 0

    def test_a_clip_that_cannot_be_read_is_told_of_by_its_address(
        self, server: S3Server, specs: list[StreamSpec], fetched: list[str], tmp_path: Path
    ):
        folder = write_labels(tmp_path / "made", f"1,{ROW}", f"2,{ROW}")
        (folder / "raw").mkdir()
        for name in ("00001.mp4", "00002.mp4"):
            (folder / "raw" / name).write_bytes(b"no video")
        corpus = open_any_corpus(upload(server, folder, "broken"))
        with pytest.raises(MediaError, match=f"^s3://{BUCKET}/broken/raw/00001.mp4: "):
            read_clip(corpus.clips[0], *specs)
        server.client().delete_object(Bucket=BUCKET, Key="broken/raw/00002.mp4")
        with pytest.raises(InputError, match=f"^s3://{BUCKET}/broken/raw/00002.mp4 is not there: it was removed"):
            read_clip(corpus.clips[1], *specs)
        assert not RemotePlace(corpus.folder.address).exists("raw/00002.mp4")

    @pytest.mark.parametrize("given", ["", ".", "raw"])
    def test_transcripts_of_this_machine(
        self,
        server: S3Server,
        specs: list[StreamSpec],
        demo_video: Path,
        fetched: list[str],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        given: str,
    ):
        """Given by a path that may also be one of the bucket."""
        folder, spoken = write_labels(tmp_path / "made", f"1,{ROW}"), tmp_path / "spoken"
        (folder / "raw").mkdir()
        shutil.copy(demo_video, folder / "raw" / "00001.mp4")
        (spoken / given).mkdir(parents=True)
        (spoken / given / "00001.txt").write_text("words of another folder")
        monkeypatch.chdir(spoken)
        uri = upload(server, folder, "spoken")
        [clip] = open_any_corpus(uri, Path(given) if given else spoken).clips
        assert [word.text for word in read_clip(clip, *specs).words] == ["words", "of", "another", "folder"]
        with pytest.raises(CorpusError, match="--transcripts s3:/clips/words: expected a folder"):
            open_any_corpus(uri, Path("s3://clips/words"))

    def test_clips_without_labels(self, server: S3Server, demo_video: Path, tmp_path: Path):
        (tmp_path / "made" / "raw").mkdir(parents=True)
        shutil.copy(demo_video, tmp_path / "made" / "raw" / "00007.mkv")
        uri = upload(server, tmp_path / "made", "unlabelled")
        assert find_corpus(uri) is None
        [clip] = open_any_corpus(uri, needs_labels=False).clips
        assert (clip.id, str(clip.video)) == ("00007", "raw/00007.mkv")

    def test_nothing_there(self, server: S3Server):
        with pytest.raises(CorpusError, match=r"^s3://clips/nothing: expected a corpus with .*, found nothing$"):
            open_any_corpus(server.uri("nothing"))


class TestSamples:
    def compared(self, here: SampleCorpus, there: SampleCorpus) -> None:
        assert there.labels_sha256 == here.labels_sha256
        for ours, theirs in zip(here.clips, there.clips, strict=True):
            assert (theirs.id, theirs.split, theirs.labels(OUTPUTS)) == (ours.id, ours.split, ours.labels(OUTPUTS))
            rows, same = sample_rows(ours, STREAMS, {}), sample_rows(theirs, STREAMS, {})
            assert rows.keys() == same.keys()
            for name in rows:
                for one, other in zip(rows[name], same[name], strict=True):
                    assert all(np.array_equal(one[key], other[key]) for key in one)

    @pytest.mark.parametrize("form", ["csv", "parquet"])
    def test_tables(self, server: S3Server, demo_video: Path, fetched: list[str], tmp_path: Path, form: str):
        folder = tmp_path / "made"
        (folder / "sound").mkdir(parents=True)
        shutil.copy(demo_video, folder / "sound" / "a.mp4")
        rows = ["id,split,pulse.0,mic,notes,label/state", "a,train,1,sound/a.mp4,sound/a.mp4,still"]
        (folder / "samples.csv").write_text("\n".join([*rows, "b,test,3,,,moving"]) + "\n")
        if form == "parquet":
            from pyarrow import csv, parquet

            parquet.write_table(csv.read_csv(folder / "samples.csv"), folder / "samples.parquet")
            (folder / "samples.csv").unlink()
        uri = upload(server, folder, f"table-{form}")
        here, there = open_any_corpus(folder), open_any_corpus(uri)
        assert fetched == [f"samples.{form}"]
        self.compared(here, there)
        assert fetched[1:] == ["sound/a.mp4"]
        by_file = uri.replace("?", f"/samples.{form}?")
        assert [clip.id for clip in open_any_corpus(by_file).clips] == ["a", "b"]
        assert open_any_corpus(by_file).name == f"samples.{form}"

    def read_of_files(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """The names of the arrays that are read meanwhile."""
        names: list[str] = []

        def told(file: Path, wanted: Collection[str] | None = None) -> dict[str, Array]:
            found = read_arrays(file, wanted)
            names.extend(found)
            return found

        monkeypatch.setattr(sample_corpus, "read_arrays", told)
        return names

    def test_files_of_arrays(self, server: S3Server, fetched: list[str], tmp_path: Path, monkeypatch):
        folder = tmp_path / "made"
        (folder / "train").mkdir(parents=True)
        for number, name in enumerate(("train/a.npz", "train/b.npz", "c.npz")):
            values = np.full((3, 3), number, np.float32)
            np.savez(folder / name, **{"imu/values": values, "label/state": np.array(number % 2)})
        read = self.read_of_files(monkeypatch)
        (folder / "d.npz").write_bytes(b"no arrays")
        uri = upload(server, folder, "arrays")
        here, there = open_any_corpus(folder), open_any_corpus(uri)
        assert sorted(fetched) == ["c.npz", "d.npz", "train/a.npz", "train/b.npz"]
        assert [clip.id for clip in there.clips] == [clip.id for clip in here.clips]
        assert set(read) == {"label/state"}  # one file may hold a gigabyte, and eight are looked at together
        fetched.clear()
        assert [clip.labels(OUTPUTS) for clip in there.clips[:3]] == [(0.0,), (1.0,), (0.0,)]
        assert not fetched  # they were kept
        with pytest.raises(InputError, match=f"s3://{BUCKET}/arrays/d.npz"):
            there.clips[3].labels(OUTPUTS)
        server.client().delete_object(Bucket=BUCKET, Key="arrays/d.npz")
        (folder / "d.npz").unlink()
        self.compared(open_any_corpus(folder), open_any_corpus(uri))

    def test_what_a_live_run_recorded(self, server: S3Server, fetched: list[str], tmp_path: Path):
        folder = tmp_path / "made"
        record(folder)
        here = open_any_corpus(folder, needs_labels=False)
        there = open_any_corpus(upload(server, folder, "recorded"), needs_labels=False)
        assert fetched == ["losses.jsonl"]
        assert [clip.cells for clip in there.clips] == [clip.cells for clip in here.clips]
        assert len(sample_rows(there.clips[0], {"imu": RECORDED_STREAMS["imu"]}, {})["imu"]) == 4

    @pytest.mark.parametrize("cell", ["../../../etc/hosts.wav", "/etc/hosts.wav", "a/../../b.wav", "x" * 300 + ".wav"])
    def test_cells_stay_within_the_bucket(self, server: S3Server, fetched: list[str], tmp_path: Path, cell: str):
        folder = tmp_path / "made"
        folder.mkdir()
        (folder / "samples.csv").write_text(f"id,mic,label/state\na,{cell},still\n")
        [clip] = open_any_corpus(upload(server, folder, f"hostile-{len(cell)}")).clips
        with pytest.raises(CorpusError, match="mic: .*expected the name of a file in it"):
            sample_rows(clip, STREAMS, {})

    def test_words_and_transcripts(self, server: S3Server, fetched: list[str], tmp_path: Path, tiny: Bundle):
        from taemi_edge.parity.samples import tokenizers_of

        texts = {name: spec for name, spec in tiny.manifest.streams.items() if isinstance(spec, TextSpec)}
        tokenizers = tokenizers_of(texts, {name: tiny.read_tokenizer(name) for name in texts})
        folder = tmp_path / "made"
        folder.mkdir()
        (folder / "a.vtt").write_text("WEBVTT\n\n00:00.000 --> 00:01.000\nwhat is said\n")
        (folder / "samples.csv").write_text("id,text\na,a.vtt\nb,what is said\n")
        first, second = open_any_corpus(upload(server, folder, "words")).clips
        one, other = (sample_rows(clip, texts, tokenizers)["text"] for clip in (first, second))
        assert all(np.array_equal(one[0][key], other[0][key]) for key in one[0])
        assert fetched == ["samples.csv", "a.vtt"]


def test_a_folder_by_its_address_is_read_where_it_lies(corpus_folder: Path):
    there = open_any_corpus(f"file://{corpus_folder}")
    assert there.folder == corpus_folder
    assert there.clips == open_any_corpus(corpus_folder).clips
