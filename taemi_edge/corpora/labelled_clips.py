"""A corpus in the layout of Hume-Vidmimic2 in, its clips with labels and files out; nothing is decoded here.

corpus/
  train_split.csv, valid_split.csv, test_split.csv    Filename and six intensities in [0, 1]; any of the three
  raw/NNNNN.mp4                                       video with its sound
  audio/NNNNN.mp3                                     the sound alone, where the video has none
  face_images/NNNNN/*.jpg                             faces cut out, in the order of their names
  transcripts/NNNNN.vtt (.srt, .txt, .jsonl)          what is said; the data set itself has none
  vit/NNNNN.pkl, wav2vec2/NNNNN.pkl                   features that came with the data set, (T, D)

Ids are padded to five digits. An id without any media is a clip still, so that it can be reported and not forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from taemi_edge.bundle.spec import Frozen
from taemi_edge.media.transcripts import EmptyTranscriptError, Word, read_transcript

SPLITS = ("train", "valid", "test")
#: The file that marks a corpus as made by `taemi-edge synth`.
SYNTHETIC_MARK = "synthetic.json"


@dataclass(frozen=True)
class Clip:
    """One clip and what lies on disk of it; None where there is nothing."""

    id: str
    split: str
    #: Intensities in [0, 1], in the order of `EMOTIONS`; NaN in a corpus without labels.
    labels: tuple[float, ...]
    video: Path | None
    audio: Path | None
    faces: Path | None
    transcript: Path | None

    @property
    def has_media(self) -> bool:
        return any(place is not None for place in (self.video, self.audio, self.faces))

    def words(self, duration_s: float | None) -> list[Word]:
        """What is said, empty where there is no transcript or nothing in it.

        Raises:
            TranscriptError: it cannot be parsed.
        """
        if self.transcript is None:
            return []
        try:
            return read_transcript(self.transcript, duration_s)
        except EmptyTranscriptError:
            return []


class SyntheticMark(Frozen, frozen=True):
    """`synthetic.json`: the corpus was made by `taemi-edge synth`, by which version and with which seed."""

    made_by: str
    clips: int
    seed: int


@dataclass(frozen=True)
class Corpus:
    """All labelled clips of a folder; where it has no labels and none are asked for, all clips."""

    folder: Path
    clips: tuple[Clip, ...]
    synthetic: SyntheticMark | None
    #: Of the label files: two stores of one corpus agree on it.
    labels_sha256: str

    @property
    def name(self) -> str:
        """What reports call it; synthetic data is called so wherever it turns up."""
        mark = self.synthetic
        return f"the synthetic corpus of seed {mark.seed} ({mark.clips} clips)" if mark else self.folder.name

    def unlabelled(self) -> list[str]:
        """The ids of media that no label file names, as those of a test split whose labels are kept back."""
        known = {clip.id for clip in self.clips}
        found = {file.stem for name in ("raw", "audio") for file in (self.folder / name).glob("*.*")}
        return sorted(found - known)

    def split(self, name: str) -> list[Clip]:
        return [clip for clip in self.clips if clip.split == name]


def read_mark(folder: Path) -> SyntheticMark | None:
    """What a synthetic corpus was made of; None where none was made there."""
    try:
        return msgspec.json.decode((folder / SYNTHETIC_MARK).read_bytes(), type=SyntheticMark)
    except (OSError, msgspec.MsgspecError):
        return None
