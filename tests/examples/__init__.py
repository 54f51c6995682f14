"""Examples under test."""

import pytest

pytest.register_assert_rewrite("tests.examples.whole_way")
