"""Training runs: from a recipe and labelled clips to a checkpoint, with metrics, a curve and a state to resume from.

runs/NAME/
  metrics.jsonl       one EpochMetrics on each line
  curve.png           loss and mean Pearson over the epochs, where matplotlib is installed
  state.safetensors   weights, optimiser and counters: what --resume starts from
  store/              features, where the data was a corpus
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import msgspec

from taemi_edge.bundle.atomic import new_file
from taemi_edge.bundle.recipe import recipe_hash
from taemi_edge.bundle.signals import request_on_signals
from taemi_edge.bundle.workers import WorkerPool
from taemi_edge.corpora.extract import ExtractOptions, extract_features
from taemi_edge.corpora.feature_store import FeatureStore, is_store, open_store, read_index, require_encoders
from taemi_edge.corpora.opening import open_folder
from taemi_edge.corpora.remote_address import parse_place
from taemi_edge.corpora.store_index import INDEX
from taemi_edge.errors import InputError, InterruptedRunError, MissingExtraError, StoreError, TrainingError, UsageError
from taemi_edge.media.tokens import WordTokenizer
from taemi_edge.progress import SILENT, Progress, RenamedCounts
from taemi_edge.taemi.checkpoint import END_TO_END_FROM, Checkpoint, CheckpointState, new_checkpoint, save_checkpoint
from taemi_edge.taemi.recipe import ModelRecipe
from taemi_edge.taemi.reference import checkpoint_artefact, stream_specs_of
from taemi_edge.taemi.train.clip_examples import open_examples
from taemi_edge.taemi.train.events import event_writer
from taemi_edge.taemi.train.feature_examples import Examples, feature_set
from taemi_edge.taemi.train.trainer import SAVE_EVERY_S, EpochMetrics, Trainer, set_statistics
from taemi_edge.taemi.train.words import learn_words
from taemi_edge.taemi.vidmimic2 import is_corpus, open_corpus

METRICS, CURVE, STATE = "metrics.jsonl", "curve.png", "state.safetensors"
#: Drawing takes longer than an epoch of a small run, and so may bringing a file to the disk.
DRAW_EVERY_S, WRITE_EVERY_S = 5.0, 1.0

#: Where a run keeps the features of a corpus, in its folder.
STORE = "store"


@dataclass(frozen=True)
class TrainOptions:
    """What a training run reads, and where it writes.

    Attributes:
        data: a feature store, or a corpus (from which a store is made in `run` where the encoders are frozen).
        output: the checkpoint to write.
        run: the folder for metrics, curve and state.
        resume: continue from the state in `run`.
        provided: allow a store of features that came with the data set: nobody knows how they were made.
        workers: processes for the extraction of features; 0 for as many as there are cores.
        tensorboard: also write events to this folder (needs the `tensorboard` extra).
        encoder_seed: of encoders that have no weights to start from; the recipe's by default. A store knows its
            encoders, so heads of several seeds are trained on one store with the seed that its encoders have.
    """

    data: Path | str
    output: Path
    run: Path
    resume: bool = False
    provided: bool = False
    workers: int | WorkerPool = 0
    tensorboard: Path | None = None
    encoder_seed: int | None = None


@dataclass(frozen=True)
class TrainResult:
    """What a finished training run reports.

    Attributes:
        history: the metrics of every epoch.
        best_epoch: the epoch whose weights are in the checkpoint, from 1.
        untrained_tokens: the modalities whose token never received a gradient.
        trained_on: the clips in words.
        problems: why clips were left out, by id.
        seconds: how long the run took.
        checkpoint: the trained model.
    """

    history: tuple[EpochMetrics, ...]
    best_epoch: int
    untrained_tokens: tuple[str, ...]
    trained_on: str
    problems: dict[str, str]
    seconds: float
    checkpoint: Checkpoint


@dataclass(frozen=True)
class TrainingData:
    """The clips of a run as examples, described in words, with a hash that recognises them.

    Those of the test split are there only where somebody asks for them: training never reads them.
    """

    train: Examples
    valid: Examples | None
    test: Examples | None
    described: str
    sha256: str
    problems: dict[str, str]


def train_recipe(
    recipe: ModelRecipe,
    options: TrainOptions,
    *,
    progress: Progress = SILENT,
    on_epoch: Callable[[EpochMetrics], None] = lambda _: None,
    data_for: Callable[[Checkpoint], TrainingData] | None = None,
    goes_on: Callable[[], bool] = lambda: True,
) -> TrainResult:
    """Train the model of a recipe.

    Args:
        recipe: the model, and how it is trained.
        options: what is read, and where results are written.
        progress: receives every stage, and how many steps and clips are done.
        on_epoch: is called with the metrics of every epoch.
        data_for: gives the clips for the untrained model, where they are opened already; else `options.data` is opened.
        goes_on: is asked after every step; where it says no, the run stops as Ctrl-C stops it.

    Raises:
        UsageError: the output exists already; there is nothing to resume, or a state of another run.
        StoreError: the store holds features of another encoder or chunking.
        TrainingError: the loss is not a finite number; the best checkpoint so far is written first.
        InterruptedRunError: Ctrl-C; the state of the last step is written first.
    """
    _check_places(options)
    started = time.perf_counter()
    progress.stage(f"loading {recipe.name}")
    checkpoint = untrained_checkpoint(recipe, options.encoder_seed)
    learn_words(checkpoint, options.data)
    data = data_for(checkpoint) if data_for else open_training_data(checkpoint, options, progress)
    trainer = _new_trainer(checkpoint, data)
    if options.resume:
        trainer.load(options.run / STATE)
    else:
        progress.stage("standardising features")
        set_statistics(checkpoint.model, data.train)
    progress.stage(f"training on {data.described}")
    try:
        _run(trainer, options, progress, on_epoch, goes_on)
    except TrainingError:
        if trainer.best_epoch:
            _save(checkpoint, trainer, data.described, options.output)
        raise
    trainer.keep_best()
    _save(checkpoint, trainer, data.described, options.output)
    return _result_of(trainer, data, checkpoint, time.perf_counter() - started)


def _result_of(trainer: Trainer, data: TrainingData, checkpoint: Checkpoint, seconds: float) -> TrainResult:
    return TrainResult(
        history=tuple(trainer.history),
        best_epoch=trainer.best_epoch,
        untrained_tokens=trainer.untrained_tokens,
        trained_on=data.described,
        problems=data.problems,
        seconds=seconds,
        checkpoint=checkpoint,
    )


def untrained_checkpoint(recipe: ModelRecipe, encoder_seed: int | None = None) -> Checkpoint:
    """The model of a recipe with its pretrained encoders and a new head, even where the recipe names a trained one."""
    plain = msgspec.structs.replace(recipe, fusion=msgspec.structs.replace(recipe.fusion, weights=""))
    return new_checkpoint(plain, encoder_seed=encoder_seed)


def _new_trainer(checkpoint: Checkpoint, data: TrainingData) -> Trainer:
    """A trainer of the whole model end to end, or of the fusion head and the tokens while the encoders are frozen."""
    model, recipe = checkpoint.model, checkpoint.recipe
    for parameter in (p for part in (model.vision, model.audio, model.text) for p in part.parameters()):
        parameter.requires_grad_(recipe.training.encoders == "end-to-end")
    identity = f"recipe {recipe_hash(recipe)[:12]}, data {data.sha256[:12]}, seed {recipe.seed}"
    return Trainer(
        model, data.train, data.valid, recipe.training, recipe.fusion.modality_dropout, recipe.seed, identity
    )


def _run(
    trainer: Trainer,
    options: TrainOptions,
    progress: Progress,
    on_epoch: Callable[[EpochMetrics], None],
    goes_on: Callable[[], bool],
) -> None:
    """Train to the end. Whatever stops the run, the state of the last whole step is on disk."""
    saved_s, drawn_s, written_s = time.monotonic(), -DRAW_EVERY_S, -WRITE_EVERY_S
    with request_on_signals() as stopped, event_writer(options.tensorboard) as write_events:

        def after_step(running: Trainer) -> bool:
            nonlocal saved_s
            progress.count(running.step, running.steps, "training")
            if time.monotonic() - saved_s > SAVE_EVERY_S:
                running.save(options.run / STATE)
                saved_s = time.monotonic()
            return goes_on() and not stopped.is_set()

        def after_epoch(metrics: EpochMetrics) -> None:
            nonlocal drawn_s, written_s
            if time.monotonic() - written_s > WRITE_EVERY_S:
                _write_metrics(trainer.history, options.run)
                written_s = time.monotonic()
            if time.monotonic() - drawn_s > DRAW_EVERY_S:
                _draw_curve(trainer.history, options.run)
                drawn_s = time.monotonic()
            write_events(metrics)
            on_epoch(metrics)

        try:
            finished = trainer.run(after_step, after_epoch)
        finally:
            _write_metrics(trainer.history, options.run)
    trainer.save(options.run / STATE)
    _draw_curve(trainer.history, options.run)
    if not finished:
        error = InterruptedRunError(
            f"stopped after step {trainer.step} of {trainer.steps}; {options.run / STATE} holds it: go on with --resume"
        )
        error.exit_code = 128 + stopped.number
        raise error


def _save(checkpoint: Checkpoint, trainer: Trainer, described: str, output: Path) -> None:
    weights = checkpoint.state.weights
    if checkpoint.recipe.training.encoders == "end-to-end":
        weights = {part: f"{END_TO_END_FROM}{before}" for part, before in weights.items()}
    state = CheckpointState(
        trained=True,
        weights=weights,
        trained_on=described,
        untrained_tokens=trainer.untrained_tokens,
    )
    save_checkpoint(Checkpoint(checkpoint.model, checkpoint.tokenizer_json, state), output)


def _check_places(options: TrainOptions) -> None:
    where = parse_place(options.data)
    if isinstance(where, Path) and not where.exists():
        raise InputError(f"--data {where}: expected a corpus or a feature store, found nothing there")
    if options.output.exists() and not options.resume:
        raise UsageError(
            f"{options.output} exists and might hold a trained checkpoint: name a new folder with --output"
        )
    if options.resume and not (options.run / STATE).is_file():
        raise UsageError(f"--resume: expected the state of a stopped run in {options.run / STATE}, found none")
    if not options.resume and (options.run / STATE).is_file():
        raise UsageError(
            f"{options.run} holds the state of an earlier run: go on with --resume, or name another folder with --run"
        )


def open_training_data(
    checkpoint: Checkpoint, options: TrainOptions, progress: Progress = SILENT, with_test: bool = False
) -> TrainingData:
    """Open what a model is trained on: features, or clips where its encoders are trained too.

    Args:
        checkpoint: the untrained model.
        options: name the data; of a corpus, features are extracted to `options.run` first.
        progress: receives every stage, and how many clips are done.
        with_test: also open the test split, where there is one.

    Raises:
        InputError: there is no data, or it has no clips to train on.
        StoreError: the store holds features of another encoder or chunking.
    """
    if checkpoint.recipe.training.encoders == "end-to-end":
        return _clip_data(checkpoint, options, progress, ("train", "valid", *(("test",) if with_test else ())))
    if is_store(options.data):
        store = open_store(options.data)
    elif is_corpus(open_folder(options.data)):
        store = extracted_store(checkpoint, options, progress)
    else:
        raise InputError(
            f"--data {parse_place(options.data)}: expected a feature store (index.json) or a corpus "
            f"(train_split.csv), found neither"
        )
    require_own_features(checkpoint, store, options)
    train = feature_set(store, "train")
    valid = feature_set(store, "valid") if store.count("valid") else None
    test = feature_set(store, "test") if with_test and store.count("test") else None
    described = f"{len(train)} clips of {store.name}"
    if provided := [m for m, key in store.index.encoders.items() if key.sha256.startswith("provided:")]:
        described += f", {' and '.join(provided)} as provided features"
    return TrainingData(
        train, valid, test, described, sha256(store.place.read(INDEX)).hexdigest(), store.index.problems
    )


def require_own_features(checkpoint: Checkpoint, store: FeatureStore, options: TrainOptions) -> None:
    """Refuse a store whose features are not those of the model's encoders.

    Raises:
        StoreError: they are of another encoder or chunking, or came with the data set and nobody said that they fit.
    """
    keys = checkpoint_artefact(checkpoint, checkpoint.recipe.name).encoder_keys()
    provided = {m: key for m, key in store.index.encoders.items() if key.sha256.startswith("provided:")}
    if provided and not options.provided:
        raise StoreError(
            f"{store.place} holds provided {' and '.join(provided)} features, not those of {checkpoint.recipe.name}'s "
            f"encoders: a head trained on them suits a device only if both are the same; pass --provided if they are"
        )
    for m, key in provided.items():
        if key.feature_dim != keys[m].feature_dim:
            raise StoreError(
                f"{store.place}: expected {m} features of {keys[m].feature_dim} dimensions, got {key.feature_dim}"
            )
    require_encoders(store.index, {**keys, **provided}, str(store.place), checkpoint.recipe.name)


def extracted_store(
    checkpoint: Checkpoint,
    options: TrainOptions,
    progress: Progress,
) -> FeatureStore:
    """A store of a corpus in the run's folder; its workers open the encoders from a checkpoint written beside it."""
    if is_store(options.run / STORE) and read_index(options.run / STORE).complete:
        return open_store(options.run / STORE)
    folder = options.run / "untrained"
    progress.stage("extracting features")
    save_checkpoint(checkpoint, folder)
    result = extract_features(
        open_corpus(open_folder(options.data)),
        str(folder),
        options.run / STORE,
        ExtractOptions(workers=options.workers),
        progress=RenamedCounts(progress, "extracting features"),
    )
    shutil.rmtree(folder)
    return result.store


