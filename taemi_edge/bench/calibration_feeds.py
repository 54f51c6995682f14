"""Real inputs of every part, on which a rival finds the ranges of its own INT8.

They are written by the process of the benchmark, which can read any corpus, and read by the rival's process, whose
interpreter may have no more than numpy and the rival.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.values import Array
from taemi_edge.errors import UsageError
from taemi_edge.progress import Progress, RenamedCounts

#: So many clips are read, and so many feeds of a part are kept: as many as NNCF takes by itself.
CLIPS, FEEDS = 64, 300
_LISTED = "calibration.json"


class _Listed(msgspec.Struct, frozen=True):
    described: str
    left_out: dict[str, list[str]]


class CalibrationFeeds:
    """Reads what `write_calibration_feeds` wrote.

    Attributes:
        described: where the inputs come from, for the report.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._listed = msgspec.json.decode((folder / _LISTED).read_bytes(), type=_Listed)
        self.described = self._listed.described

    def of(self, part: str) -> tuple[list[dict[str, Array]], list[str]]:
        """The feeds of a part, and the nodes that stay in FP32 as the model's calibration recipe says.

        Raises:
            UsageError: no clip has anything to feed it.
        """
        feeds: dict[int, dict[str, Array]] = {}
        with np.load(self._folder / f"{part}.npz", allow_pickle=False) as stored:
            for key in stored.files:
                number, _, name = key.partition("|")
                feeds.setdefault(int(number), {})[name] = stored[key]
        if not feeds:
            raise UsageError(f"{part}: expected a clip in --data that has this stream, found none")
        return list(feeds.values()), self._listed.left_out.get(part, [])


def write_calibration_feeds(exported: Bundle, data: Path, folder: Path, progress: Progress, workers: int = 0) -> None:
    """Read clips of a corpus as a calibration does, and write the inputs that they give each part.

    Args:
        exported: the bundle in FP32 that `export` made.
        data: a corpus, a table or .npz files of samples; its split train, or what it has in place of it.
        folder: where the inputs are written.
        workers: how many processes read; 0 for as many as there are cores.

    Raises:
        CalibrationError, InputError: the corpus has too few clips, or none that can be read.
    """
    from taemi_edge.bundle.recipe import load_recipe
    from taemi_edge.calibration.calibrate import default_recipe
    from taemi_edge.calibration.clip_selection import read_clips
    from taemi_edge.calibration.clip_spool import part_feeds
    from taemi_edge.calibration.recipe import CalibrationRecipe
    from taemi_edge.corpora.opening import open_any_corpus

    corpus = open_any_corpus(data, None, needs_labels=False)
    few = {"clips": str(CLIPS), "least_rows": "0", "held_out": "1"}
    recipe = load_recipe("calibration", default_recipe(exported.folder), CalibrationRecipe, few)
    counts = RenamedCounts(progress, "reading clips for openvino-int8")
    clips = read_clips(corpus, recipe, exported, folder, workers, counts)
    for part in exported.manifest.part_names:
        items = recipe.frames_per_clip
        feeds = _drawn(part_feeds(clips.calibrating, exported, part, items, 1), FEEDS)
        arrays: dict[str, Any] = {f"{i}|{n}": value for i, of_one in enumerate(feeds) for n, value in of_one.items()}
        np.savez(folder / f"{part}.npz", **arrays)
    kind = "synthetic clips" if clips.synthetic else "clips"
    described = f"on {len(clips.calibrating)} {kind} of {clips.data}"
    left_out = {part: _nodes_in(exported, part, blocks) for part, blocks in recipe.exclude.items()}
    if blocks := [f"{part} {block}" for part, of_one in recipe.exclude.items() for block in of_one]:
        described += f", without {', '.join(blocks)}, as calibration/{recipe.name}.toml says"
    listed = {"described": described, "left_out": left_out}
    (folder / _LISTED).write_text(json.dumps(listed), encoding="utf-8")


def _drawn(feeds: Iterable[dict[str, Array]], most: int) -> list[dict[str, Array]]:
    """At most so many of some feeds, drawn evenly; no more of them are held at any time.

    >>> len(_drawn(({"x": np.zeros(1)} for _ in range(100)), 8))
    8
    """
    draw = random.Random(0)  # noqa: S311  (a draw of clips, not a secret)
    kept: list[dict[str, Array]] = []
    for number, of_one in enumerate(feeds):
        if number < most:
            kept.append(of_one)
        elif (place := draw.randint(0, number)) < most:
            kept[place] = of_one
    return kept


def _nodes_in(bundle: Bundle, part: str, blocks: Mapping[str, Any]) -> list[str]:
    """The nodes of a part's graph that lie in some blocks."""
    from taemi_edge.calibration.graphs.graph import Graph

    graph = Graph.of_part(bundle, part)
    return [node.name for node in graph.nodes if any(f"/{block}/" in f"{node.name}/" for block in blocks)]
