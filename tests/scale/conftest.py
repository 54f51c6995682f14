"""Clusters of tests ask for no token, so that they do not depend on what a user's home holds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

os.environ.setdefault("RAY_AUTH_MODE", "disabled")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """A cluster of two nodes with one processor each."""
    from tests.scale.clusters import two_nodes

    with two_nodes() as made:
        yield made
