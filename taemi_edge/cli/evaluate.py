"""The command `evaluate`, which judges a checkpoint or a bundle on labelled clips."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from taemi_edge.cli.drive_options import drive_options
from taemi_edge.cli.named_bundles import chosen_artefact
from taemi_edge.cli.options import (
    DeviceOption,
    JsonOption,
    RayOption,
    ThreadsOption,
    WorkersOption,
    chosen_workers,
    device_name,
    named_metric,
    save_json,
)
from taemi_edge.cli.progress import shown_progress
from taemi_edge.cli.run_options import ClockOption, MapOption
from taemi_edge.cli.training_tables import print_evaluations
from taemi_edge.errors import CheckFailedError

if TYPE_CHECKING:
    from taemi_edge.corpora.evaluation import Evaluation

_DataOption = Annotated[
    str,
    typer.Option(
        "--data",
        metavar="DIR|URI",
        help="A corpus, a table or .npz files of samples, or a feature store; also s3://, gs:// or file:///.",
    ),
]
_SplitOption = Annotated[
    Literal["train", "valid", "test", "all"] | None,
    typer.Option("--split", help="Which clips to judge  [default: test, else valid]"),
]
_PlotOption = Annotated[
    Path | None, typer.Option("--plot", metavar="F.png", help="Draw the metric by presence pattern and by output.")
]
_ZeroTokensOption = Annotated[
    bool, typer.Option("--zero-tokens", help="Also judge with zeros where a learned token belongs.")
]
_AtLeastOption = Annotated[
    float | None, typer.Option("--at-least", metavar="R", help="Exit 1 if the metric on clean data is worse.")
]
_MetricOption = Annotated[
    str | None,
    typer.Option(
        "--metric", metavar="NAME|FILE.py:FUNCTION", help="Judge by another metric  [default: the model's own]"
    ),
]
_StoreOption = Annotated[
    str | None,
    typer.Option("--store", metavar="DIR|URI", help="Keep the features of the corpus there for the next time."),
]


def evaluate(
    model: Annotated[str, typer.Argument(metavar="CHECKPOINT|BUNDLE", help="The checkpoint or bundle to judge.")],
    data: _DataOption,
    split: _SplitOption = None,
    json_file: JsonOption = None,
    plot: _PlotOption = None,
    zero_tokens: _ZeroTokensOption = False,
    at_least: _AtLeastOption = None,
    metric: _MetricOption = None,
    store: _StoreOption = None,
    topics: MapOption = None,
    clock: ClockOption = "auto",
    device: DeviceOption = None,
    threads: ThreadsOption = 1,
    workers: WorkersOption = 0,
    ray: RayOption = None,
) -> None:
    """Judge a checkpoint or a bundle on labelled clips: as they are, clean, and in every presence pattern."""
    from taemi_edge.corpora.evaluate import EvaluateOptions, evaluate_on
    from taemi_edge.corpora.evaluation import evaluation_json

    if plot is not None:
        from taemi_edge.corpora.plot import plot_evaluation
        from taemi_edge.pictures import check_plot_file

        check_plot_file(plot)
    with shown_progress() as progress:
        evaluations = evaluate_on(
            chosen_artefact(model, recipes=True),
            data,
            split,
            EvaluateOptions(
                tokens=("learned", "zeros") if zero_tokens else ("learned",),
                store_folder=store,
                device=device_name(device),
                threads=threads,
                workers=chosen_workers(workers, ray, device_name(device)),
                metric=named_metric(metric),
                drives=drive_options(topics, clock),
            ),
            progress=progress,
        )
    print_evaluations(evaluations)
    save_json(json_file, evaluation_json(evaluations[0]))
    if plot is not None:
        plot_evaluation(evaluations, plot)
    if at_least is not None:
        _require(evaluations[0], at_least)


def _require(evaluation: Evaluation, at_least: float) -> None:
    """Fail where the metric on clean data is worse than `--at-least`."""
    found, higher = evaluation.value, evaluation.higher_is_better
    if found is None or (found < at_least if higher else found > at_least):
        got = "an undefined one" if found is None else f"{found:.3f}"
        metric = "mean Pearson" if evaluation.metric == "pearson" else evaluation.metric
        bound = f"at {'least' if higher else 'most'} {at_least:g}"
        raise CheckFailedError(f"expected a clean {metric} of {bound}, got {got}")
