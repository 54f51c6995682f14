"""The manifest of a bundle as a frozen, validated class. Nothing here reads or writes a file: `folder.py` does.

What streams and outputs are is told in `streams.py` and `outputs.py`; how a bundle was made, in `records.py`.
"""

from __future__ import annotations

import msgspec

from taemi_edge.bundle.limits import (
    LEAST_HOP_S,
    MOST_FILES,
    MOST_OUTPUT_NAMES,
    MOST_OUTPUTS,
    MOST_PATTERNS,
    MOST_STREAMS,
    MOST_WINDOW_S,
)
from taemi_edge.bundle.names import MASK_SUFFIX, file_name_problem, model_name_problem, names_problem
from taemi_edge.bundle.outputs import OutputSpec
from taemi_edge.bundle.precisions import Flavour, Precision
from taemi_edge.bundle.records import CalibrationRecord, EngineRecord, Provenance
from taemi_edge.bundle.streams import Pattern, StreamSpec, TextSpec, pattern_name, presence_patterns
from taemi_edge.bundle.training_data import is_synthetic
from taemi_edge.bundle.values import END_TO_END, HEAD, Frozen, PartSpec, PartTolerances

SCHEMA = 2


class WindowSpec(Frozen, frozen=True):
    """How many seconds a prediction looks back (`length_s`), and every how many seconds one is made (`hop_s`)."""

    length_s: float
    hop_s: float

    def __post_init__(self) -> None:
        if not LEAST_HOP_S <= self.hop_s <= self.length_s <= MOST_WINDOW_S:
            raise ValueError(
                f"expected 0 < hop_s <= length_s, of {LEAST_HOP_S:g} to {MOST_WINDOW_S:g} s, got {self.hop_s} and "
                f"{self.length_s}"
            )


#: Outputs that move by no more than this, as a part of the largest or of 1, do not depend on padding.
MOST_PADDING_ERROR = 1e-4


class HeadSpec(Frozen, frozen=True):
    """How the head reads the features of the streams.

    Attributes:
        masks: whether it takes a mask for every stream.
        order_matters: whether its outputs change when the steps of a stream change places. Where they do not, a window
            may be read from a ring in any order.
        padding_error: how far the outputs of a head with masks move with the number and the values of the steps that a
            mask hides: 0 for a head that is blind to padding. None where it was not measured.
        unread: the streams whose features change no output; their encoders run for nothing.
    """

    masks: bool = True
    order_matters: bool = False
    padding_error: float | None = None
    unread: tuple[str, ...] = ()

    @property
    def takes_padding(self) -> bool:
        """Whether windows of several lengths may share a call, the shorter ones padded.

        A head without masks is never padded, and neither is one whose outputs depend on what the masks hide: a source
        would get other predictions in company than alone.
        """
        return self.masks and (self.padding_error or 0.0) <= MOST_PADDING_ERROR


