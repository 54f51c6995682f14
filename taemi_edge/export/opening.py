"""How the toolkit opens a declared model as an artefact: `file.py:function`, or a TOML file that names ONNX files.

`taemi_edge/__init__.py` names this. Nothing heavy is imported before a source is known to be such a model: a device has
no PyTorch, and asks too.
"""

from __future__ import annotations

from pathlib import Path

from taemi_edge.errors import MissingExtraError
from taemi_edge.parity.artefact import Artefact
from taemi_edge.parity.golden import Case, ModelSpecs


def open_model(source: str) -> Artefact | None:
    """Open a model that is declared in Python or in a TOML file; None where `source` is neither.

    Args:
        source: `file.py:function` or `package.module:function`, whose code is run, or a TOML file.

    Raises:
        ContractError: the declaration is wrong, or the model does not do what it declares.
        MissingExtraError: PyTorch or onnx is not installed.
    """
    is_toml = source.endswith(".toml") and Path(source).is_file()
    if not is_toml and (":" not in source or Path(source).exists()):
        return None
    try:
        from taemi_edge.export.onnx_model import declares_onnx_files
        from taemi_edge.export.user_code import names_a_function

        if declares_onnx_files(Path(source)) if is_toml else names_a_function(source):
            return _opened(source, is_toml)
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), "export", f"opening the model {source}") from error
    return None


def _opened(source: str, is_toml: bool) -> Artefact:
    from taemi_edge.export.export_model import metric_name, model_tolerances
    from taemi_edge.export.inspection import Inspected, inspect_model, parts_of
    from taemi_edge.export.onnx_model import load_onnx_model
    from taemi_edge.export.stand_ins import model_specs, probe_head
    from taemi_edge.export.user_code import load_model
    from taemi_edge.parity.sample_cases import make_cases

    model = load_onnx_model(Path(source)) if is_toml else load_model(source)
    samples = model.read_samples()
    found = inspect_model(model, samples, parts_of(model))

    def cases_of(inspected: Inspected, specs: ModelSpecs) -> list[Case]:
        return make_cases(specs, inspected.tokenizers, inspected.run, inspected.tokens, samples)

    probed = probe_head(model, found, cases_of)
    found = probed.found
    return Artefact(
        name=source,
        is_bundle=False,
        run=found.run,
        specs=model_specs(model, found),
        outputs=found.outputs,
        metric=model.metric if callable(model.metric) else metric_name(model),
        tokens=found.tokens,
        tokenizers=found.tokenizers,
        tolerances=model_tolerances(model, found, probed.cases),
        trained_on=model.trained_on,
        cases=lambda: probed.cases,
        weights_sha256=lambda: {name: found.parts[name].sha256() for name in found.streams},
    )