def _clip_data(
    checkpoint: Checkpoint,
    options: TrainOptions,
    progress: Progress,
    splits: Sequence[str],
) -> TrainingData:
    """The clips for end-to-end training. Each is read once beforehand: a broken one is left out and reported."""
    folder = open_folder(options.data)
    if not is_corpus(folder):
        raise UsageError(f"--data {folder.where}: end-to-end training reads clips: give a corpus, not a feature store")
    corpus = open_corpus(folder)
    specs = stream_specs_of(checkpoint)
    tokenizer = WordTokenizer(checkpoint.tokenizer_json, specs.text.max_tokens)
    progress.stage("reading clips")
    wanted = [clip for clip in corpus.clips if clip.split in splits]
    examples, problems = open_examples(wanted, specs.vision, specs.audio, tokenizer, options.workers, progress)
    if "train" not in examples:
        raise InputError(f"{folder.where}: expected clips in the split 'train', found none that can be read")
    valid, test = examples.get("valid"), examples.get("test")
    described = f"{len(examples['train'].labels)} clips of {corpus.name}, end to end"
    digest = sha256(corpus.labels_sha256.encode()).hexdigest()
    return TrainingData(examples["train"], valid, test, described, digest, problems)


def _write_metrics(history: list[EpochMetrics], run: Path) -> None:
    with new_file(run / METRICS) as draft:
        draft.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in history))


def _draw_curve(history: list[EpochMetrics], run: Path) -> None:
    """Draw the curve so far. Without matplotlib nothing is drawn; metrics.jsonl has every figure."""
    if not history:
        return
    try:
        from taemi_edge.taemi.train.plot import plot_training

        plot_training(history, run / CURVE)
    except MissingExtraError:
        return
