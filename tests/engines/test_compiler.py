"""A real TensorRT compiler, without a GPU: every graph that the recipes export, cast or quantise is compiled.

TensorRT-RTX builds ahead of time for SM 8.6 (Ampere), the nearest that it knows to Orin's 8.7, and FP8 for 8.9, with
the profiles and the workspace of the Orin target. Whether the engines compute the right thing is for tests/gpu to tell.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import msgspec
import pytest

pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX has wheels for x86-64 (extra `rtx`)")
pytest.importorskip("onnx", reason="graphs are quantised with onnx")


from taemi_edge.bundle.folder import Bundle, open_bundle, read_manifest
from taemi_edge.bundle.precisions import FLAVOURS, FLAVOURS_OF, FURTHER, HOST_FLAVOURS, PRECISIONS
from taemi_edge.bundle.recipe import load_recipe
from taemi_edge.calibration.graph_sessions import runner_of_all_tensors
from taemi_edge.calibration.graphs.bf16 import convert_to_bf16
from taemi_edge.calibration.graphs.fp16 import convert_to_fp16, find_islands
from taemi_edge.calibration.graphs.graph import Graph, groups_of
from taemi_edge.calibration.graphs.qdq import PartPlan, ScaledTensor, quantise, weights_sha256
from taemi_edge.calibration.graphs.ranges import collect_statistics
from taemi_edge.calibration.recipe import CalibrationRecipe
from taemi_edge.engines.build import build_engine
from taemi_edge.engines.compiler import BuildOptions, Compiler
from taemi_edge.engines.profiles import part_profiles
from taemi_edge.engines.recipe import TargetRecipe
from taemi_edge.errors import EngineError, UsageError
from taemi_edge.parity.golden import bind_tokens, load_cases
from taemi_edge.progress import SilentProgress
from taemi_edge.taemi.names import PARTS
from tests.cli.checks import refused

ORIN = load_recipe("engines", "jetson-orin-nano", TargetRecipe)


def orin_options(bundle: Bundle, part: str, **changes: object) -> BuildOptions:
    """The Orin target's profile and workspace, for the nearest GPU that can be built for here."""
    spans = part_profiles(bundle.manifest, ORIN, load_cases(bundle.golden_file))[part]
    options = {"spans": spans, "workspace_mib": ORIN.workspace_mib, "sm": "8.6"}
    return BuildOptions(**{**options, **changes})


@pytest.fixture(scope="session")
def compiler() -> Compiler:
    return Compiler("tensorrt-rtx")


def flavours_of(bundle: Bundle, part: str, scratch: Path) -> dict[str, Path]:
    """A part cast and quantised by what its first golden feed shows: the graphs are real, the ranges rough."""
    recipe = load_recipe("calibration", "default", CalibrationRecipe)
    graph = Graph.load(bundle.part_file(part))
    case = next(case for case in load_cases(bundle.golden_file) if case.part == part)
    feeds = case.feeds if case.pattern is None else bind_tokens(case.feeds, case.pattern, bundle.tokens)
    groups = dict(groups_of(graph.layers()))
    seen = collect_statistics(
        runner_of_all_tensors(graph), [feeds], {source: layers[0].feature_axis for source, layers in groups.items()}, 16
    )
    islands = find_islands(graph, seen.amax, recipe.fp16_keep.get(part, ()), recipe.fp16_margin)
    tensors = tuple(
        ScaledTensor(
            tensor=source,
            nodes=tuple(layer.node for layer in layers),
            amax=seen.amax.get(source, 1.0),
            method="minmax",
            smoothing=tuple([2.0] * seen.watched[source].channel_amax.size) if layers[0].is_linear else (),
        )
        for source, layers in groups.items()
    )
    excluded = recipe.exclude.get(part, {})
    plan = PartPlan(weights_sha256=weights_sha256(graph), tensors=tensors, excluded=excluded, islands=islands)
    quantised = quantise(graph, plan)
    in_fp8 = quantise(graph, msgspec.structs.replace(plan, precision="fp8"))
    made = {
        "fp16": convert_to_fp16(graph, islands),
        "bf16": convert_to_bf16(graph, islands),
        "int8": quantised,
        "int8-fp16": convert_to_fp16(quantised, islands),
        "fp8-fp16": convert_to_fp16(in_fp8, islands),
    }
    assert {"fp32", *made} == set(FLAVOURS) - set(HOST_FLAVOURS)
    files = {"fp32": bundle.part_file(part)}
    for flavour, cast in made.items():
        files[flavour] = scratch / f"{part}.{flavour}.onnx"
        cast.save(files[flavour])
    return files


def compile_all(compiler: Compiler, bundle: Bundle, scratch: Path, further: Collection[str] = PARTS) -> dict[str, int]:
    """The size of every engine by part and flavour; FP8 and BF16 of the parts in `further` alone.

    SM 8.9 (Ada) is the first that has FP8.
    """
    sizes = {}
    for part in bundle.manifest.part_names:
        for flavour, file in flavours_of(bundle, part, scratch).items():
            precision = next(p for p in PRECISIONS if flavour in FLAVOURS_OF[p])
            if precision in FURTHER and part not in further:
                continue
            options = orin_options(bundle, part, **({"sm": "8.9"} if precision == "fp8" else {}))
            sizes[f"{part}.{flavour}"] = len(compiler.compile(file.read_bytes(), precision, options))
            if flavour != "fp32":
                file.unlink()
    return sizes


