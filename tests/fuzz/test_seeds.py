"""Every kept seed is taken or refused in good order; among them are the inputs that once were not."""

from __future__ import annotations

import random

import pytest

from tests.fuzz.harness import Harness, all_harnesses, judge

HARNESSES = all_harnesses()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("harness", HARNESSES.values(), ids=HARNESSES)
def test_seeds_are_taken_or_refused_in_good_order(harness: Harness):
    if harness.lacking:
        pytest.skip(f"it needs {', '.join(harness.lacking)}")
    for file in harness.seeds:
        finding, _ = judge(harness, file.read_bytes())
        assert finding is None, f"{file}: {finding.what}\n{finding.details}"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("harness", HARNESSES.values(), ids=HARNESSES)
def test_a_seed_is_taken(harness: Harness):
    """A parser that refuses every seed would be fuzzed no further than its first check."""
    if harness.lacking:
        pytest.skip(f"it needs {', '.join(harness.lacking)}")
    assert any(_is_taken(harness, file.read_bytes()) for file in harness.seeds)


def _is_taken(harness: Harness, content: bytes) -> bool:
    try:
        harness.run(content)
    except harness.refusals:
        return False
    return True


@pytest.mark.parametrize("harness", HARNESSES.values(), ids=HARNESSES)
def test_mutators_change_inputs_of_any_kind(harness: Harness):
    if harness.mutate is None:
        pytest.skip("its inputs are changed byte by byte")
    chance = random.Random(7)
    for content in (b"", b"\0", b"\xff" * 9, *(file.read_bytes() for file in harness.seeds)):
        changed = [harness.mutate(content, chance) for _ in range(5)]
        assert content == b"" or any(other != content for other in changed)
