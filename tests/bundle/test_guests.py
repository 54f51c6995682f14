"""Guests are asked in their order, and only when a source is met."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from taemi_edge.bundle import guests


def test_the_first_guest_that_knows_a_source_opens_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(guests, "_GUESTS", {"model": [], "corpus": []})
    module = ModuleType("somebodys_model")
    asked = []
    module.shy = lambda source: asked.append(source)
    module.bold = lambda source, **options: (source, options)
    guests.register_guest("model", "somebodys_model:shy")
    guests.register_guest("model", "somebodys_model:bold")
    guests.register_guest("model", "somebodys_model:shy")
    monkeypatch.setitem(sys.modules, "somebodys_model", module)  # it is imported only now
    assert guests.ask_guests("model", "mine") == ("mine", {})
    assert asked == ["mine"]
    assert guests.ask_guests("corpus", "mine") is None


def test_the_package_knows_its_own_guest():
    import taemi_edge  # noqa: F401

    assert "taemi_edge.taemi.opening:open_model" in guests._GUESTS["model"]
    assert "taemi_edge.taemi.opening:open_clips" in guests._GUESTS["corpus"]
