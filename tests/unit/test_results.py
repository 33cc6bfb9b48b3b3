"""Results pages: what a recipe gives is what its page says, and the check goes red when it is not."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat
from scipy.stats import ttest_1samp

from tests.unit.test_sweeps import notebook
from workbench.data.catalog import open_scene
from workbench.errors import InputError
from workbench.reports import results
from workbench.reports.claims import METRICS
from workbench.reports.results import check, claims_of, differs, gather, main, make, names, platform_of, read_recipe, render
from workbench.resources import folder as resource

COMPUTE = """
import json, random
from pathlib import Path
random.seed(seed)
Path(run_dir, "metrics.json").write_text(json.dumps({"ours": 0.8 + 0.01 * random.random(), "control": 0.7}))
"""
RECIPE = """
title: Squares
about: Is ours better?
notebook: NOTEBOOK
sweep: {seeds: [0, 1]}
numbers: {control: the control, ours: ours}
controls: [control]
claims: [{text: ours beats the control, ours: ours, control: control}]
"""
REPOSITORY = resource("notebooks").parent


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Recipes, pages and sweeps of one recipe, made once."""
    root = tmp_path_factory.mktemp("results")
    path = notebook(root / "squares.ipynb", COMPUTE)
    (root / "recipes").mkdir()
    (root / "recipes" / "squares.yml").write_text(RECIPE.replace("NOTEBOOK", str(path)))
    found = root / "recipes", root / "pages", root / "runs"
    assert make("squares", *found, progress=False) == root / "pages" / "squares.md"
    return found


def test_page_links_every_number_to_its_runs(places: tuple[Path, Path, Path]) -> None:
    page = (places[1] / "squares.md").read_text()
    kept = json.loads((places[1] / "squares.json").read_text())
    (variant,) = kept["variants"].values()
    assert "| *the control* | [0.7000](#runs-1) |" in page
    assert 'id="runs-1"' in page
    for run in variant["runs"]:
        assert f"| `{run['run']}` |" in page
        assert run["metrics_sha256"][:16] in page
        assert run["code"][:16] in page
    assert kept["recipe_sha256"][:16] in page
    assert "| ours beats the control | as in the recipe |" in page
    # two seeds, gains .1084 and .1013: t 29.6 with one degree of freedom, p .021
    assert page.count("| holds |") == 1
    assert (places[1] / "squares.png").read_bytes()[:4] == b"\x89PNG"