class Manifest(Frozen, frozen=True):
    """`manifest.json`: everything that the runtime must know about a bundle, and the hash of each of its files.

    Attributes:
        parts: the networks by name: an encoder for each stream, and the head under "fusion".
        streams, outputs: what the model reads and gives, by name, in the model's order.
        head: how the head reads features.
        metric: the metric that judges the model, by its name in `taemi_edge.parity.metrics`; "own" where it is a
            function of the user's.
        declared_patterns: sets of live streams that are checked although there are more than six streams.
        trained_on: what the head was trained on, in words; empty where it was not.
        graphs: the graphs of each part by flavour, where there are several; `build-engine` chooses from them.
        tolerances_by: the tolerances of each precision that `graphs` offers.
        verified: of an engine bundle, whether parity held on the device that built it. None of a bundle of graphs.
    """

    schema: int
    name: str
    trained: bool
    parts: dict[str, PartSpec]
    streams: dict[str, StreamSpec]
    outputs: dict[str, OutputSpec]
    window: WindowSpec
    tolerances: PartTolerances
    provenance: Provenance
    sha256: dict[str, str]
    head: HeadSpec = HeadSpec()
    metric: str = "pearson"
    declared_patterns: tuple[tuple[str, ...], ...] = ()
    trained_on: str = ""
    graphs: dict[str, dict[Flavour, str]] = msgspec.field(default_factory=dict)
    tolerances_by: dict[Precision, PartTolerances] = msgspec.field(default_factory=dict)
    calibration: CalibrationRecord | None = None
    verified: bool | None = None
    engine: EngineRecord | None = None

    def __post_init__(self) -> None:
        problems = [problem] if (problem := names_problem(self.streams, self.outputs)) else []
        problems += [problem] if (problem := model_name_problem(self.name)) else []
        if not self.streams or not self.outputs:
            problems.append("expected at least one stream and one output")
        problems += self._count_problems()
        for what, names in (("part", self.parts), ("tolerance", set(self.tolerances) - {END_TO_END})):
            if set(names) != set(self.part_names):
                problems.append(f"expected a {what} for each of {', '.join(self.part_names)}, got {sorted(names)}")
        if not problems:
            problems += self._head_problems() + self._encoder_problems() + self._name_problems()
        problems += self._file_problems()
        if problems:
            raise ValueError("; ".join(problems))

    @property
    def part_names(self) -> tuple[str, ...]:
        """The names of the parts, in the order in which they run: the encoders, and then the head."""
        return (*self.streams, HEAD)

    @property
    def patterns(self) -> tuple[Pattern, ...]:
        """The sets of live streams that the model is checked in, the complete one first."""
        return presence_patterns(self.streams, self.declared_patterns)

    @property
    def synthetic(self) -> bool:
        """Whether the model was trained on synthetic data, by its own words; whatever shows predictions says so."""
        return is_synthetic(self.trained_on)

    def pattern_name(self, pattern: Pattern) -> str:
        """Give the name of a set of live streams, in the order of the model's streams."""
        return pattern_name(pattern, self.streams)

    def gives_vector(self, stream: str) -> bool:
        """Whether the encoder of a stream gives one vector (B, D) for an input, and not steps (B, T, D)."""
        return len(self.parts[stream].outputs[0].shape) == 2

    def graph_file(self, part: str, flavour: Flavour) -> str | None:
        """Give the name of a part's graph in a flavour; None where the bundle has no such graph."""
        main = self.parts[part]
        if part not in self.graphs and main.precision == flavour and main.file.endswith(".onnx"):
            return main.file
        return self.graphs.get(part, {}).get(flavour)

    def tolerances_of(self, precision: Precision) -> PartTolerances:
        """Give the tolerances of a precision; those of the bundle where it has no others."""
        return self.tolerances_by.get(precision, self.tolerances)

    def _head_problems(self) -> list[str]:
        """What the head takes and gives must be the streams and outputs that are declared."""
        head = self.parts[HEAD]
        masks = {name + MASK_SUFFIX for name in self.streams} if self.head.masks else set()
        takes, wanted = {spec.name for spec in head.inputs}, set(self.streams) | masks
        problems = []
        if takes != wanted:
            problems.append(f"expected a head that takes {', '.join(sorted(wanted))}, got {', '.join(sorted(takes))}")
        gives = {spec.name: spec.shape[-1] if spec.shape else None for spec in head.outputs}
        declared = {name: spec.size for name, spec in self.outputs.items()}
        if gives != declared:
            problems.append(f"expected a head that gives {declared}, as the outputs are declared, got {gives}")
        for spec in head.inputs:
            width = self.streams[spec.name].feature_dim if spec.name in self.streams else None
            if width is not None and spec.shape[2:] != (width,):
                problems.append(f"expected a head that takes {spec.name} as (batch, steps, {width}), got {spec.shape}")
        return problems

    def _encoder_problems(self) -> list[str]:
        """Every encoder takes something, and gives features as wide as its stream says."""
        problems = []
        for name, stream in self.streams.items():
            part = self.parts[name]
            shapes = [spec.shape for spec in part.outputs]
            if not part.inputs or len(shapes) != 1 or len(shapes[0]) not in (2, 3):
                problems.append(f"{name}: expected an encoder with one output (batch, D) or (batch, steps, D)")
            elif shapes[0][-1] != stream.feature_dim:
                problems.append(f"{name}: expected features of width {stream.feature_dim}, got {shapes[0]}")
            if stream.missing.kind == "mask" and not self.head.masks:
                problems.append(f"{name}: expected a head with masks, because a mask stands for the stream")
        return problems

    def _count_problems(self) -> list[str]:
        """There are no more of each thing than a device could run."""
        counts = (
            ("streams", len(self.streams), MOST_STREAMS),
            ("outputs", len(self.outputs), MOST_OUTPUTS),
            ("names of outputs", sum(spec.size for spec in self.outputs.values()), MOST_OUTPUT_NAMES),
            ("declared patterns", len(self.declared_patterns), MOST_PATTERNS),
            ("files", len(self.sha256), MOST_FILES),
        )
        return [f"expected at most {most:,} {what}, got {found:,}" for what, found, most in counts if found > most]

    def _file_problems(self) -> list[str]:
        """Every file is named as a file of the folder can be."""
        tokenizers = [s.tokenizer for s in self.streams.values() if isinstance(s, TextSpec)]
        graphs = [file for flavours in self.graphs.values() for file in flavours.values()]
        named = dict.fromkeys([*self.sha256, *(part.file for part in self.parts.values()), *tokenizers, *graphs])
        found = next((problem for name in named if (problem := file_name_problem(name))), None)
        return [found] if found else []

    def _name_problems(self) -> list[str]:
        """Nothing is said of streams and parts that are not there."""
        named = {name for pattern in self.declared_patterns for name in pattern} | set(self.head.unread)
        unknown = sorted((named - set(self.streams)) | (set(self.graphs) - set(self.parts)))
        return [f"expected streams and parts among {', '.join(self.parts)}, got {unknown[0]!r}"] if unknown else []
