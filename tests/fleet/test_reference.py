"""Addresses of bundles in registries."""

from __future__ import annotations

import pytest

from taemi_edge.errors import UsageError
from taemi_edge.fleet.reference import Reference, parse_reference

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("oci://h/n", Reference("h", "n", "latest")),
        ("oci://h:5000/a/b.c/d_e--f:V1.2-x", Reference("h:5000", "a/b.c/d_e--f", "V1.2-x")),
        (f"oci://h/n@{DIGEST}", Reference("h", "n", "", DIGEST)),
        (f"oci://h/n:3@{DIGEST}", Reference("h", "n", "", DIGEST)),
        ("oci://[::1]:5000/n", Reference("[::1]:5000", "n", "latest")),
    ],
)
def test_a_reference_is_read(text, reference):
    assert parse_reference(text) == reference
    assert parse_reference(str(reference)) == reference


@pytest.mark.parametrize(
    "text",
    [
        *("", "h/n", "https://h/n", "oci://", "oci://h", "oci://h/", "oci:///n", "oci://h/N", "oci://h/a//b"),
        *("oci://h/../n", "oci://h/n:", "oci://h/n:a b", "oci://h/n@sha256:0", f"oci://h/n@{DIGEST}0", "oci://h/n?x=1"),
        *(
            "oci://h\n/n",
            "oci://h/n:1\n",
            "oci://h:x/n",
            "oci://h/n:" + "1" * 129,
            "oci://h/" + "n" * 256,
            "oci://h/n#",
        ),
        "oci://h/\u00e4",
    ],
)
def test_what_is_no_reference_is_refused(text):
    with pytest.raises(UsageError, match="expected oci://HOST") as caught:
        parse_reference(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "oci://me:secret@h/n",
        "oci://secret@h/n:1",
        "oci://h/n:1?password=secret",
        "https://me:secret@h/n",
        "me secret h",
    ],
)
def test_a_password_is_never_shown(text):
    with pytest.raises(UsageError) as caught:
        parse_reference(text)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "local"),
    [
        *(
            ("localhost", True),
            ("localhost:5000", True),
            ("127.0.0.1", True),
            ("127.3.2.1:80", True),
            ("[::1]:5", True),
        ),
        *(("localhost.evil.example", False), ("127.0.0.1.evil.example", False), ("10.0.0.1:5000", False)),
    ],
)
def test_which_registries_are_on_this_machine(host, local):
    assert parse_reference(f"oci://{host}/n").is_local == local
