"""What `taemi-edge run --record` keeps, as a corpus without labels, for a model of any streams.

Its `losses.jsonl` says which file holds which stream of a clip. A stream of which nothing came has no file, and is
missing; one that was lost on the way has what came before, and after its return.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from taemi_edge.corpora.corpus_folder import CorpusFolder
from taemi_edge.corpora.labelled_clips import SPLITS
from taemi_edge.corpora.sample_corpus import SampleClip, SampleCorpus

LOSSES = "losses.jsonl"


def open_recorded(folder: Path | CorpusFolder) -> SampleCorpus | None:
    """Open the clips that a live run has recorded; None where there are none whose files are known.

    All of them belong to the split `train`. Clips whose files were removed to make room are left out, and so is a line
    that was not written to its end.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as place:
        ...     open_recorded(Path(place)) is None
        True
    """
    folder = folder if isinstance(folder, CorpusFolder) else CorpusFolder(folder)
    if not folder.has_file(LOSSES):
        return None
    text = folder.place.read(LOSSES)
    clips: dict[str, SampleClip] = {}
    for line in text.splitlines():
        clip = _clip(folder, line)
        if clip is not None:
            clips[clip.id] = clip
    return SampleCorpus(folder.where, tuple(clips.values()), None, hashlib.sha256(text).hexdigest()) if clips else None


def _clip(folder: CorpusFolder, line: bytes) -> SampleClip | None:
    """The clip of a line; None where it cannot be read, or nothing of the clip is there any more."""
    from taemi_edge.live.outputs.record import Loss  # here, since most corpora were not recorded

    try:
        loss = msgspec.json.decode(line, type=Loss)
    except (ValueError, RecursionError):
        return None
    there = {stream: found for stream, found in loss.files.items() if _is_inside(folder, found.file)}
    if not there or "/" in loss.clip:
        return None
    cells = {stream: found.file for stream, found in there.items()}
    starts_s = {stream: found.start_s for stream, found in there.items()}
    where = f"{folder.where}, clip {loss.clip}"
    return SampleClip(loss.clip, SPLITS[0], where, None, cells, folder.file(""), starts_s, folder.files)


def _is_inside(folder: CorpusFolder, name: str) -> bool:
    """Whether a name is that of a file in the folder, or below it, and not of one elsewhere."""
    return not Path(name).is_absolute() and ".." not in Path(name).parts and folder.has_file(Path(name).as_posix())
