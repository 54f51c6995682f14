"""taemi-edge: export, calibrate, compile and run a multimodal model whose streams may drop out.

This module is the way in for notebooks and services; the command line is `taemi-edge`. Names are imported when they are
first used, so `import taemi_edge` itself is quick and needs none of the optional packages.

Example:
    >>> import taemi_edge as te
    >>> with te.load("export/taemi-tiny") as model:
    ...     for prediction in model.run("talk.mp4", transcript="talk.vtt", drops=["vision@2-4"]):
    ...         pass
    >>> prediction.time_s
    16.5
"""

from __future__ import annotations

import logging
import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from taemi_edge.bundle.guests import register_guest

# From 1.29 on, ONNX Runtime's wheels for Linux report sessions, with hashes of the model's weights, to their maker, and
# keep an identifier of the device, unless this is set before its first session. Who wants to report sets it to 0.
# https://github.com/microsoft/onnxruntime/pull/27379
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from taemi_edge import errors
    from taemi_edge.bench.compare import run_bench as bench
    from taemi_edge.bundle.card_record import ModelCard
    from taemi_edge.bundle.folder import Bundle, open_bundle
    from taemi_edge.bundle.streams import PresenceSpec
    from taemi_edge.calibration.calibrate import calibrate_bundle
    from taemi_edge.corpora.evaluate import evaluate_on as evaluate
    from taemi_edge.engines.build import build_engine
    from taemi_edge.export.contract import Model, OnnxFile, Stream
    from taemi_edge.export.declared_outputs import Classes, Regression
    from taemi_edge.export.export_model import export_model
    from taemi_edge.export.kinds import Audio, Series, Text, Video
    from taemi_edge.live.background import LiveRun
    from taemi_edge.loaded_model import LoadedModel, load
    from taemi_edge.media.arrays import Frames, Samples, Sound
    from taemi_edge.media.files import MediaFile
    from taemi_edge.media.transcripts import Word
    from taemi_edge.parity.comparison import check_parity
    from taemi_edge.progress import Progress
    from taemi_edge.runtime.pipeline import Fleet, Pipeline
    from taemi_edge.runtime.prediction import Prediction
    from taemi_edge.runtime.window import Source
    from taemi_edge.taemi.checkpoint import open_checkpoint
    from taemi_edge.taemi.exporting import export_checkpoint
    from taemi_edge.taemi.vidmimic2 import open_corpus

__version__ = "0.1.0"

# A library says nothing on its own: without a handler of the program's, Python would write warnings to standard error.
logging.getLogger("taemi_edge").addHandler(logging.NullHandler())

register_guest("model", "taemi_edge.export.opening:open_model")
register_guest("model", "taemi_edge.taemi.opening:open_model")
register_guest("corpus", "taemi_edge.taemi.opening:open_clips")

#: Where each public name lies: its module, and its name there ("" for the module itself, which can be called).
_PLACES = {
    "Audio": ("export.kinds", "Audio"),
    "Bundle": ("bundle.folder", "Bundle"),
    "Classes": ("export.declared_outputs", "Classes"),
    "Fleet": ("runtime.pipeline", "Fleet"),
    "Frames": ("media.arrays", "Frames"),
    "LiveRun": ("live.background", "LiveRun"),
    "LoadedModel": ("loaded_model", "LoadedModel"),
    "MediaFile": ("media.files", "MediaFile"),
    "Model": ("export.contract", "Model"),
    "ModelCard": ("bundle.card_record", "ModelCard"),
    "OnnxFile": ("export.contract", "OnnxFile"),
    "Pipeline": ("runtime.pipeline", "Pipeline"),
    "Prediction": ("runtime.prediction", "Prediction"),
    "PresenceSpec": ("bundle.streams", "PresenceSpec"),
    "Progress": ("progress", "Progress"),
    "Regression": ("export.declared_outputs", "Regression"),
    "Samples": ("media.arrays", "Samples"),
    "Series": ("export.kinds", "Series"),
    "Sound": ("media.arrays", "Sound"),
    "Source": ("runtime.window", "Source"),
    "Stream": ("export.contract", "Stream"),
    "Text": ("export.kinds", "Text"),
    "Video": ("export.kinds", "Video"),
    "Word": ("media.transcripts", "Word"),
    "bench": ("bench", ""),
    "build_engine": ("engines.build", "build_engine"),
    "calibrate_bundle": ("calibration.calibrate", "calibrate_bundle"),
    "check_parity": ("parity.comparison", "check_parity"),
    "evaluate": ("corpora.evaluate", "evaluate_on"),
    "export_checkpoint": ("taemi.exporting", "export_checkpoint"),
    "export_model": ("export.export_model", "export_model"),
    "load": ("loaded_model", "load"),
    "open_bundle": ("bundle.folder", "open_bundle"),
    "open_checkpoint": ("taemi.checkpoint", "open_checkpoint"),
    "open_corpus": ("taemi.vidmimic2", "open_corpus"),
}
__all__ = [
    "Audio",
    "Bundle",
    "Classes",
    "Fleet",
    "Frames",
    "LiveRun",
    "LoadedModel",
    "MediaFile",
    "Model",
    "ModelCard",
    "OnnxFile",
    "Pipeline",
    "Prediction",
    "PresenceSpec",
    "Progress",
    "Regression",
    "Samples",
    "Series",
    "Sound",
    "Source",
    "Stream",
    "Text",
    "Video",
    "Word",
    "__version__",
    "bench",
    "build_engine",
    "calibrate_bundle",
    "check_parity",
    "errors",
    "evaluate",
    "export_checkpoint",
    "export_model",
    "load",
    "open_bundle",
    "open_checkpoint",
    "open_corpus",
]


def __getattr__(name: str) -> Any:
    if name == "errors":
        return import_module("taemi_edge.errors")
    if name not in _PLACES:
        raise AttributeError(f"module 'taemi_edge' has no attribute {name!r}")
    module, attribute = _PLACES[name]
    found = import_module(f"taemi_edge.{module}")
    return getattr(found, attribute) if attribute else found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
