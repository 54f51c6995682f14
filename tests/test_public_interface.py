"""The public interface of `import taemi_edge`: its names and their signatures. A change of one is seen here.

Whoever changes a line of `SIGNATURES` changes what programs of others rely on: CHANGELOG.md says so.
"""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib.util import find_spec

import pytest

import taemi_edge as te

#: Every public name with its signature; a default that is an object is written as ... here.
SIGNATURES = {
    "Audio": "(sample_rate_hz, chunk_s, context_s=0.0)",
    "Classes": "(names, gives='logits', exclusive=True, metrics=())",
    "Model": (
        "(streams, head, outputs, samples, window_s, hop_s, metric=None, tolerances=None, name='', patterns=(), "
        "trained_on='', card=None)"
    ),
    "ModelCard": "(summary='', licence='', intended_use='', misuse='', limits='', evaluations=())",
    "OnnxFile": "(file, inputs=..., output=None, outputs=...)",
    "PresenceSpec": "(stale_after_s, missing_after_s, recover_after_s)",
    "Regression": "(names, range=None, metrics=())",
    "Samples": "(array, rate_hz=None, times_s=None)",
    "Series": "(channels, rate_hz=0.0, chunk_s=0.0, context_s=0.0, max_rows=64)",
    "Stream": (
        "(kind, encoder, missing='zeros', required=False, take=None, min_steps=1, max_steps=4096, tile=None, "
        "presence=None)"
    ),
    "Text": "(tokenizer, max_tokens)",
    "Video": "(size_hw, frames_per_second, crop='whole', clip_frames=1)",
    "export_model": "(model, folder, *, source='', opset=17, evaluations=(), progress=...)",
    "Bundle": "(folder, manifest, tokens, digests=..., sizes=..., place=None, signed_by=None)",
    "Fleet": "(bundle, sources, *, device=None, threads=None, window_s=None, hop_s=None, own_thread=False)",
    "Frames": "(array, times_s, highest=None)",
    "LiveRun": "(bundle, config, on_prediction, stop=None, on_end=None)",
    "LoadedModel": "(bundle, *, device=None, threads=None)",
    "MediaFile": "(path, sample_rate_hz=16000, frames_per_second=None, *, streams=None, every_frame=False, lean=False)",
    "Pipeline": "(bundle, source='', *, device=None, threads=None, window_s=None, hop_s=None)",
    "Prediction": (
        "(*, source, time_s, window_s, outputs, presence, age_ms, latency_ms, reason, status, backend='cpu', "
        "model_id='', degraded=None, synthetic=False, trained_on='')"
    ),
    "Progress": "(*args, **kwargs)",
    "Sound": "(array, rate_hz, time_s=None)",
    "Source": "(name='', words=(), drops=(), absent=..., patience_s=0.0)",
    "Word": "(start_s, end_s, text)",
    "bench": "(folder, options=None, command='', progress=...)",
    "build_engine": "(source, target, precision, output, *, threads=0, cache=None, progress=...)",
    "calibrate_bundle": "(source, corpus, recipe, output, *, options=..., workers=0, progress=...)",
    "check_parity": "(a, b=None, *, device=None, threads=None)",
    "evaluate": "(source, data, split=None, options=..., *, progress=...)",
    "export_checkpoint": (
        "(checkpoint, output, *, source, clip=None, untrained_tokens=False, evaluations=(), progress=...)"
    ),
    "load": "(bundle, *, device=None, threads=None, unverified=False, require_signature=None)",
    "open_bundle": "(folder, *, require_signature=None)",
    "open_checkpoint": "(source, random_weights=False)",
    "open_corpus": "(folder, transcripts=None, needs_labels=True)",
}
#: The methods of what `load` gives, and of what `stream` gives with a callback.
METHODS = {
    "LoadedModel.predict": "(self, *, end_s=None, **streams)",
    "LoadedModel.run": "(self, file=None, **options)",
    "LoadedModel.run_many": "(self, files, **options)",
    "LoadedModel.stream": "(self, sources=None, *, stop=None, on_prediction=None, **options)",
    "LoadedModel.push": "(self, stream, data, time_s)",
    "LoadedModel.hop": "(self, end_s)",
    "LoadedModel.reset": "(self)",
    "LoadedModel.close": "(self)",
    "LiveRun.stop": "(self)",
    "LiveRun.join": "(self, timeout_s=None)",
}
#: Names that import PyTorch or onnx.
WORKSHOP = {"calibrate_bundle", "export_checkpoint", "export_model", "open_checkpoint"}
PLAIN = (type(None), bool, int, float, str, tuple)


class _Dots:
    def __repr__(self) -> str:
        return "..."


def plain_signature(value: object) -> str:
    """A signature without annotations."""
    signature = inspect.signature(value)
    parameters = [
        each.replace(
            annotation=each.empty,
            default=each.default if each.default is each.empty or isinstance(each.default, PLAIN) else _Dots(),
        )
        for each in signature.parameters.values()
    ]
    return str(signature.replace(parameters=parameters, return_annotation=signature.empty))


def test_the_names_are_these():
    assert set(te.__all__) == {"__version__", "errors", *SIGNATURES}
    assert set(te.__all__) <= set(dir(te))
    assert len(set(te.__all__)) == len(te.__all__)


@pytest.mark.parametrize("name", sorted(SIGNATURES))
def test_a_public_name_keeps_its_signature(name: str):
    if name in WORKSHOP and (find_spec("torch") is None or find_spec("onnx") is None):
        pytest.skip("PyTorch and onnx are not installed here")
    assert plain_signature(getattr(te, name)) == SIGNATURES[name]


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_public_method_keeps_its_signature(name: str):
    owner, _, method = name.partition(".")
    assert plain_signature(getattr(getattr(te, owner), method)) == METHODS[name]


def test_every_public_name_says_what_it_is_with_an_example():
    for name in sorted(set(SIGNATURES) - {"bench"}):
        if name in WORKSHOP and find_spec("torch") is None:
            continue
        text = inspect.getdoc(getattr(te, name)) or ""
        assert len(text) > 40, name
        assert ">>>" in text or name in {"Progress", "open_checkpoint", "Word"}, name


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'predcit'"):
        _ = te.predcit
    with pytest.raises(ImportError):
        from taemi_edge import predcit  # noqa: F401


def test_importing_the_package_imports_nothing_that_computes():
    script = "import taemi_edge, sys; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"numpy", "cv2", "av", "onnxruntime", "torch", "onnx", "msgspec", "typer"}


def test_the_bench_is_a_function_and_a_package(tiny_folder):
    import taemi_edge.bench.compare  # puts the package in the place of the function

    assert callable(te.bench)
    assert plain_signature(te.bench) == SIGNATURES["bench"]
    with pytest.raises(te.errors.UsageError, match="--runs 1: expected at least"):
        te.bench(tiny_folder, taemi_edge.bench.compare.BenchOptions(runs=1))
