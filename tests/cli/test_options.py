"""Helpers that the commands share: values of options, missing extras and JSON files."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from taemi_edge.cli.options import (
    DeviceChoice,
    command_line,
    device_name,
    extra_needed,
    key_and_value,
    recipe_changes,
    save_json,
    whole_number,
)
from taemi_edge.errors import MissingExtraError, UsageError


@pytest.mark.parametrize("text", ["", "key", "key=", "=value"])
def test_a_change_needs_a_key_and_a_value(text: str):
    with pytest.raises(UsageError, match="expected KEY=VALUE"):
        key_and_value(text, "--set", "KEY=VALUE")


def test_a_value_may_hold_an_equals_sign():
    assert key_and_value("uri=a?b=c", "--set", "KEY=VALUE") == ("uri", "a?b=c")


def test_a_shortcut_wins_over_set_and_is_left_out_where_it_was_not_given():
    assert recipe_changes(["seed=1", "a=b"], {"seed": 2, "epochs": None}) == {"seed": "2", "a": "b"}
    assert recipe_changes(None) == {}


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", ""])
def test_other_numbers_are_refused(text: str):
    with pytest.raises(UsageError, match="--batch: expected a number of at least 1"):
        whole_number(text, "--batch")


def test_no_device_leaves_the_choice_to_the_bundle():
    assert device_name(None) is None
    assert device_name(DeviceChoice.cuda) == "cuda"


def test_the_command_line_can_be_pasted_into_a_shell(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/taemi-edge", "bench", "a folder"])
    assert command_line() == "taemi-edge bench 'a folder'"


def test_a_missing_package_names_the_extra_and_one_of_ours_is_a_bug():
    with pytest.raises(MissingExtraError, match=r"pip install 'taemi-edge\[export\]'"), extra_needed("export", "this"):
        raise ModuleNotFoundError("no torch", name="torch")
    with pytest.raises(ModuleNotFoundError, match="no such"), extra_needed("export", "this"):
        raise ModuleNotFoundError("no such module", name="taemi_edge.nothing")


def test_json_is_written_where_a_file_is_named(tmp_path: Path):
    save_json(None, {"a": 1})
    save_json(tmp_path / "new" / "r.json", {"a": 1})
    assert json.loads((tmp_path / "new" / "r.json").read_text()) == {"a": 1}
