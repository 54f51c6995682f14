"""A corpus for any model: labelled samples, as a table or as files of arrays. Nothing is read that is not needed.

A table is `samples.csv` or `samples.parquet` in a folder, or a file of any such name. Each row is a sample:

| column | what it holds |
|---|---|
| `id`, `split` | the name of the sample, and train, valid or test; without them rows are numbered and in test |
| `STREAM` | a file: video, sound, a transcript or a series, from the table's folder on; or the words of a text |
| `STREAM.0`, `STREAM.1`, ... | one row of a series |
| `label/OUTPUT` | the name or the number of a class; the number of an output of one |
| `OUTPUT.NAME` | the number of that name; 0 or 1 for classes that may be together |
| `recording`, `start_s`, `end_s` | a range of a robot's recording (`corpora/drives.py`) |

Columns that begin with `_` are left out. Files of arrays are `*.npz` in a folder, or in its folders train, valid and
test: "STREAM/INPUT" without a batch axis, and "label/OUTPUT" (see `taemi_edge.parity.samples`).

An empty cell, NaN and an array that is left out are a stream that is missing, or a label that nobody knows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from taemi_edge.bundle.outputs import ClassesSpec, OutputSpec
from taemi_edge.bundle.streams import StreamSpec
from taemi_edge.corpora.corpus_folder import CorpusFolder
from taemi_edge.corpora.drive_ranges import DriveOptions, DriveRange
from taemi_edge.corpora.labelled_clips import SPLITS, SYNTHETIC_FILE, SyntheticMark, read_mark
from taemi_edge.corpora.remote_place import RemotePlace
from taemi_edge.corpora.staging import RemoteFiles, at_hand, local_file
from taemi_edge.corpora.tables import read_table, table_of
from taemi_edge.errors import CorpusError, InputError
from taemi_edge.media.npz_files import array_names, npz_digest, read_arrays
from taemi_edge.parity.judge import label_size
from taemi_edge.parity.samples import LABEL, Sample

#: Samples without a split belong to this one: they are there to be judged on.
USUAL_SPLIT = "test"
_CLASS_WORDS = ("true", "false")
#: The bytes of an id: with its ending, it is the name of a file.
_LONGEST_ID = 240
#: How many files elsewhere are downloaded at a time while they are hashed.
_DOWNLOADS = 8


@dataclass(frozen=True, eq=False)
class SampleClip:
    """One labelled sample.

    Attributes:
        id: unique within the corpus.
        split: train, valid or test.
        place: where messages say that it is: a file, or a row of a table.
        file: the file of arrays that holds it; None for a row of a table.
        cells: the columns of its row that are not empty.
        folder: which paths in cells start from.
        starts_s: when files begin within the sample, in seconds, by stream; all at 0 by default.
        files: where the files are that lie elsewhere; `file` and `folder` begin there (`corpora/staging.py`).
        held: what was kept of a file of arrays elsewhere when it was first read: its labels.
        ranges: the ranges of recordings that feed streams of it, beside its cells (`corpora/drives.py`).
    """

    id: str
    split: str
    place: str
    file: Path | None
    cells: Mapping[str, Any]
    folder: Path
    starts_s: Mapping[str, float] = field(default_factory=dict)
    files: RemoteFiles | None = None
    held: Sample | None = None
    ranges: tuple[DriveRange, ...] = ()

    def arrays(self, names: Collection[str] | None = None) -> Sample:
        """What the sample holds: arrays of its file, or the cells of its row.

        Args:
            names: of the arrays of a file that are wanted; all by default.

        Raises:
            InputError: the file cannot be read.
        """
        if self.file is None:
            return self.cells
        with at_hand(self) as here:
            return read_arrays(local_file(here.files, self.file), names)

    def labels(self, outputs: Mapping[str, OutputSpec]) -> tuple[float, ...]:
        """The labels of all outputs side by side; NaN where there is none.

        Args:
            outputs: of the model.

        Raises:
            CorpusError: a label is no number or no name of a class.
        """
        arrays = self.arrays(_label_names(outputs)) if self.held is None else self.held
        return tuple(number for name, spec in outputs.items() for number in _label(self.place, name, spec, arrays))

    def require_names(self, streams: Mapping[str, StreamSpec], outputs: Mapping[str, OutputSpec]) -> None:
        """Refuse a table with columns that belong to no stream and no output of a model.

        Raises:
            CorpusError: a column is unknown.
        """
        for column in self.cells:
            name, _, rest = column.partition(".")
            of_stream = name in streams and (not rest or rest.isdecimal())
            of_output = name in outputs and rest in outputs[name].names
            of_label = column.partition("/")[0] == LABEL and column.partition("/")[2] in outputs
            if not (of_stream or of_output or of_label or name.partition("/")[0] in streams):
                raise CorpusError(
                    f"{self.place}: expected columns of {', '.join((*streams, *outputs))}, got {column!r}: a name that "
                    f"begins with _ is left out"
                )


@dataclass(frozen=True, eq=False)
class SampleCorpus:
    """The samples of one folder or table.

    Attributes:
        folder: the folder, or the file of the table, on this machine or elsewhere.
        clips: the samples.
        synthetic: how the corpus was made; None where it is real.
        labels_sha256: the hash of the table, or of the names and checksums of all arrays.
        drives: how recordings that samples name are read.
        is_cut: whether each sample is one; else each is a whole recording, which is cut for a model.
    """

    folder: Path | RemotePlace
    clips: tuple[SampleClip, ...]
    synthetic: SyntheticMark | None
    labels_sha256: str
    drives: DriveOptions = field(default_factory=DriveOptions)
    is_cut: bool = True

    @property
    def name(self) -> str:
        """What reports call the corpus."""
        if isinstance(self.folder, RemotePlace):
            is_synthetic = self.synthetic is not None
        else:
            folder = self.folder if self.folder.is_dir() else self.folder.parent
            is_synthetic = (folder / SYNTHETIC_FILE).is_file()
        return f"{self.folder.name}, synthetic" if is_synthetic else self.folder.name

    def unlabelled(self) -> list[str]:
        """Media without a sample: nobody can know any."""
        return []

    def older_labels_sha256(self) -> str:
        """The hash that stores of schema 1 have of this corpus: every byte of its files is read for it."""
        if any(clip.file is None for clip in self.clips):
            return self.labels_sha256
        folder, digest = CorpusFolder(self.folder), sha256()
        for name, _ in _array_files(folder):
            with folder.local(name) as file:
                digest.update(folder.file(name).name.encode() + b"\\0" + sha256(file.read_bytes()).digest())
        return digest.hexdigest()

    def split(self, name: str) -> list[SampleClip]:
        """The samples of one split."""
        return [clip for clip in self.clips if clip.split == name]


def open_samples(place: Path | str | CorpusFolder) -> SampleCorpus | None:
    """Open a table or a folder of samples; None where there is neither.

    Args:
        place: a folder, or the file of a table.

    Raises:
        CorpusError: a table cannot be read, an id occurs twice, or a split is unknown.
        MissingExtraError: a Parquet file needs pyarrow, which is not installed.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "samples.csv").write_text("imu.0,imu.1,label/state,split\\n1,2,moving,valid\\n")
        ...     [clip] = open_samples(folder).clips
        >>> clip.id, clip.split, clip.labels({"state": ClassesSpec(names=("still", "moving"))})
        ('1', 'valid', (1.0,))
    """
    folder = place if isinstance(place, CorpusFolder) else CorpusFolder(place)
    where, table = folder.where, table_of(folder)
    if table is not None:
        folder, name = table
        with folder.local(name) as file:
            clips = _rows(file, folder, name)
            digest = sha256(file.read_bytes()).hexdigest()
    else:
        clips, digest = _file_clips(folder)
    if not clips:
        return None
    _require_each_once(str(where), clips)
    return SampleCorpus(where, tuple(clips), read_mark(folder), digest)


def _file_clips(folder: CorpusFolder) -> tuple[list[SampleClip], str]:
    """The samples of all files of arrays, and the hash of those files.

    A file elsewhere is downloaded once for that, and deleted; its labels are kept.
    """
    named = _array_files(folder)
    clips, digest = [], sha256()
    for (name, split), (of_file, held) in zip(named, _read_each(folder, [n for n, _ in named]), strict=True):
        file, stem = folder.file(name), PurePosixPath(name).stem
        clip_id = f"{split}-{stem}" if "/" in name else stem
        clips.append(
            SampleClip(clip_id, split, folder.shown(name), file, {}, file.parent, files=folder.files, held=held)
        )
        digest.update(file.name.encode() + b"\\0" + of_file)
    return clips, digest.hexdigest()


def _array_files(folder: CorpusFolder) -> list[tuple[str, str]]:
    """The name of every file of arrays, and its split."""
    named = [(name, split) for split in SPLITS for name in folder.endings(split, ".npz")]
    return named + [(name, USUAL_SPLIT) for name in folder.endings("", ".npz")]


def _label_names(outputs: Mapping[str, OutputSpec]) -> set[str]:
    """The arrays of a file that hold labels."""
    by_name = {f"{output}.{name}" for output, spec in outputs.items() for name in spec.names}
    return by_name | {f"{LABEL}/{output}" for output in outputs}


def _read_each(folder: CorpusFolder, names: list[str]) -> Iterator[tuple[bytes, Sample | None]]:
    """Give what `_hashed` says of each file; several are downloaded at a time."""
    if folder.files is None:
        yield from map(partial(_hashed, folder), names)
        return
    pool = ThreadPoolExecutor(_DOWNLOADS)
    try:
        yield from pool.map(partial(_hashed, folder), names)
    finally:
        pool.shutdown(cancel_futures=True)


def _hashed(folder: CorpusFolder, name: str) -> tuple[bytes, Sample | None]:
    """The hash of a file of arrays; of one elsewhere its labels too, where they can be read."""
    with folder.local(name) as file:
        digest = npz_digest(file)
        if folder.files is None:
            return digest, None
        try:
            labels = [name for name in array_names(file) if "/" not in name or name.startswith(f"{LABEL}/")]
            return digest, read_arrays(file, labels)
        except InputError:
            return digest, None


def _rows(table: Path, folder: CorpusFolder, name: str) -> list[SampleClip]:
    clips = []
    for number, row in enumerate(read_table(table), 1):
        where = f"{folder.shown(name)}, row {number}"
        split = str(row.pop("split", USUAL_SPLIT) or USUAL_SPLIT)
        if split not in SPLITS:
            raise CorpusError(f"{where}: expected the split {', '.join(SPLITS)}, got {split!r}")
        cells = {name: value for name, value in row.items() if name != "id" and not _is_empty(value)}
        clip_id = str(row.get("id") or number)
        clips.append(SampleClip(clip_id, split, where, None, cells, folder.file(""), files=folder.files))
    return clips


def _is_empty(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and np.isnan(value))


def _require_each_once(place: str, clips: list[SampleClip]) -> None:
    seen: set[str] = set()
    for clip in clips:
        if clip.id in seen:
            raise CorpusError(f"{place}: expected each sample once, got {clip.id!r} again: name every row differently")
        length = len(clip.id.encode(errors="surrogateescape"))
        if not 0 < length <= _LONGEST_ID or {"/", "\0"} & {*clip.id} or clip.id.startswith("."):
            raise CorpusError(f"{clip.place}: expected an id that can be a file's name, got {clip.id!r:.100}")
        seen.add(clip.id)


def _label(where: str, output: str, spec: OutputSpec, arrays: Sample) -> list[float]:
    """The label of one output as numbers; NaN where there is none."""
    size = label_size(spec)
    columns = [f"{output}.{name}" for name in spec.names]
    if any(column in arrays for column in columns):
        if size == 1 < spec.size:
            raise CorpusError(f"{where}: expected label/{output} with the name of a class, got {columns[0]} and others")
        return [_number(where, column, arrays.get(column, np.nan)) for column in columns]
    key = f"{LABEL}/{output}"
    if key not in arrays:
        return [float("nan")] * size
    given = np.asarray(arrays[key]).reshape(-1)
    if len(given) != size:
        raise CorpusError(f"{where}: {key}: expected {size} numbers, got {len(given)}")
    if isinstance(spec, ClassesSpec) and spec.exclusive:
        return [_class_number(where, key, spec, given[0])]
    return [_number(where, key, value) for value in given]


def _class_number(where: str, key: str, spec: ClassesSpec, value: Any) -> float:
    """The number of a class by its name, or as it is."""
    if str(value) in spec.names:
        return float(spec.names.index(str(value)))
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if np.isnan(number) or (number in range(spec.size)):
        return number
    raise CorpusError(f"{where}: {key}: expected one of {', '.join(spec.names)}, or its number, got {str(value)!r}")


def _number(where: str, key: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise CorpusError(f"{where}: {key}: expected a number, got {str(value)!r}") from error
