"""The ledger of claims: it is up to date, its verdicts follow from the numbers, and wrong files are refused with a hint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from docs.generate import claims
from docs.generate.claims import Pages, System, Test
from workbench.errors import InputError
from workbench.methods import METHODS

RECIPE = """
title: Made up
about: Numbers with known answers.
notebook: method
sweep: {parameters: {method: rx}, grid: {scene: [one, two, three, four]}, seeds: [0]}
numbers: {good: good, bad: bad, base: base, cost: cost, base_cost: base cost}
controls: [base]
"""


@pytest.fixture
def pages(tmp_path: Path) -> Pages:
    """A page over four scenes: `good` is above `base` and `bad` below it, by about the same on every scene; `cost` is below `base_cost`."""
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "made_up.yml").write_text(RECIPE)
    shift = [0.0, 0.001, -0.001, 0.004]
    variants = {
        f"scene {name}": {
            "numbers": {"good": [0.9 + s], "bad": [0.5 - s], "base": [0.7], "cost": [1.0 + s], "base_cost": [2.0]},
            "runs": [],
        }
        for name, s in zip(("one", "two", "three", "four"), shift, strict=True)
    }
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "made_up.json").write_text(json.dumps({"recipe": "", "recipe_sha256": "", "variants": variants}))
    by_scene = {"one": {"x": 1.0, "y": 0.5}, "two": {"x": 1.1, "y": 0.5}, "three": {"x": 1.2, "y": 0.6}}
    measured = {"page": "docs/methods/rx.md", "command": "none", "numbers": {"x": "X", "y": "Y"}, "scenes": by_scene}
    (tmp_path / "script.json").write_text(json.dumps(measured))
    return Pages(tmp_path / "results", tmp_path / "recipes", tmp_path)


def system(*entries: dict, **more: object) -> System:
    return System.model_validate({"system": "Made up", "paper": "none", "claims": entries, **more})


def verdicts(made: System, pages: Pages) -> list[str]:
    return [said for _, said, _ in claims.judged(made, pages)]


def entry(*tests: dict, **more: object) -> dict:
    return {"claim": "it helps", "tests": [{"results": "made_up", "control": "base", **t} for t in tests], **more}


def test_the_pages_are_up_to_date():
    old = [str(path) for path, text in claims.renewed().items() if path.read_text(encoding="utf-8") != text]
    assert not old, "run make claims"


def test_the_ledger_has_the_ten_systems_and_every_system_that_is_built():
    files = {p.stem: claims.read_system(p) for p in (claims.ROOT / "docs" / "claims").glob("*.yml")}
    assert set(files) == set(claims.ORDER)
    built = {name for name, s in files.items() if s.built}
    assert built <= set(METHODS)
    assert {"rsdgc", "sarnet", "tdds", "bsdm", "arcdnet"} <= built
    assert set(METHODS) & set(files) == built, "a system of METHODS still reads `built: false` in docs/claims"


def test_verdicts_follow_from_the_numbers(pages: Pages):
    made = system(
        entry({"ours": "good"}),
        entry({"ours": "bad"}),
        entry({"ours": "good"}, {"ours": "bad"}),
        entry({"ours": "good", "variant": "scene one"}),  # one scene, one seed: nothing can be tested
        entry({"ours": "bad", "margin": 0.3}),
        entry({"ours": "good"}, leaves_out="the rest"),
        {"claim": "another", "untested": "nobody did"},
        {"claim": "another", "impossible": "no GPU"},
    )
    assert verdicts(made, pages) == [
        "holds",
        "does not hold here",
        "in part",
        "undecided",
        "holds",
        "in part",
        "not tested here",
        "cannot be tested here",
    ]
    lines = claims.section(made, pages)
    assert any("4 wins, 0 losses of 4" in line and "+0.2010" in line and "**holds here**" in line for line in lines)
    assert any("**not tested here**: nobody did" in line for line in lines)
    assert any("**holds in part**: left out: the rest" in line for line in lines)


def test_where_lower_is_better_a_lower_number_is_a_gain(pages: Pages):
    assert verdicts(system(entry({"ours": "cost", "control": "base_cost", "lower": True})), pages) == ["holds"]
    assert verdicts(system(entry({"ours": "cost", "control": "base_cost"})), pages) == ["does not hold here"]


def test_tests_of_one_system_are_corrected_for_one_another(pages: Pages):
    ((alone, label),) = pages.claims(Test(results="made_up", ours="good", control="base"))
    assert label == "all 4 scenes"
    _, _, (line,) = claims.judged(system(*[entry({"ours": "good"})] * 3), pages)[0]
    assert f"p {alone.p:.3f}" in claims._line(Test(results="made_up", ours="good", control="base"), alone, label, "")
    assert "Holm" in line


def test_numbers_of_a_script_are_tested_over_their_scenes(pages: Pages):
    one = entry({"results": "script", "ours": "x", "control": "y"})
    assert verdicts(system(one), pages) == ["holds"]
    (line,) = claims.judged(system(one), pages)[0][2]
    assert line.startswith("[X – Y](methods/rx.md), all 3 scenes: +0.5667")
    assert claims.filled("{x}", {"x": claims.Number(results="script", metric="x")}, pages) == "1.100 ± 0.100"
    with pytest.raises(InputError, match="page script has no 'z'"):
        pages.claims(Test(results="script", ours="z", control="y"))


def test_numbers_of_a_text_come_from_the_page(pages: Pages):
    number = claims.Number(results="made_up", metric="good", variant="scene two")
    assert claims.filled("ours  {x}", {"x": number}, pages) == "ours 0.901"
    over = claims.Number(results="made_up", metric="good")
    assert claims.filled("{x}", {"x": over}, pages) == "0.901 ± 0.002"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"claims": [entry({"ours": "god"})]}, "has no 'god'. Did you mean 'good'"),
        ({"claims": [entry({"ours": "good", "variant": "scene five"})]}, "no variant 'scene five'; it has scene one"),
        ({"claims": [entry({"ours": "good", "results": "makeup"})]}, "no page of results 'makeup'"),
        ({"claims": [{"claim": "x", "untested": "so", "note": "{y}"}]}, "placeholder {y}"),
    ],
)
def test_what_the_pages_do_not_have_is_refused(pages: Pages, wrong: dict, says: str):
    with pytest.raises(InputError, match=says.replace("{", r"\{")):
        claims.section(system(**wrong) if "claims" not in wrong else system(*wrong["claims"]), pages)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("system: A\npaper: b\nclaims: [{claim: c}]", "without tests, untested or impossible"),
        ("system: A\npaper: b\nbuilt: false\nclaims: [{claim: c, untested: d}]", "is not built, but"),
        ("system: A\npaper: b\nclaims: [{claim: c, untested: d, impossible: e}]", "more than one of"),
        ("system: A\npaper: b\nclaims: [{claim: c, leaves_out: d}]", "no tests"),
        ("system: A\npaper: b\nclaims: []", "claims"),
        ("system: [", "cannot be read"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str, says: str):
    path = tmp_path / "a.yml"
    path.write_text(text)
    with pytest.raises(InputError, match=says):
        claims.read_system(path)
