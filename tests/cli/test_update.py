"""What the command `update` refuses before it does anything."""

from __future__ import annotations

import pytest

from taemi_edge.cli.update import update
from taemi_edge.errors import UsageError


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({}, "expected either --from SOURCE or --rollback"),
        ({"source": "x", "rollback": True}, "expected either --from SOURCE or --rollback"),
        ({"source": "x"}, "expected either --key K.pub, or --unsigned .*, got none of them"),
        ({"source": "x", "unsigned": True, "trusted": True}, "got --unsigned, and this device requires signatures by"),
        ({"source": "x", "key": True}, "--key .*none.pub: expected a file, found none there"),
        ({"source": "x", "unsigned": True, "watch_s": 0.0}, "--watch-s 0: expected seconds above 0"),
    ],
)
def test_wrong_use_is_one_sentence(given: dict, why: str, tmp_path, monkeypatch):
    monkeypatch.delenv("TAEMI_EDGE_TRUSTED_KEY", raising=False)
    words = {name: value for name, value in given.items() if name != "trusted"}
    if "trusted" in given:
        monkeypatch.setenv("TAEMI_EDGE_TRUSTED_KEY", str(tmp_path / "trusted.pub"))
    if "key" in given:
        words["key"] = tmp_path / "none.pub"
    with pytest.raises(UsageError, match=why) as error:
        update(tmp_path / "root", **words)
    assert error.value.exit_code == 2
    assert not (tmp_path / "root").exists()