@pytest.mark.parametrize("recipe", ["tiny", pytest.param("mobile", marks=pytest.mark.nightly)])
def test_every_graph_of_a_recipe_compiles_for_ampere(recipe, compiler, request, tmp_path):
    bundle = open_bundle(request.getfixturevalue(f"{recipe}_folder"))
    further = PARTS if recipe == "mobile" else ("text",)
    sizes = compile_all(compiler, bundle, tmp_path, further)
    left_out = 2 * (len(PARTS) - len(further))
    assert len(sizes) == len(bundle.manifest.part_names) * (len(FLAVOURS) - len(HOST_FLAVOURS)) - left_out
    if recipe == "mobile":  # the precision that was written is the one that was built
        assert sizes["text.bf16"] < 0.6 * sizes["text.fp32"]
        assert sizes["text.fp8-fp16"] < 0.9 * sizes["text.fp16"]  # the embeddings stay
        assert sizes["text.fp16"] < 0.6 * sizes["text.fp32"]
        assert sizes["audio.int8-fp16"] < 0.8 * sizes["audio.fp16"]


@pytest.mark.nightly
@pytest.mark.timeout(1200)
def test_the_base_model_at_full_size_compiles_for_ampere(compiler, tmp_path):
    """ViT-B/16, wav2vec2-base and BERT-base with random weights: shapes and operators are what is compiled."""
    pytest.importorskip("torch", reason="taemi-base is exported with torch")
    from taemi_edge.taemi.checkpoint import open_checkpoint
    from taemi_edge.taemi.exporting import export_checkpoint

    made, _ = export_checkpoint(open_checkpoint("taemi-base", random_weights=True), tmp_path / "b", source="taemi-base")
    sizes = compile_all(compiler, made, tmp_path)
    assert len(sizes) == len(made.manifest.part_names) * (len(FLAVOURS) - len(HOST_FLAVOURS))
    assert sizes["vision.fp16"] < 0.6 * sizes["vision.fp32"]


def test_a_calibrated_bundle_builds_ahead_of_time_and_is_not_verified(cli, calibrated_folder, demo_video, tmp_path):
    words = ("build-engine", calibrated_folder, "--target", "rtx", "--precision", "int8", "--no-cache")
    done = cli(*words, "--output", tmp_path / "o")
    assert done.returncode == 0, done.stderr
    assert "not verified: they were built ahead of time for SM 8.6 and have not run yet" in done.stdout
    manifest = read_manifest(tmp_path / "o")
    assert manifest.verified is False
    assert {part: spec.file for part, spec in manifest.parts.items()} == {
        part: f"{part}.engine" for part in manifest.part_names
    }
    assert manifest.engine.library == "tensorrt-rtx 1.7.1.116"
    refused(cli("run", tmp_path / "o", demo_video), "expected verified engines, but they were built ahead of time")
    refused(cli("run", tmp_path / "o", demo_video, "--unverified"), "a GPU is needed")


def test_auto_builds_fp16_where_it_cannot_time_and_says_so(cli_here, tiny_folder, tmp_path):
    done = cli_here("build-engine", tiny_folder, "--target", "rtx", "--no-cache", "--output", tmp_path / "o")
    assert done.returncode == 0, done.stderr
    assert (
        "note: --target rtx builds without its GPU, so nothing can be timed: every part is built in fp16" in done.stderr
    )
    manifest = read_manifest(tmp_path / "o")
    assert {spec.precision for spec in manifest.parts.values()} == {"fp16"}
    assert manifest.engine.asked == "fp16"


def test_auto_cannot_time_what_it_cannot_run(tiny_folder, tmp_path):
    with pytest.raises(UsageError, match="--precision auto times engines, and --target rtx builds without their GPU"):
        build_engine(tiny_folder, "rtx", "auto", tmp_path / "o", cache=None)


def test_strong_typing_is_asked_for_and_decides_how_int8_is_written(compiler):
    assert compiler.strongly_typed
    assert compiler.version == "1.7.1.116"


def test_progress_comes_from_the_builder_itself(compiler, tiny, tmp_path):
    told: list[tuple[float, float | None, str]] = []

    class Counts(SilentProgress):
        def count(self, done: float, total: float | None, what: str) -> None:
            told.append((done, total, what))

    compiler.compile(tiny.read_part("fusion"), "fp32", orin_options(tiny, "fusion"), Counts())
    assert told
    assert all(done <= total for done, total, _ in told)


def test_a_file_that_is_no_graph_is_told_in_the_parsers_words(compiler, tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"no graph at all")
    with pytest.raises(EngineError, match="tensorrt-rtx .* cannot read it: "):
        compiler.compile((tmp_path / "x.onnx").read_bytes(), "fp32", BuildOptions(sm="8.6"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"spans": {}}, "expected a span .* for the dimension 'batch'"),
        ({"sm": "8.7"}, "expected a compute capability that TensorRT-RTX .* builds for, got SM 8.7"),
        ({"tactic_sources": ("CUBLAS",)}, "expected tactic sources that TensorRT .* has, got 'CUBLAS'"),
    ],
    ids=["no profile", "capability", "tactics"],
)
def test_options_that_this_library_does_not_know(compiler, tiny, changes, words):
    with pytest.raises(UsageError, match=words):
        compiler.compile(tiny.read_part("fusion"), "fp32", orin_options(tiny, "fusion", **changes))


def test_tensorrt_itself_is_asked_for_by_name():
    with pytest.raises(UsageError, match=r"tensorrt cannot be loaded .*--system-site-packages"):
        Compiler("tensorrt")
