"""How the toolkit opens what is TAEMI's: checkpoints, recipes and its data set. `taemi_edge/__init__.py` names this.

Nothing heavy is imported before a source is known to be TAEMI's: a device has no PyTorch, and asks too.
"""

from __future__ import annotations

from pathlib import Path

from taemi_edge.bundle.recipe import list_recipes
from taemi_edge.corpora.corpus_folder import CorpusFolder
from taemi_edge.corpora.labelled_clips import Corpus
from taemi_edge.errors import MissingExtraError
from taemi_edge.parity.artefact import Artefact
from taemi_edge.taemi.vidmimic2 import is_corpus, open_corpus


def open_model(source: str) -> Artefact | None:
    """Open a checkpoint folder or a recipe (its name or TOML file); None where `source` is neither.

    Raises:
        CheckpointError: the checkpoint is damaged.
        RecipeError: the recipe is wrong.
        MissingExtraError: PyTorch is not installed.
    """
    path = Path(source)
    is_file = (path / "recipe.json").is_file() or (path.suffix == ".toml" and path.is_file())
    if not is_file and (path.exists() or source not in list_recipes("export")):
        return None
    try:
        from taemi_edge.taemi.checkpoint import open_checkpoint
        from taemi_edge.taemi.reference import checkpoint_artefact
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), "export", f"opening the checkpoint {source}") from error
    return checkpoint_artefact(open_checkpoint(source), source)


def open_clips(folder: CorpusFolder, transcripts: Path | None = None, needs_labels: bool = True) -> Corpus | None:
    """Open a corpus in the layout of Hume-Vidmimic2; None where the folder holds none.

    Args:
        folder, transcripts, needs_labels: see `taemi_edge.taemi.vidmimic2.open_corpus`.

    Raises:
        CorpusError: a label file is wrong.
    """
    has_clips = not needs_labels and any(folder.has_folder(name) for name in ("raw", "audio", "face_images"))
    return open_corpus(folder, transcripts, needs_labels) if is_corpus(folder) or has_clips else None