def test_what_the_recipe_gives_is_green(places: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert check("squares", *places, progress=False) == []
    options = ["--recipes", str(places[0]), "--pages", str(places[1]), "--root", str(places[2])]
    assert main(["check", *options]) == 0
    assert "squares: as committed" in capsys.readouterr().out
    assert main(["check", *options, "--jobs", "1", "squares"]) == 0  # as the Makefile calls it with RECIPES=squares
    assert capsys.readouterr().out.count("as committed") == 1


def altered(places: tuple[Path, Path, Path], file: str, old: str, new: str) -> list[str]:
    """What the check says while a file is altered."""
    path = next(p / file for p in places[:2] if (p / file).exists())
    before = path.read_text()
    assert old in before
    path.write_text(before.replace(old, new, 1))
    try:
        return check("squares", *places, progress=False)
    finally:
        path.write_text(before)


def test_an_altered_number_or_page_is_red(places: tuple[Path, Path, Path]) -> None:
    assert any("the page says 0.71, the recipe gives 0.7; on the same platform" in w for w in altered_number(places))
    said = altered(places, "squares.md", "[0.7000]", "[0.7100]")
    assert said == ["squares: the page is not what its numbers (squares.json) give; somebody has edited it"]
    assert any("recipe has changed" in w for w in altered(places, "squares.yml", "Is ours", "Was ours"))
    assert any("not whole" in w for w in altered(places, "squares.json", '"runs"', '"ruins"'))


def altered_number(places: tuple[Path, Path, Path]) -> list[str]:
    """The control altered by 0.01 in numbers and page alike, as somebody would who wants it to look right."""
    path = places[1] / "squares.json"
    before, page = path.read_text(), (places[1] / "squares.md").read_text()
    kept = json.loads(before)
    for variant in kept["variants"].values():
        variant["numbers"]["control"] = [0.71, 0.71]
    path.write_text(json.dumps(kept))
    (places[1] / "squares.md").write_text(render("squares", read_recipe(places[0] / "squares.yml"), kept))
    try:
        return check("squares", *places, progress=False)
    finally:
        path.write_text(before)
        (places[1] / "squares.md").write_text(page)


def test_a_number_of_another_unit_is_in_the_table_and_not_in_the_picture(places: tuple[Path, Path, Path]) -> None:
    recipe = read_recipe(places[0] / "squares.yml")
    made = json.loads((places[1] / "squares.json").read_text())
    other = recipe.model_copy(update={"undrawn": ["control"]})
    assert "![the control, ours for" in render("squares", recipe, made)
    page = render("squares", other, made)
    assert "![ours for" in page
    assert "[0.7000](#runs-1)" in page
    assert results.recipe_hash(other) == results.recipe_hash(recipe)  # the numbers are the same
    assert any("not among its numbers" in w for w in altered(places, "squares.yml", "claims:", "undrawn: [x]\nclaims:"))


def test_a_recipe_without_its_control_or_page_is_red(places: tuple[Path, Path, Path], tmp_path: Path) -> None:
    assert any("names no control" in w for w in altered(places, "squares.yml", "controls: [control]", "controls: []"))
    assert any("not among its numbers" in w for w in altered(places, "squares.yml", "controls: [control]", "controls: [x]"))
    assert any("Did you mean 'controls'" in w for w in altered(places, "squares.yml", "controls:", "contrlos:"))
    assert "its page cannot be read" in check("squares", places[0], tmp_path, places[2], progress=False)[0]
    (tmp_path / "lost.json").write_text("{}")
    assert names(places[0], tmp_path) == ["lost", "squares"]
    assert "lost.yml cannot be read" in check("lost", places[0], tmp_path, places[2], progress=False)[0]


def test_numbers_may_wander_as_far_as_their_spread(places: tuple[Path, Path, Path]) -> None:
    recipe = read_recipe(places[0] / "squares.yml")  # two standard errors
    # 0.79 0.80 0.81: std 0.01, standard error 0.0057735, two of them 0.011547
    assert differs([0.811, 0.811, 0.811], [0.79, 0.80, 0.81], recipe) is None
    assert "0.012 is allowed" in str(differs([0.812, 0.812, 0.812], [0.79, 0.80, 0.81], recipe))
    assert differs([0.7], [0.7 + 1e-8], recipe) is None
    assert differs([0.7], [0.7001], recipe) is not None
    assert "allowed on another platform" in str(differs([0.7], [0.7001], recipe))
    assert "2 values on the page" in str(differs([0.7, 0.7], [0.7], recipe))


def test_on_the_same_platform_numbers_are_equal_to_the_last_bit(places: tuple[Path, Path, Path]) -> None:
    recipe = read_recipe(places[0] / "squares.yml")
    near = float(np.nextafter(0.7, 1))
    assert differs([0.7, 0.8], [0.7, 0.8], recipe, exact=True) is None
    assert differs([math.nan], [math.nan], recipe, exact=True) is None
    assert "0.7000000000000001; on the same platform" in str(differs([0.7], [near], recipe, exact=True))
    kept = json.loads((places[1] / "squares.json").read_text())
    (variant,) = kept["variants"].values()
    before = platform_of(variant)
    assert before == platform_of(json.loads(json.dumps(variant)))
    for name, other in (("cpu", "another"), ("threads", 7), ("device", "cuda:0"), ("versions", {})):
        changed = {"runs": [{**run, name: other} for run in variant["runs"]]}
        assert platform_of(changed) != before
    # a number wrong in its last bit: red here, and within the tolerance had the page come from another processor
    said = altered(places, "squares.json", " 0.7,", f" {near!r},")
    assert [w for w in said if "on the same platform" in w]


def test_claims_without_random_draws_are_tested_over_scenes() -> None:
    path = REPOSITORY / "recipes" / "rx.yml"
    recipe = read_recipe(path)
    kept = json.loads((REPOSITORY / "docs" / "results" / "rx.json").read_text())
    found = claims_of(recipe, kept)
    ridge = {label: claim for claim, label in found if claim.text == "ridge-RX beats RX"}
    assert list(ridge) == ["scene sim-coast-town", "scene sim-dry-airfield", "all 2 scenes"]
    assert ridge["scene sim-coast-town"].verdict == "on this scene"
    both = ridge["all 2 scenes"]
    assert both.over == "scenes"
    numbers = [v["numbers"] for v in kept["variants"].values()]
    assert both.ours == pytest.approx([np.mean(n["auc_ridge_rx"]) for n in numbers])
    assert both.control == pytest.approx([np.mean(n["auc_rx"]) for n in numbers])


def small_cube(path: Path, seed: int) -> None:
    """A cube in the layout of HAD100: a MATLAB file of one small scene, `data (y, x, band)` and `map (y, x)`."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((12, 12), np.uint8)
    truth[3:5, 4] = 1
    savemat(path, {"data": rng.normal(5, 1, (12, 12, 7)) + 9 * truth[..., None], "map": truth})


def test_a_folder_of_many_small_scenes_is_a_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Averages over scenes, wins and losses; what is drawn at random or not is not asked of the single scene."""
    for n in range(6):
        small_cube(tmp_path / f"ang{n}.mat", n)
    monkeypatch.setenv("SCENES", str(tmp_path))
    text = RECIPE.replace("sweep: {seeds: [0, 1]}", 'sweep: {grid: {scene: ["$SCENES/*.mat"]}}')
    (tmp_path / "set.yml").write_text(text.replace("NOTEBOOK", str(notebook(tmp_path / "set.ipynb"))))
    recipe = read_recipe(tmp_path / "set.yml")
    scenes = recipe.sweep.grid["scene"]
    assert scenes == sorted(str(tmp_path / f"ang{n}.mat") for n in range(6))
    assert len({cell.key for cell in results.plan_of(recipe)}) == 6  # each has data of its own
    assert {"hsi", "truth"} <= set(open_scene(scenes[0]))

    def variant(ours: float, control: float) -> dict[str, Any]:
        run = {
            "run": "r",
            "seed": None,
            "metrics_sha256": "0",
            "data": "0",
            "code": "0",
            "versions": {},
            "cpu": "",
            "threads": 1,
        }
        return {"numbers": {"ours": [ours], "control": [control]}, "runs": [run]}

    gains = [0.01, 0.02, 0.03, 0.02, -0.005, 0.015]
    made = {"recipe": "r", "recipe_sha256": "0"}
    made["variants"] = {f"scene ang{n}.mat": variant(0.9 + n / 100 + g, 0.9 + n / 100) for n, g in enumerate(gains)}
    ((claim, label),) = claims_of(recipe, made)
    assert (label, claim.verdict) == ("all 6 scenes", "holds")
    assert claim.p == pytest.approx(ttest_1samp(gains, 0).pvalue)
    page = render("set", recipe, made)
    std = np.std([0.91, 0.93, 0.95, 0.95, 0.935, 0.965], ddof=1)
    assert f"| mean of 6 scenes | 0.9250 ± 0.0187 | 0.9400 ± {std:.4f} |" in page
    assert "| scene ang3.mat | [0.9300](#runs-4) | [0.9500](#runs-4) |" in page
    assert "5 wins, 1 losses of 6 | holds |" in page
    assert str(tmp_path) not in page.replace(recipe.notebook, "")
    monkeypatch.setenv("SCENES", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"asks for the scenes \$SCENES/\*.mat; there is no such file"):
        read_recipe(tmp_path / "set.yml")


def test_long_recipes_are_made_by_name_only(tmp_path: Path) -> None:
    recipes, pages = tmp_path / "recipes", tmp_path / "pages"
    (recipes / "long").mkdir(parents=True)
    pages.mkdir()
    (recipes / "a.yml").touch()
    (recipes / "long" / "b.yml").touch()
    (pages / "b.json").touch()
    (pages / "lost.json").touch()
    assert names(recipes, pages) == ["a", "lost"]
    assert results.path_of("b", recipes) == recipes / "long" / "b.yml"
    assert results.path_of("a", recipes) == recipes / "a.yml"


@pytest.mark.parametrize("path", sorted((REPOSITORY / "recipes" / "long").glob("*.yml")), ids=lambda p: p.stem)
def test_every_long_recipe_can_be_read(path: Path) -> None:
    recipe = read_recipe(path)
    known = [
        f"{metric}_{who}" for metric in METRICS for who in ("rx", "ridge_rx", "pca_rx", "rp_rx", "untrained", "trained")
    ]
    assert recipe.notebook != "anomaly" or set(recipe.numbers) <= {*known, "gain_of_training"}


@pytest.mark.parametrize("path", sorted((REPOSITORY / "recipes").glob("*.yml")), ids=lambda p: p.stem)
def test_every_recipe_has_a_control_and_every_page_is_what_its_numbers_give(path: Path) -> None:
    recipe = read_recipe(path)
    assert recipe.controls
    results.plan_of(recipe)
    pages = REPOSITORY / "docs" / "results"
    kept = json.loads((pages / f"{path.stem}.json").read_text())
    assert kept["recipe_sha256"] == results.recipe_hash(recipe)
    assert (pages / f"{path.stem}.md").read_text() == render(path.stem, recipe, kept)
    assert (pages / f"{path.stem}.png").exists()


@pytest.mark.process
def test_a_committed_number_made_again(tmp_path: Path) -> None:
    """One cell of the recipe rx, in full: the numbers of the page, to the tolerance of the recipe; altered, they are red."""
    recipe = read_recipe(REPOSITORY / "recipes" / "rx.yml")
    one = recipe.sweep.model_copy(update={"grid": {"scene": ["sim-coast-town"]}, "seeds": [0]})
    made = gather("rx", recipe.model_copy(update={"sweep": one}), tmp_path, progress=False)
    kept = json.loads((REPOSITORY / "docs" / "results" / "rx.json").read_text())
    for metric, (fresh,) in made["variants"]["scene sim-coast-town"]["numbers"].items():
        committed = kept["variants"]["scene sim-coast-town"]["numbers"][metric][0]
        assert differs([committed], [fresh], recipe) is None  # the page may come from another platform
        assert differs([committed + 1e-4], [fresh], recipe) is not None


def test_refusals(places: tuple[Path, Path, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_recipe(tmp_path / "none.yml")
    recipe = read_recipe(places[0] / "squares.yml").model_copy(update={"numbers": {"theirs": "x"}})
    with pytest.raises(InputError, match="wants theirs; the sweep has ours, control"):
        gather("squares", recipe, places[2], progress=False)
