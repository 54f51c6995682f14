"""Every output of a configuration is opened, and only those."""

from __future__ import annotations

from taemi_edge.live.outputs import opening


def test_the_page_is_the_last_to_be_given_a_hop():
    assert opening.OPENERS[-1] is opening.open_page
    assert len(set(opening.OPENERS)) == len(opening.OPENERS)


def test_every_output_module_is_in_the_list(pytestconfig):
    package = pytestconfig.rootpath / "taemi_edge"
    files = [file for file in (package / "live" / "outputs").rglob("*.py") if "\ndef open_" in file.read_text()]
    with_openers = {".".join(file.relative_to(package.parent).with_suffix("").parts) for file in files}
    assert with_openers == {opener.__module__ for opener in opening.OPENERS}
