"""The reader of the data set's layout: ids, labels, what lies on disk of a clip, and what a label file gets wrong."""

from __future__ import annotations

import pytest

from taemi_edge.errors import CorpusError
from taemi_edge.taemi.vidmimic2 import open_corpus
from tests.corpora.label_files import HEADER, ROW, touch, write_labels


@pytest.mark.parametrize("name", ["7", "00007", "00007.mp4", " 7 "])
def test_ids_are_padded_to_five_digits(tmp_path, name: str):
    assert open_corpus(write_labels(tmp_path, f"{name},{ROW}")).clips[0].id == "00007"


def test_a_clip_knows_what_lies_on_disk(tmp_path):
    write_labels(tmp_path, f"1,{ROW}", f"2,{ROW}", f"3,{ROW}")
    touch(tmp_path / "raw/00001.mp4", tmp_path / "audio/00001.mp3", tmp_path / "transcripts/00001.vtt")
    touch(tmp_path / "face_images/00002/0.jpg")
    full, faces, nothing = open_corpus(tmp_path).clips
    assert [full.video.name, full.audio.name, full.transcript.name, full.faces] == [
        "00001.mp4",
        "00001.mp3",
        "00001.vtt",
        None,
    ]
    assert (faces.video, faces.faces.name) == (None, "00002")
    assert [clip.has_media for clip in (full, faces, nothing)] == [True, True, False]
    assert full.labels == (0.333, 0.333, 0.0, 0.0, 0.333, 0.0)


def test_columns_are_found_by_name_in_any_order_with_a_byte_order_mark(tmp_path):
    header = "\ufeffJoy,Filename,Admiration,Amusement,Determination,Empathic Pain,Excitement,Country"
    clip = open_corpus(write_labels(tmp_path, "1,4,0,0,0,0,0.5,DE", header=header)).clips[0]
    assert clip.id == "00004"
    assert clip.labels == (0, 0, 0, 0, 0.5, 1)


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        ("Filename,Admiration,Amusement,Determination,Excitement", [], "Empathic Pain, Joy are missing"),
        (HEADER, ["1,0,0,0,0,0,1.5"], "line 2: expected Joy in [0, 1], got '1.5'"),
        (HEADER, ["1,0,0,nan,0,0,0"], "expected Determination in [0, 1], got 'nan'"),
        (HEADER, ["1,0,0,0,0,0"], "expected Joy in [0, 1], got None"),
        (HEADER, ["1,0,0,0,0,0,high"], "got 'high'"),
        (HEADER, [f"1,{ROW}", f"00001,{ROW}"], "line 3: expected each clip once, got 00001 again"),
        (HEADER, [f"clip,{ROW}"], "expected the number of a clip as Filename, got 'clip'"),
        (HEADER, [], "expected at least one labelled clip"),
    ],
)
def test_a_wrong_label_file_is_named_with_its_line(tmp_path, header: str, rows: list[str], message: str):
    with pytest.raises(CorpusError) as caught:
        open_corpus(write_labels(tmp_path, *rows, header=header))
    assert message in str(caught.value)


def test_a_clip_in_two_splits_is_refused(tmp_path):
    write_labels(tmp_path, f"1,{ROW}")
    write_labels(tmp_path, f"1,{ROW}", split="valid")
    with pytest.raises(CorpusError, match=r"valid_split.csv, line 2: .*00001 again, which is in train"):
        open_corpus(tmp_path)


def test_a_folder_without_labels_and_a_missing_transcript_folder_are_said(tmp_path):
    with pytest.raises(CorpusError, match="expected a corpus with train_split.csv"):
        open_corpus(tmp_path)
    write_labels(tmp_path, f"1,{ROW}")
    with pytest.raises(CorpusError, match=r"--transcripts .*expected a folder"):
        open_corpus(tmp_path, tmp_path / "nowhere")
