"""What workers on other machines must see of a corpus and of a model: the folders, and some media to compare."""

from __future__ import annotations

from pathlib import Path

from taemi_edge.corpora.labelled_clips import Clip
from taemi_edge.corpora.opening import AnyCorpus
from taemi_edge.corpora.sample_corpus import SampleClip

#: The files of so many clips are compared, those of the first and of the last ones.
_CLIPS = 2


def places_of(corpus: AnyCorpus) -> list[Path]:
    """The folder or table of a corpus, and files of a few of its clips; none of a corpus in a bucket."""
    if not isinstance(corpus.folder, Path):  # elsewhere: each worker fetches what it reads
        return []
    clips = {clip.id: clip for clip in (*corpus.clips[:_CLIPS], *corpus.clips[-_CLIPS:])}
    return [corpus.folder, *(file for clip in clips.values() for file in _files(clip))]


def place_of_model(source: str) -> Path:
    """The folder of a bundle or checkpoint, or the file of `file.py:function`; a name alone is a path to nothing."""
    file, colon, _ = source.partition(":")
    return Path(file if colon and file.endswith(".py") else source)


def _files(clip: Clip | SampleClip) -> list[Path]:
    if isinstance(clip, Clip):
        return [place for place in (clip.video, clip.audio, clip.faces, clip.transcript) if place is not None]
    if clip.file is not None:
        return [clip.file]
    drives = [part.file for part in clip.ranges if part.file.is_file()]
    cells = [clip.folder / cell for cell in clip.cells.values() if isinstance(cell, str) and 0 < len(cell) < 256]
    return [*drives, *(place for place in cells if _is_file(place))]


def _is_file(place: Path) -> bool:
    try:
        return place.is_file()
    except (OSError, ValueError):  # the words of a text that make no path
        return False
