"""Opening data of any form: a table of samples, files of arrays, what a live run or a robot recorded, or a known data
set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from taemi_edge.bundle.guests import ask_guests
from taemi_edge.corpora.corpus_folder import CorpusFolder
from taemi_edge.corpora.drive_ranges import DriveOptions
from taemi_edge.corpora.drives import open_drives
from taemi_edge.corpora.labelled_clips import Corpus
from taemi_edge.corpora.recorded_clips import open_recorded
from taemi_edge.corpora.remote_address import parse_place
from taemi_edge.corpora.remote_place import RemotePlace
from taemi_edge.corpora.sample_corpus import SampleCorpus, open_samples
from taemi_edge.errors import CorpusError

AnyCorpus: TypeAlias = Corpus | SampleCorpus

FORMS = "train_split.csv, samples.csv, samples.parquet, samples as .npz files, or recordings (.mcap, .bag)"


def find_corpus(
    place: Path | str,
    transcripts: Path | None = None,
    needs_labels: bool = True,
    drives: DriveOptions | None = None,
) -> AnyCorpus | None:
    """Open the corpus at a place; None where there is none. See `open_any_corpus`."""
    folder = open_folder(place)
    found: AnyCorpus | None = ask_guests("corpus", folder, transcripts=transcripts, needs_labels=True)
    if found is None and (samples := open_samples(folder)) is not None:
        found = samples if drives is None else replace(samples, drives=drives)
    if found is None and transcripts is None:
        found = None if needs_labels else open_recorded(folder)
        found = open_drives(folder, drives) if found is None else found
    if found is None and not needs_labels:
        found = ask_guests("corpus", folder, transcripts=transcripts, needs_labels=False)
    return found


def open_folder(place: Path | str) -> CorpusFolder:
    """Look at a folder of this machine, or at one elsewhere, whose bucket is known to be there then.

    Raises:
        UsageError: the address is of a kind that is not known.
        PlaceError: the bucket cannot be reached, is not there, or may not be listed.
    """
    where = parse_place(place)
    return CorpusFolder(where if isinstance(where, Path) else RemotePlace(where).require())


def open_any_corpus(
    place: Path | str,
    transcripts: Path | None = None,
    needs_labels: bool = True,
    drives: DriveOptions | None = None,
) -> AnyCorpus:
    """Open the corpus at a place.

    Args:
        place: a folder, or the file of a table; also by its address, such as "s3://bucket/folder".
        transcripts: the folder of the transcripts, on this machine, where the layout has one; inside the corpus by
            default.
        needs_labels: whether there must be labels. If not, what `taemi-edge run --record` keeps is a corpus too, and so
            are the clips of a known layout without its label files. Recordings of robots always are.
        drives: how recordings are read; by default their topics are guessed.

    Raises:
        CorpusError: there is no corpus, or something in it is wrong.
        PlaceError: the bucket of an address cannot be reached, is not there, or may not be read.
    """
    corpus = find_corpus(place, transcripts, needs_labels, drives)
    if corpus is None:
        where = parse_place(place)
        if isinstance(where, Path):
            found = "nothing" if not where.exists() else "a file" if where.is_file() else "a folder without"
        else:
            found = "a folder without" if RemotePlace(where).names() else "nothing"
        raise CorpusError(f"{where}: expected a corpus with {FORMS}, found {found}")
    return corpus
