"""Evaluation: the same through PyTorch and a bundle, each loss on its own, undefined figures said to be so."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from taemi_edge.bundle.folder import open_bundle
from taemi_edge.bundle.streams import pattern_name
from taemi_edge.corpora.evaluate import (
    EvaluateOptions,
    _predict_split,
    evaluate_artefact,
    evaluate_on,
    predict_clip,
)
from taemi_edge.corpora.feature_store import FeatureStore, open_store
from taemi_edge.corpora.store_index import StoreIndex
from taemi_edge.corpora.store_place import LocalPlace
from taemi_edge.corpora.store_shards import ShardMember, ShardPlan, assemble_shard, write_pending
from taemi_edge.errors import InputError, StoreError
from taemi_edge.parity.artefact import EncoderKey, open_artefact
from taemi_edge.progress import SILENT
from taemi_edge.taemi.names import MODALITIES


def test_every_set_of_streams_is_judged_over_the_whole_split(tiny_folder, store_folder):
    found = evaluate_on(str(tiny_folder), store_folder, "all")[0]
    patterns = open_bundle(tiny_folder).manifest.patterns
    assert list(found.patterns) == [pattern_name(p, MODALITIES) for p in patterns[1:]]
    assert len(found.patterns) == 7
    assert found.natural.clips == 14
    assert found.clean.clips == sum(all(entry.steps.values()) for _, entry in open_store(store_folder).clips()) < 14
    assert found.value == found.clean.value
    assert found.synthetic


def test_no_signal_is_undefined_and_said_to_be(tiny_folder, store_folder):
    found = evaluate_on(str(tiny_folder), store_folder, "all")[0]
    assert found.patterns["none"].value is None
    assert "no signal: Pearson is undefined, every prediction is the same" in found.remarks


def test_a_lost_stream_is_the_token_and_zeros_can_stand_in_for_it(tiny_folder, store_folder):
    with open_artefact(str(tiny_folder)) as artefact:
        [(_, features)] = open_store(store_folder).features(["00001"])
        left = frozenset({"audio", "text"})
        without = predict_clip(artefact, features, left, artefact.tokens)
        emptied = {**features, "vision": features["vision"][:0]}
        lacking = predict_clip(artefact, emptied, frozenset(MODALITIES), artefact.tokens)
        assert np.array_equal(without["intensities"], lacking["intensities"])
        zeros = {m: np.zeros_like(t) for m, t in artefact.tokens.items()}
        assert not np.array_equal(without["intensities"], predict_clip(artefact, features, left, zeros)["intensities"])


def test_a_bundle_on_a_corpus_runs_its_own_encoders(tiny_folder, corpus_folder, store_folder, tmp_path):
    kept = evaluate_on(
        str(tiny_folder), corpus_folder, options=EvaluateOptions(store_folder=tmp_path / "kept", workers=1)
    )[0]
    thrown_away = evaluate_on(str(tiny_folder), corpus_folder, options=EvaluateOptions(workers=1))[0]
    stored = evaluate_on(str(tiny_folder), store_folder)[0]
    assert kept.natural == thrown_away.natural == stored.natural
    assert stored.split == "test"
    assert (tmp_path / "kept" / "index.json").is_file()


def test_pytorch_and_its_bundle_agree_on_labels(tiny_folder, store_folder):
    pytest.importorskip("torch", reason="a checkpoint runs in PyTorch")
    ours, theirs = (evaluate_on(source, store_folder, "all")[0] for source in (str(tiny_folder), "taemi-tiny"))
    assert ours.value == pytest.approx(theirs.value, abs=1e-4)
    mse = [found.natural.outputs["intensities"].mse for found in (ours, theirs)]
    assert mse[0] == pytest.approx(mse[1], abs=1e-6)


def test_the_command_line_prints_writes_and_holds_a_bar(tiny_folder, store_folder, cli, tmp_path):
    words = ("evaluate", tiny_folder, "--data", store_folder, "--split", "all", "--zero-tokens")
    done = cli(*words, "--json", tmp_path / "e.json", "--plot", tmp_path / "e.png", "--at-least", "-1")
    assert done.returncode == 0, done.stderr
    assert "zeros tokens" in done.stdout
    assert "synthetic" in done.stdout
    content = json.loads((tmp_path / "e.json").read_text())
    assert next(iter(content)) == "mean_pearson"
    assert list(content["clean"]) == ["mean_pearson", "interval", "pearson", "mse", "slope", "clips"]
    assert "metric" not in content
    assert (tmp_path / "e.png").stat().st_size > 10_000
    assert cli(*words, "--at-least", "0.99").returncode == 1


def test_a_store_of_another_encoder_a_wrong_split_and_nothing_at_all_are_refused(tiny_folder, store_folder, tmp_path):
    copy = tmp_path / "store"
    shutil.copytree(store_folder, copy)
    text = open_store(copy).index.encoders["text"].sha256
    (copy / "index.json").write_text((copy / "index.json").read_text().replace(text, "1" * 64))
    with open_artefact(str(tiny_folder)) as artefact, pytest.raises(StoreError, match="text features of another"):
        evaluate_artefact(artefact, open_store(copy))
    with pytest.raises(StoreError, match="expected clips in the split 'dev', found test, train, valid"):
        evaluate_on(str(tiny_folder), store_folder, "dev")
    with pytest.raises(InputError, match="expected a feature store"):
        evaluate_on(str(tiny_folder), tmp_path)


@pytest.mark.once
def test_memory_does_not_grow_with_the_clips(tiny_folder, tmp_path):
    """Sixty clips, and six hundred: what is kept of a clip are its labels and predictions."""
    peaks = {}
    with open_artefact(str(tiny_folder)) as opened:
        artefact = replace(opened, run=lambda part, feeds: {"intensities": np.full((1, 6), len(part) + len(feeds))})
        keys = artefact.encoder_keys()
        for count in (60, 600):
            place = LocalPlace(tmp_path / str(count))
            index = many_clips(place, keys, count)
            tracemalloc.start()
            data, _ = _predict_split(artefact, FeatureStore(place, index), "test", artefact.tokens, SILENT)
            peaks[count] = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert len(data.whole) == count
            kept = sum(rows.nbytes for found in data.by_pattern.values() for rows in found.values())
    of_a_clip = 120 * 16 * 2 * len(keys)  # bytes of features
    assert peaks[600] - peaks[60] < 4 * kept + 540 * of_a_clip / 10
    assert 540 * of_a_clip > 5_000_000


def many_clips(place: LocalPlace, keys: dict[str, EncoderKey], count: int) -> StoreIndex:
    """A store of noise, in shards of thirty clips."""
    index = StoreIndex(
        schema=2, corpus="noise", synthetic=True, labels_sha256="", encoders=keys, reading={}, complete=True,
        shards=(), problems={},
    )  # fmt: skip
    rows = []
    for number in range(count // 30):
        members = tuple(ShardMember(f"{number} {n}", "test", (0.5,) * 6) for n in range(30))
        for member in members:
            write_pending(place, member.id, {m: np.ones((120, keys[m].feature_dim)) for m in keys}, ())
        rows.append(assemble_shard(ShardPlan(place, number, members, index)))
    return msgspec.structs.replace(index, shards=tuple(rows))
