"""Every output of a configuration is opened, and only those."""

from __future__ import annotations

from taemi_edge.live.outputs import opening


def test_the_page_is_the_last_to_be_given_a_hop():
    assert opening.OPENERS[-1] is opening.open_page
    assert len(set(opening.OPENERS)) == len(opening.OPENERS)


def test_every_output_module_is_in_the_list(pytestconfig):
    folder = pytestconfig.rootpath / "taemi_edge" / "live" / "outputs"
    with_openers = {file.stem for file in folder.glob("*.py") if "\ndef open_" in file.read_text()}
    listed = {opener.__module__.rpartition(".")[2] for opener in opening.OPENERS}
    assert with_openers == listed
