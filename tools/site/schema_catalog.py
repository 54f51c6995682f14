"""Which JSON Schemas are published: of what, where its type lies, and which command writes or reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Direction = Literal["written", "read"]


@dataclass(frozen=True)
class Entry:
    """One schema.

    Attributes:
        name: of its file, `NAME.schema.json`.
        types: the types that it is made from, `module:Class` below taemi_edge; a value is of one of them.
        what: what it describes, in a sentence.
        direction: whether taemi-edge writes such files, all of whose fields are there, or people write them.
        files: where such a file is found, in words of Markdown.
    """

    name: str
    types: tuple[str, ...]
    what: str
    direction: Direction
    files: str


CATALOG = (
    Entry("manifest", ("bundle.spec:Manifest",), "The manifest of a bundle.", "read", "`manifest.json` in a bundle"),
    Entry(
        "prediction", (), "One line of predictions.", "written", "a line of `run --output F.jsonl`, and what MQTT gets"
    ),
    Entry(
        "event",
        ("live.events:PresenceEvent", "live.events:ModelEvent", "live.load:LoadEvent"),
        "One line of events of a live run.",
        "written",
        "a line of `run --events F.jsonl`",
    ),
    Entry(
        "evaluation",
        ("corpora.evaluation:PearsonEvaluation", "corpora.evaluation:AnyEvaluation"),
        "The result of an evaluation.",
        "written",
        "`evaluate --json`, and `evaluation.json` of `demo`",
    ),
    Entry("parity", ("parity.comparison:ParityReport",), "The result of a comparison.", "written", "`parity --json`"),
    Entry("bench", ("bench.report:BenchReport",), "Times beside rivals.", "written", "`bench --json`"),
    Entry(
        "bench-host",
        ("bench.host.report:HostReport",),
        "What the host adds to a hop.",
        "written",
        "`bench --host --json`",
    ),
    Entry(
        "bench-sweep", ("bench.sweep:SweepReport",), "How the cost of a hop grows.", "written", "`bench --sweep --json`"
    ),
    Entry(
        "replay",
        ("parity.prediction_differences:ReplayJson",),
        "How far two bundles are apart.",
        "written",
        "`replay --json`",
    ),
    Entry("replay-line", ("parity.replay:ReplayLine",), "A hop of a replay.", "written", "a line of `replay --output`"),
    Entry("doctor", ("cli.doctor:Report",), "What works on a machine.", "written", "`doctor --json`"),
    Entry(
        "calibration",
        ("bundle.records:CalibrationRecord",),
        "What a calibration found.",
        "written",
        "`calibrate --json`",
    ),
    Entry(
        "ranges", ("calibration.planning:RangesFile",), "Ranges and plans of a calibration.", "read", "`ranges.json`"
    ),
    Entry(
        "sensitivity",
        ("calibration.record:SensitivityFile",),
        "What each block costs.",
        "written",
        "`sensitivity.json`",
    ),
    Entry("engines", ("bundle.records:EngineRecord",), "How engines were built.", "written", "`build-engine --json`"),
    Entry(
        "inspect",
        ("bundle.describe:BundleDescription", "media.recordings.describing:RecordingDescription"),
        "What a bundle or a recording holds.",
        "written",
        "`inspect --json`",
    ),
    Entry("extraction", ("cli.extraction_json:ExtractionJson",), "What was encoded.", "written", "`extract --json`"),
    Entry(
        "feature-store", ("corpora.store_index:StoreIndex",), "The index of a store.", "read", "`index.json` in a store"
    ),
    Entry("ablation", ("taemi.ablation:Ablation",), "What each part of TAEMI adds.", "written", "`ablate --json`"),
    Entry("sweep", ("taemi.sweep.results:Sweep",), "Settings over seeds.", "written", "`sweep --json`, `results.json`"),
    Entry(
        "update", ("live.update_root:UpdateResult",), "How an update went.", "written", "`update --json`, `update.json`"
    ),
    Entry(
        "transcript-line",
        ("live.words:TranscriptLine",),
        "Words that a run is sent.",
        "read",
        "a line of `--transcript -`",
    ),
    Entry("live", ("live.config:LiveConfig",), "A live run.", "read", "the TOML of `run --config`"),
    Entry("export-recipe", ("taemi.recipe:ModelRecipe",), "A recipe of TAEMI.", "read", "`export/*.toml`"),
    Entry(
        "calibration-recipe",
        ("calibration.recipe:CalibrationRecipe",),
        "How a bundle is calibrated.",
        "read",
        "`calibration/*.toml`",
    ),
    Entry("engine-target", ("engines.recipe:TargetRecipe",), "What engines are built for.", "read", "`engines/*.toml`"),
    Entry("onnx-model", ("export.onnx_model:OnnxModelFile",), "A model of ONNX files.", "read", "`model.toml`"),
)
