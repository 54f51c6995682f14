"""Colours of curves: as many as there are curves, and apart from each other for everybody."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from taemi_edge.palette import DARK, LEAST_CONTRAST, LIGHT, contrast, distance, seen_in_lab, series_colours
from taemi_edge.pictures import rgb

#: How far the two nearest colours of so many are apart at least, for readers who see all colours (as CIE 1976 counts)
#: and for those without one kind of cones. Okabe and Ito's first six have 26 and 11.
MEASURED = [(2, 130, 60), (3, 90, 33), (6, 58, 24), (8, 46, 16), (12, 34, 11), (20, 24, 8), (40, 14, 5)]


@pytest.mark.parametrize("background", [LIGHT, DARK])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 6, 7, 8, 12, 13, 20, 40, 64, 65, 100, 300, 1500])
def test_so_many_curves_have_so_many_colours(count: int, background: str):
    colours = series_colours(count, background)
    assert len(colours) == len(set(colours)) == count
    assert all(contrast(colour, background) >= LEAST_CONTRAST for colour in colours)


@pytest.mark.nightly
@pytest.mark.parametrize("background", [LIGHT, DARK])
def test_tens_of_thousands_have_different_colours_too(background: str):
    assert len(set(series_colours(65_536, background))) == 65_536


@pytest.mark.parametrize("background", [LIGHT, DARK])
@pytest.mark.parametrize(("count", "seen_by_most", "seen_by_colour_blind"), MEASURED)
def test_the_nearest_two_are_far_apart(count: int, seen_by_most: float, seen_by_colour_blind: float, background: str):
    lab = seen_in_lab(np.array([rgb(colour) for colour in series_colours(count, background)]) / 255)
    apart = np.array([np.linalg.norm(lab[:, a] - lab[:, b], axis=-1) for a, b in combinations(range(count), 2)])
    nearest = apart.min(axis=0)
    assert nearest[0] >= seen_by_most
    assert nearest[1:].min() >= seen_by_colour_blind


@pytest.mark.parametrize("background", [LIGHT, DARK])
def test_six_curves_differ_by_another_model_of_colour_blindness_too(background: str):
    """F. Viénot, H. Brettel and J. Mollon, "Digital video colourmaps for checking the legibility of displays", 1999."""
    to_cones = np.array(((17.8824, 43.5161, 4.11935), (3.45565, 27.1554, 3.86714), (0.0299566, 0.184309, 1.46709)))
    without = {
        "protanopia": np.array(((0, 2.02344, -2.52581), (0, 1, 0), (0, 0, 1))),
        "deuteranopia": np.array(((1, 0, 0), (0.494207, 0, 1.24827), (0, 0, 1))),
    }
    values = np.array([rgb(colour) for colour in series_colours(6, background)]) / 255
    for lost in without.values():
        seen = np.clip((values**2.2) @ (np.linalg.inv(to_cones) @ lost @ to_cones).T, 0, 1) ** (1 / 2.2)
        lab = seen_in_lab(seen)[0]
        assert min(np.linalg.norm(lab[a] - lab[b]) for a, b in combinations(range(6), 2)) > 18


def test_the_colours_that_were_there_before_were_nearer():
    before = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
    nearest = [min(distance(a, b) for a, b in combinations(of, 2)) for of in (before, series_colours(6))]
    assert nearest[1] > 1.5 * nearest[0]
    assert min(contrast(colour, LIGHT) for colour in before) < LEAST_CONTRAST


def test_white_and_black_are_measured_as_they_should():
    assert seen_in_lab(np.array([[1.0, 1.0, 1.0]]))[0, 0] == pytest.approx((100, 0, 0), abs=0.02)
    assert seen_in_lab(np.array([[1.0, 0.0, 0.0]]))[0, 0] == pytest.approx((53.24, 80.09, 67.2), abs=0.05)
