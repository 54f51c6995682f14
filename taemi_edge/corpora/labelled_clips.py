"""Labelled clips: what a corpus is, whatever data set it comes from.

A corpus is a list of clips, each with its labels, its split and the files that exist of it. Nothing is decoded here.
Which folders and label files a data set has is known only to its reader, such as `taemi_edge.taemi.vidmimic2`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import msgspec

from taemi_edge.bundle.values import Frozen
from taemi_edge.corpora.corpus_folder import CorpusFolder
from taemi_edge.corpora.remote_place import RemotePlace
from taemi_edge.corpora.staging import RemoteFiles, local_file
from taemi_edge.errors import StoreError
from taemi_edge.media.transcripts import EmptyTranscriptError, Word, read_transcript

SPLITS = ("train", "valid", "test")
#: The file that marks a corpus as made by `taemi-edge synth`.
SYNTHETIC_FILE = "synthetic.json"


@dataclass(frozen=True)
class Clip:
    """One clip with its labels and its files; None where there is no such file.

    Attributes:
        id: unique within the corpus.
        split: train, valid or test.
        labels: in [0, 1], in the order of the model's outputs; NaN in a corpus without labels.
        video: a video file, with or without sound.
        audio: a sound file, used where the video has no sound.
        faces: a folder of face pictures that were cut out already.
        transcript: a file with what is said.
        files: where the files are that lie elsewhere; their paths begin there, and `staging.at_hand` fetches them.
    """

    id: str
    split: str
    labels: tuple[float, ...]
    video: Path | None
    audio: Path | None
    faces: Path | None
    transcript: Path | None
    files: RemoteFiles | None = None

    @property
    def has_media(self) -> bool:
        """Whether there is a video, a sound file or a folder of faces."""
        return any(place is not None for place in (self.video, self.audio, self.faces))

    def words(self, duration_s: float | None) -> list[Word]:
        """Read the words of the transcript; an empty list where there is no transcript or nothing in it.

        Args:
            duration_s: the length of the clip, which plain text is spread over; None where it is unknown.

        Raises:
            TranscriptError: the transcript cannot be parsed.
        """
        if self.transcript is None:
            return []
        try:
            return read_transcript(local_file(self.files, self.transcript), duration_s)
        except EmptyTranscriptError:
            return []


class SyntheticMark(Frozen, frozen=True):
    """The content of `synthetic.json`: which version of taemi-edge made the corpus, how many clips, which seed."""

    made_by: str
    clips: int
    seed: int


@dataclass(frozen=True)
class Corpus:
    """The clips of one folder.

    Attributes:
        folder: where they lie, on this machine or elsewhere.
        clips: all labelled clips, or all clips where labels are not needed and there are none.
        synthetic: how the corpus was made; None where it is real.
        labels_sha256: the hash of the label files, by which two feature stores know that their corpus is the same.
        listing: what lies in the folder, where it was listed already.
    """

    folder: Path | RemotePlace
    clips: tuple[Clip, ...]
    synthetic: SyntheticMark | None
    labels_sha256: str
    listing: CorpusFolder | None = field(default=None, compare=False, repr=False)

    @property
    def name(self) -> str:
        """What reports call the corpus. Synthetic data is called synthetic in every report."""
        mark = self.synthetic
        return f"the synthetic corpus of seed {mark.seed} ({mark.clips} clips)" if mark else self.folder.name

    def unlabelled(self) -> list[str]:
        """The ids of media that no label file names, such as those of a test split whose labels are not published."""
        known, folder = {clip.id for clip in self.clips}, self.listing or CorpusFolder(self.folder)
        media = {name for kind in ("raw", "audio") for name in folder.names(kind) if "." in name}
        return sorted({PurePosixPath(name).stem for name in media} - known)

    def split(self, name: str) -> list[Clip]:
        """The clips of one split."""
        return [clip for clip in self.clips if clip.split == name]


def read_mark(folder: Path | CorpusFolder) -> SyntheticMark | None:
    """Read how a synthetic corpus was made; None where the folder holds no synthetic corpus."""
    folder = folder if isinstance(folder, CorpusFolder) else CorpusFolder(folder)
    if not folder.has_file(SYNTHETIC_FILE):
        return None
    try:
        return msgspec.json.decode(folder.place.read(SYNTHETIC_FILE), type=SyntheticMark)
    except (StoreError, OSError, ValueError, RecursionError):
        return None
