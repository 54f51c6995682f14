"""The vocabulary of a model that learns it: the words of its training clips."""

from __future__ import annotations

from pathlib import Path

from taemi_edge.corpora.opening import open_folder
from taemi_edge.corpora.staging import at_hand
from taemi_edge.errors import CheckpointError, UsageError
from taemi_edge.taemi.checkpoint import Checkpoint, embedding_rows
from taemi_edge.taemi.vidmimic2 import is_corpus, open_corpus
from taemi_edge.taemi.vocabulary import WORDS, word_tokenizer_json


def learn_words(checkpoint: Checkpoint, data: Path | str) -> None:
    """Give a model whose recipe asks for it a vocabulary of the words of the training clips; others stay as they are.

    Raises:
        UsageError: the data are features, which were made with another vocabulary.
        CheckpointError: the text encoder does not say for how many words it has room.
    """
    recipe = checkpoint.recipe.text
    if recipe.tokenizer != WORDS:
        return
    folder = open_folder(data)
    if not is_corpus(folder):
        raise UsageError(f"--data {folder.where}: tokenizer = 'words' is learned from clips: give a corpus")
    if (rows := embedding_rows(checkpoint.model.text.backbone)) is None:
        raise CheckpointError(
            f"text: expected an encoder with a table of embeddings for tokenizer = 'words', got "
            f"{recipe.encoder.architecture}: choose another encoder, or tokenizer = 'bytes'"
        )
    texts: list[str] = []
    for clip in open_corpus(folder).clips:
        if clip.split == "train":
            with at_hand(clip) as here:
                texts.append(" ".join(word.text for word in here.words(1.0)))
    checkpoint.tokenizer_json = word_tokenizer_json(texts, rows)
