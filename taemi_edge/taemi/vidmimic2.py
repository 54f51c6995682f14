"""Reading a corpus in the layout of Hume-Vidmimic2, the data set of the paper. Nothing is decoded here.

corpus/
  train_split.csv, valid_split.csv, test_split.csv    Filename and six intensities in [0, 1]; any of the three
  raw/NNNNN.mp4                                       video with its sound
  audio/NNNNN.mp3                                     the sound alone, where the video has none
  face_images/NNNNN/*.jpg                             faces cut out, in the order of their names
  transcripts/NNNNN.vtt (.srt, .txt, .jsonl)          what is said; the data set itself has none
  vit/NNNNN.pkl, wav2vec2/NNNNN.pkl                   features that came with the data set, (T, D)

Ids are padded to five digits. An id without any media is still a clip, so that it is reported and not forgotten.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from taemi_edge.corpora.corpus_folder import CorpusFolder
from taemi_edge.corpora.labelled_clips import SPLITS, Clip, Corpus, read_mark
from taemi_edge.errors import CorpusError

#: The columns of the label files, in the order of `EMOTIONS`.
COLUMNS = ("Admiration", "Amusement", "Determination", "Empathic Pain", "Excitement", "Joy")

_VIDEO_ENDINGS, _SOUND_ENDINGS = (".mp4", ".webm", ".mkv", ".mov"), (".mp3", ".wav")
_TRANSCRIPT_ENDINGS = (".vtt", ".srt", ".jsonl", ".txt")
#: The number of the line, the id of the clip, its labels.
_Labelled: TypeAlias = tuple[int, str, tuple[float, ...]]
#: The number of a clip has no more digits.
_MOST_DIGITS = 18


def is_corpus(folder: Path | str | CorpusFolder) -> bool:
    """Whether a folder holds at least one label file."""
    folder = folder if isinstance(folder, CorpusFolder) else CorpusFolder(folder)
    return any(folder.has_file(f"{split}_split.csv") for split in SPLITS)


def open_corpus(
    folder: Path | str | CorpusFolder, transcripts: Path | None = None, needs_labels: bool = True
) -> Corpus:
    r"""Read the label files, and find the media of each clip.

    Args:
        folder: the corpus, on this machine or elsewhere.
        transcripts: the folder of the transcripts; `transcripts` inside the corpus by default.
        needs_labels: whether a label file must be there. If not, the clips of a folder without one, such as those
            that `taemi-edge run --record` keeps, all belong to the split `train` and have labels of NaN.

    Raises:
        CorpusError: there is no label file; a column is missing; a label is outside [0, 1]; an id occurs twice or is
            not a number.

    Example:
        >>> import tempfile
        >>> lines = [",".join(("Filename", *COLUMNS)), "7,0.333,0.333,0,0,0.333,0"]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "train_split.csv").write_text("\n".join(lines))
        ...     clip = open_corpus(Path(folder)).split("train")[0]
        >>> clip.id, clip.labels
        ('00007', (0.333, 0.333, 0.0, 0.0, 0.333, 0.0))
    """
    folder = folder if isinstance(folder, CorpusFolder) else CorpusFolder(folder)
    where = folder.where
    files = [name for split in SPLITS if folder.has_file(name := f"{split}_split.csv")]
    ids = [] if files or needs_labels else _ids_of_media(folder)
    if not files and not ids:
        found = "a file" if where.is_file() else "a folder without" if folder.names() or where.is_dir() else "nothing"
        or_clips = "" if needs_labels else ", or clips such as raw/00001.mkv"
        raise CorpusError(
            f"{where}: expected a corpus with {SPLITS[0]}_split.csv or another label file{or_clips}, found {found}"
        )
    if transcripts is not None and not transcripts.is_dir():
        raise CorpusError(f"--transcripts {transcripts}: expected a folder with NNNNN.vtt or .txt, found none there")
    # absolute, so that it is none of the paths of a bucket
    spoken = None if transcripts is None else CorpusFolder(transcripts.absolute() if folder.files else transcripts)
    unknown = (float("nan"),) * len(COLUMNS)
    clips = {clip_id: _clip(folder, spoken, SPLITS[0], clip_id, unknown) for clip_id in ids}
    digest = hashlib.sha256()
    for name in files:
        with folder.local(name) as table:
            digest.update(table.read_bytes())
            labelled = list(read_labels(table))
        _add_clips(clips, folder, spoken, name, labelled)
    if not clips:
        raise CorpusError(f"{where}: expected at least one labelled clip, the label files hold none")
    return Corpus(where, tuple(clips.values()), read_mark(folder), digest.hexdigest(), folder)


def _add_clips(
    clips: dict[str, Clip], folder: CorpusFolder, spoken: CorpusFolder | None, name: str, labelled: list[_Labelled]
) -> None:
    """Add the clips of one label file."""
    for line, clip_id, labels in labelled:
        if clip_id in clips:
            raise CorpusError(
                f"{folder.shown(name)}, line {line}: expected each clip once, got {clip_id} again, which is in "
                f"{clips[clip_id].split}: remove one of the two"
            )
        clips[clip_id] = _clip(folder, spoken, name.removesuffix("_split.csv"), clip_id, labels)


def read_labels(file: Path) -> Iterable[_Labelled]:
    """Read a label file row by row.

    Yields:
        The number of the line, the id of the clip in five digits, and its six intensities.

    Raises:
        CorpusError: a column is missing, or a row is wrong; the message names the line.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as handle:
            yield from _labels_in(csv.DictReader(handle), file)
    except (csv.Error, UnicodeDecodeError) as error:
        raise CorpusError(f"{file}: expected comma-separated UTF-8 text: {error}") from error


