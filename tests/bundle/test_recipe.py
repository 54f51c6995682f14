"""Recipes: every committed one loads, ships, and a wrong one is answered with the nearest right word."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taemi_edge.bundle.recipe import _explain, find_recipe, list_recipes, load_recipe, recipe_from_mapping, recipe_hash
from taemi_edge.errors import RecipeError
from taemi_edge.taemi.recipe import ModelRecipe

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("file", sorted((ROOT / "export").glob("*.toml")), ids=lambda file: file.stem)
def test_every_committed_recipe_loads_under_its_own_name(file: Path):
    recipe = load_recipe("export", str(file), ModelRecipe)
    assert recipe.name == file.stem
    assert recipe == load_recipe("export", file.stem, ModelRecipe)
    assert recipe.fusion.dim // recipe.fusion.heads in (8, 16, 32, 64)


def test_every_committed_recipe_ships_in_the_wheel():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    shipped = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    committed = {
        f"{kind}/{f.name}" for kind in ("export", "calibration", "engines") for f in (ROOT / kind).glob("*.toml")
    }
    assert committed == set(shipped)
    assert all(target == f"taemi_edge/recipes/{source}" for source, target in shipped.items())


def test_an_unknown_name_is_answered_with_the_nearest():
    assert list_recipes("export") == ["taemi-base", "taemi-mobile", "taemi-nano", "taemi-tiny"]
    with pytest.raises(RecipeError, match="did you mean 'taemi-mobile'"):
        find_recipe("export", "taemi-mobil")
    with pytest.raises(RecipeError, match="known recipes: taemi-base, taemi-mobile, taemi-nano, taemi-tiny"):
        find_recipe("export", "zzz")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("chunk_s = 0.5", "chunk_sec = 0.5", "unknown field `chunk_sec` - at `.*audio`: did you mean `chunk_s`"),
        ("\nheads = 2", '\nheads = "two"', r"Expected `int`, got `str` - at `\$.fusion.heads`"),
        ("\nheads = 2", "\nheads = 3", "expected dim to be a multiple of heads, got 16 and 3"),
        ("max_tokens = 64", "", "missing required field `max_tokens`"),
        ("hop_s = 0.5", "hop_s = 50", "expected 0 < hop_s <= length_s"),
        ("[window]", "[window", "expected TOML, got"),
        (
            'name = "taemi-tiny"',
            'name = "taemi-tiny"\ncolour = 1',
            "unknown field `colour`: known keys are name, vision",
        ),
    ],
)
def test_a_wrong_recipe_is_explained(tmp_path: Path, old: str, new: str, message: str):
    text = (ROOT / "export" / "taemi-tiny.toml").read_text()
    assert old in text
    file = tmp_path / "mine.toml"
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(RecipeError, match=message):
        load_recipe("export", str(file), ModelRecipe)


def test_the_hash_follows_values_not_comments(tmp_path: Path):
    recipe = load_recipe("export", "taemi-tiny", ModelRecipe)
    file = tmp_path / "copy.toml"
    file.write_text("# another comment\n" + (ROOT / "export" / "taemi-tiny.toml").read_text())
    assert recipe_hash(load_recipe("export", str(file), ModelRecipe)) == recipe_hash(recipe)
    assert recipe_hash(msgspec.structs.replace(recipe, seed=1)) != recipe_hash(recipe)


Toml = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text(),
    lambda x: st.lists(x, max_size=3) | st.dictionaries(st.sampled_from(["name", "vision", "audio", "seed", "x"]), x),
)


@given(st.dictionaries(st.sampled_from(["name", "vision", "audio", "text", "fusion", "window", "seed"]), Toml))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_no_mapping_crashes_the_reader(content: dict[str, object]):
    with pytest.raises(RecipeError):
        recipe_from_mapping(content, ModelRecipe, "a.toml")


def test_a_recipe_survives_json():
    recipe = load_recipe("export", "taemi-base", ModelRecipe)
    assert recipe_from_mapping(msgspec.json.decode(msgspec.json.encode(recipe)), ModelRecipe, "x") == recipe


def test_a_wrong_choice_is_told_the_choices(tmp_path: Path):
    from taemi_edge.engines.recipe import TargetRecipe

    file = tmp_path / "mine.toml"
    file.write_text('name = "mine"\nbackend = "onnxruntime-cpu"\nforms = ["fast"]\n')
    with pytest.raises(RecipeError, match=r"forms\[0\] 'fast': expected fused, int8, "):
        load_recipe("engines", str(file), TargetRecipe)


def test_a_wrong_choice_in_an_unknown_place_is_not_repeated():
    """It may be an address with its password."""
    said = _explain("Invalid enum value 'rtsp://me:secret@door' - at `$.nowhere[0].here`", ModelRecipe)
    assert said == "nowhere[0].here: expected another value"