def _labels_in(rows: csv.DictReader[str], file: Path) -> Iterator[tuple[int, str, tuple[float, ...]]]:
    known = [name.strip() for name in rows.fieldnames or ()]
    if missing := [name for name in ("Filename", *COLUMNS) if name not in known]:
        raise CorpusError(
            f"{file}: expected the columns Filename, {', '.join(COLUMNS)}, but {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing"
        )
    rows.fieldnames = known
    for row in rows:
        where = f"{file}, line {rows.line_num}"
        labels = tuple(_intensity(row[name], name, where) for name in COLUMNS)
        yield rows.line_num, _clip_id(row["Filename"], where), labels


def _ids_of_media(folder: CorpusFolder) -> list[str]:
    """The ids of the media of a folder without label files."""
    found = set().union(*(folder.stems(name) for name in ("raw", "audio", "face_images")))
    return sorted({name for name in found if len(name) == 5 and name.isascii() and name.isdigit()})


def _clip_id(text: str | None, where: str) -> str:
    stem = (text or "").strip().partition(".")[0]
    if not stem.isascii() or not stem.isdigit() or len(stem) > _MOST_DIGITS:
        raise CorpusError(f"{where}: expected the number of a clip as Filename, got {text!r}")
    return f"{int(stem):05d}"


def _intensity(text: str | None, column: str, where: str) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = float("nan")
    if not 0 <= value <= 1:
        raise CorpusError(f"{where}: expected {column} in [0, 1], got {text!r}")
    return value


def _clip(
    folder: CorpusFolder, spoken: CorpusFolder | None, split: str, clip_id: str, labels: tuple[float, ...]
) -> Clip:
    def found(where: CorpusFolder, kind: str, endings: Iterable[str]) -> Path | None:
        names = (f"{kind}{clip_id}{ending}" for ending in endings)
        return next((where.file(name) for name in names if where.has_file(name)), None)

    faces, files = f"face_images/{clip_id}", folder.files
    if files is not None and spoken is not None and isinstance(spoken.where, Path):
        files = replace(files, here=spoken.where)
    return Clip(
        id=clip_id,
        split=split,
        labels=labels,
        video=found(folder, "raw/", _VIDEO_ENDINGS),
        audio=found(folder, "audio/", _SOUND_ENDINGS),
        faces=folder.file(faces) if folder.has_files_in(faces, ".jpg") else None,
        transcript=found(spoken or folder, "" if spoken else "transcripts/", _TRANSCRIPT_ENDINGS),
        files=files,
    )
