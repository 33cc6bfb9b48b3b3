"""The numbers in docs/results, made from recipes: `python -m workbench.reports.results make` and `... check`.

A recipe (`recipes/NAME.yml`, see `Recipe`) defines the sweep that gives the numbers of a page, the controls among them, and how
far a number may differ from the one on the page. `make` writes `docs/results/NAME.json`, `.md` and `.png`; `check` computes the
numbers again and reports committed numbers that differ from their recipe (at all on the same platform, by more than a tolerance
on another one), pages that differ from their numbers, and recipes
without a control or a page. The sweep is kept under `runs/results/NAME`, so that only stale cells are computed again.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workbench import runs
from workbench.errors import InputError, did_you_mean, reasons
from workbench.execution import RUNS
from workbench.reports.claims import Claim, corrected
from workbench.reports.grid import LARGEST, Cell, Grid, grid_of, plan
from workbench.reports.notebook import find_notebook
from workbench.reports.sweep import sweep
from workbench.runs.loader import read_yaml
from workbench.views.paper import base as figures
from workbench.views.tables import spread

MANY = 5  # scenes from which on Table 1 has a row per scene, and claims are not told scene by scene
MACHINE = (
    "cpu",
    "platform",
    "device",
    "threads",
)  # facts of a run; with equal versions, code and data its numbers are equal


class Compared(BaseModel):
    """A claim of a page: ours is higher than the control, seed by seed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    ours: str = Field(description="a metric of the sweep's table")
    control: str = Field(description="another metric of the table")


class Recipe(BaseModel):
    """How the numbers of one page are made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    about: str = Field(description="the question, and the limits of the numbers; Markdown")
    notebook: str
    sweep: Grid
    numbers: dict[str, str] = Field(min_length=1, description="metric -> its heading")
    controls: list[str] = Field([], description="metrics of rivals and controls, without the method's contribution")
    claims: list[Compared] = []
    undrawn: list[str] = Field([], description="metrics left out of the picture, such as those of another unit")
    unit: str = Field("no unit", description="of all numbers")
    spreads: float = Field(
        2.0, gt=0, description="standard errors by which a new mean may differ from the committed one on another platform"
    )
    tolerance: float = Field(
        1e-6, gt=0, description="relative difference allowed on another platform for a number without a spread"
    )


def read_recipe(path: Path) -> Recipe:
    """Read a recipe from its YAML file.

    Raises InputError for a field that does not exist or is wrong, a control or claim that is not among the numbers, and a
    recipe without a control.
    """
    fields = read_yaml(path, largest=LARGEST)
    for name in fields if isinstance(fields, dict) else ():
        if name not in Recipe.model_fields:
            raise InputError(f"The recipe {path} has no field {name!r}.{did_you_mean(str(name), Recipe.model_fields)}")
    if isinstance(fields, dict) and "sweep" in fields:
        fields = {**fields, "sweep": grid_of(fields["sweep"], path)}
    try:
        recipe = Recipe.model_validate(fields)
    except ValidationError as error:
        raise InputError(f"The recipe {path} cannot be used: {reasons(error)}.") from None
    if not recipe.controls:
        raise InputError(
            f"The recipe {path} names no control: without one its numbers do not show what the method contributes."
        )
    for metric in (*recipe.controls, *recipe.undrawn, *(m for c in recipe.claims for m in (c.ours, c.control))):
        if metric not in recipe.numbers:
            raise InputError(
                f"The recipe {path} has {metric!r} as control, as undrawn or in a claim, but not among its numbers."
            )
    return recipe


def plan_of(recipe: Recipe) -> list[Cell]:
    """The cells behind a page; raises InputError when the recipe does not fit its notebook, or when data are missing."""
    return plan(find_notebook(recipe.notebook), recipe.sweep)


def gather(
    name: str, recipe: Recipe, root: Path, *, folder: str = "", jobs: int = 1, progress: bool = True
) -> dict[str, Any]:
    """Run the sweep of a page. For every combination without the seed: metric -> values per seed, and the runs.

    folder: `long/` for a recipe in that folder.

    Raises InputError when a cell has no result or lacks a metric of the recipe.
    """
    done = sweep(recipe.notebook, recipe.sweep, root / name, jobs=jobs, progress=progress)
    if done.failed:
        first = done.failed[0]
        raise InputError(f"{len(done.failed)} cells of the recipe {name} have no result; {first['key']}: {first['error']}")
    variants: dict[str, dict[str, Any]] = {}
    for row in done.rows:
        label = _label({k: v for k, v in row["varied"].items() if k != "seed"})
        missing = [m for m in recipe.numbers if m not in row["metrics"]]
        if missing:
            has = ", ".join(row["metrics"])
            raise InputError(f"The recipe {name} wants {', '.join(missing)}; the sweep has {has}.")
        variant = variants.setdefault(label, {"numbers": {m: [] for m in recipe.numbers}, "runs": []})
        for metric in recipe.numbers:
            variant["numbers"][metric].append(row["metrics"][metric])
        about = runs.read(done.folder / "cells" / row["key"])
        file = (done.folder / "cells" / row["key"] / "metrics.json").read_bytes()
        facts = {"run": row["key"], "seed": row["varied"].get("seed"), "metrics_sha256": hashlib.sha256(file).hexdigest()}
        facts |= {"data": runs.data_hash(about), "code": about["code"], "versions": about["versions"]}
        variant["runs"].append(facts | {name: about.get(name) for name in MACHINE})
    return {"recipe": f"recipes/{folder}{name}.yml", "recipe_sha256": recipe_hash(recipe), "variants": variants}


def recipe_hash(recipe: Recipe) -> str:
    """SHA-256 of the content of a recipe, independent of the layout of its file; what only the picture depends on is left out."""
    return hashlib.sha256(recipe.model_dump_json(exclude={"undrawn"}).encode()).hexdigest()


# --- the page ---------------------------------------------------------------------------------------------------------


def render(name: str, recipe: Recipe, made: Mapping[str, Any]) -> str:
    """The page as Markdown; every number links to its runs."""
    lines = [
        f"# {recipe.title}",
        "",
        "*Made by `make results`; change the recipe, not this page. `make results-check` compares it with what the recipe gives.*",
        "",
        recipe.about.strip(),
        "",
        f"![{_alt(recipe, made)}]({name}.png)",
        "",
        f"**Table 1.** Mean ± standard deviation (n - 1) over seeds, {recipe.unit}; a number alone draws nothing at random, or has one "
        "seed; over scenes, the standard deviation is that of the scenes. Controls in italics. Every number leads to the runs behind it, "
        "where each run's own number stands.",
        "",
        *_numbers(recipe, made),
    ]
    if recipe.claims:
        lines += [
            "",
            "**Table 2.** Claims. The interval and p are of Student's t test of the gains, seed by seed or scene by scene; p is "
            "corrected for all tests of the table (Holm). *Holds*: p at most 0.05 and a gain above zero. *On this scene*: nothing "
            "is drawn at random, so the numbers are a fact of this scene and no test.",
            "",
            "| claim | on | ours | control | gain [95 %] | verdict |",
            "|---|---|---|---|---|---|",
        ]
        tested = claims_of(recipe, made)
        for (_, label), claim in zip(tested, corrected([c for c, _ in tested]), strict=True):
            lines.append(f"| {claim.text} | {label} | " + " | ".join(claim.row()[1:]) + " |")
    lines += [
        "",
        "## Runs",
        "",
        f"Recipe: [{made['recipe']}](../../{made['recipe']}), SHA-256 `{made['recipe_sha256'][:16]}`.",
    ]
    for n, (label, variant) in enumerate(made["variants"].items(), 1):
        first = variant["runs"][0]
        versions = ", ".join(f"{k} {v}" for k, v in first["versions"].items())
        lines += [
            "",
            f'<a id="{_anchor(n)}"></a>**{label}**: data `{first["data"][:16]}`, code `{first["code"][:16]}`, {versions}; '
            f"{first['cpu']}, {first['threads']} thread{'s' if first['threads'] > 1 else ''}.",
            "",
            f"| run, in `runs/results/{name}/cells` | seed | {' | '.join(recipe.numbers.values())} | SHA-256 of its metrics.json |",
            "|---" * (3 + len(recipe.numbers)) + "|",
        ]
        for k, run in enumerate(variant["runs"]):
            own = " | ".join(f"{variant['numbers'][metric][k]:.4f}" for metric in recipe.numbers)
            seed = "" if run["seed"] is None else run["seed"]
            lines.append(f"| `{run['run']}` | {seed} | {own} | `{run['metrics_sha256'][:16]}` |")
    return "\n".join(lines) + "\n"


def claims_of(recipe: Recipe, made: Mapping[str, Any]) -> list[tuple[Claim, str]]:
    """The claims of a page, each with the variant it is tested on; where scenes are an axis of the sweep, also over all of them."""
    found = []
    for compared in recipe.claims:
        for label, variant in made["variants"].items() if not _many(recipe) else ():
            ours, control = variant["numbers"][compared.ours], variant["numbers"][compared.control]
            varies = len({*ours}) > 1 or len({*control}) > 1
            if not varies:
                ours, control = ours[:1], control[:1]
            one_seed = len(recipe.sweep.seeds) == 1  # whether it draws anything cannot be seen
            found.append((Claim(compared.text, ours, control, random=varies or one_seed), label))
        for others, labels in _over_scenes(recipe).items():
            variants = [made["variants"][label]["numbers"] for label in labels]
            ours, control = ([float(np.mean(v[m])) for v in variants] for m in (compared.ours, compared.control))
            label = f"all {len(variants)} scenes" + (f", {others}" if others else "")
            found.append((Claim(compared.text, ours, control, over="scenes"), label))
    return found


def _numbers(recipe: Recipe, made: Mapping[str, Any]) -> list[str]:
    """The lines of Table 1: a column per variant, and the mean over scenes where they are an axis; a row per variant if they are many."""
    columns = [""] + [f"*{heading}*" if metric in recipe.controls else heading for metric, heading in recipe.numbers.items()]
    table = [columns]
    for n, (label, variant) in enumerate(made["variants"].items(), 1):
        table.append([label, *(f"[{spread(variant['numbers'][metric])}](#{_anchor(n)})" for metric in recipe.numbers)])
    for others, labels in _over_scenes(recipe).items():
        means = (
            [float(np.mean(made["variants"][label]["numbers"][metric])) for label in labels] for metric in recipe.numbers
        )
        table.append([f"mean of {len(labels)} scenes" + (f", {others}" if others else ""), *(spread(m) for m in means)])
    if not _many(recipe):
        table = [list(row) for row in zip(*table, strict=True)]
    head, *rows = ["| " + " | ".join(row) + " |" for row in table]
    return [head.replace("|  |", "| |", 1), "|---" * len(table[0]) + "|", *rows]


def _many(recipe: Recipe) -> bool:
    """Whether there are so many scenes that claims are tested over all of them only."""
    return any(len(labels) >= MANY for labels in _over_scenes(recipe).values())


def _label(varied: Mapping[str, Any]) -> str:
    """What a variant is called; of a file only the name, so that a page does not tell where somebody keeps it."""
    named = {k: Path(v).name if k == "scene" and os.sep in str(v) else v for k, v in varied.items()}
    return ", ".join(f"{k.rpartition('.')[2]} {v}" for k, v in named.items()) or "as in the recipe"


def _over_scenes(recipe: Recipe) -> dict[str, list[str]]:
    """The variants that differ in nothing but the scene: what they share -> their labels; empty unless scenes are an axis."""
    grid = recipe.sweep.grid
    groups: dict[str, list[str]] = {}
    for values in itertools.product(*grid.values()) if len(grid.get("scene", ())) > 1 else ():
        varied = dict(zip(grid, values, strict=True))
        others = {k: v for k, v in varied.items() if k != "scene"}
        groups.setdefault(_label(others) if others else "", []).append(_label(varied))
    return groups


def _anchor(n: int) -> str:
    return f"runs-{n}"


def _alt(recipe: Recipe, made: Mapping[str, Any]) -> str:
    drawn = ", ".join(heading for metric, heading in recipe.numbers.items() if metric not in recipe.undrawn)
    return f"{drawn} for {'; '.join(made['variants'])}: a dot for each seed, mean and deviation"


def draw(recipe: Recipe, made: Mapping[str, Any], out: Path) -> None:
    """The picture of a page: for every variant, a dot for each seed and the mean of each number."""
    values = {}
    for label, variant in made["variants"].items():
        for metric, heading in recipe.numbers.items():
            if metric in recipe.undrawn:
                continue
            name = heading if len(made["variants"]) == 1 else f"{label}: {heading}"
            numbers = variant["numbers"][metric]
            values[name] = numbers if len({*numbers}) > 1 else numbers[:1]
    figures.controls(values, recipe.unit).savefig(out, format="png", dpi=figures.DPI, metadata={"Software": None})


# --- make and check ---------------------------------------------------------------------------------------------------


def make(name: str, recipes: Path, pages: Path, root: Path, *, jobs: int = 1, progress: bool = True) -> Path:
    """Make the numbers, the page and the picture of a recipe; returns the path of the page."""
    recipe = read_recipe(path_of(name, recipes))
    made = gather(name, recipe, root, folder=_folder(name, recipes), jobs=jobs, progress=progress)
    with runs.writing(pages):
        pages.mkdir(parents=True, exist_ok=True)
        runs.write_json(pages / f"{name}.json", made)
        runs.replace(pages / f"{name}.md", lambda f: f.write(render(name, recipe, made).encode()))
        draw(recipe, made, pages / f"{name}.png")
    return pages / f"{name}.md"


def check(name: str, recipes: Path, pages: Path, root: Path, *, jobs: int = 1, progress: bool = True) -> list[str]:
    """Problems of a page, one sentence each; empty when it is correct."""
    try:
        recipe = read_recipe(path_of(name, recipes))
    except InputError as error:
        return [str(error)]
    try:
        kept = json.loads((pages / f"{name}.json").read_text(encoding="utf-8"))
        page = (pages / f"{name}.md").read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        return [f"{name}: its page cannot be read ({error}); make it with `make results`"]
    wrong = []
    if kept.get("recipe_sha256") != recipe_hash(recipe):
        wrong.append(f"{name}: the recipe has changed since the page was made")
    try:
        if page != render(name, recipe, kept):
            wrong.append(f"{name}: the page is not what its numbers ({name}.json) give; somebody has edited it")
    except (KeyError, TypeError, IndexError) as error:
        return [*wrong, f"{name}: {name}.json is not whole ({type(error).__name__}: {error})"]
    if not (pages / f"{name}.png").exists():
        wrong.append(f"{name}: the picture is missing")
    fresh = gather(name, recipe, root, jobs=jobs, progress=progress)
    for label in dict.fromkeys([*kept["variants"], *fresh["variants"]]):
        if label not in kept["variants"] or label not in fresh["variants"]:
            wrong.append(f"{name}, {label}: {'not on the page' if label in fresh['variants'] else 'not in the recipe'}")
            continue
        same = platform_of(kept["variants"][label]) == platform_of(fresh["variants"][label])
        for metric in recipe.numbers:
            committed, now = (d["variants"][label]["numbers"].get(metric, []) for d in (kept, fresh))
            difference = differs(committed, now, recipe, exact=same)
            if difference:
                wrong.append(f"{name}, {label}, {metric}: {difference}")
    return wrong


def platform_of(variant: Mapping[str, Any]) -> list[Any]:
    """What the last digits of a variant's numbers depend on besides code and data, per run."""
    return [[run.get(name) for name in ("versions", *MACHINE)] for run in variant["runs"]]


def differs(committed: Sequence[float], now: Sequence[float], recipe: Recipe, *, exact: bool = False) -> str | None:
    """How new numbers differ from the committed ones; None where they agree.

    exact: they come from the same platform, so every one has to be equal to the last bit; else their means have to agree within
    the recipe's tolerance.
    """
    if len(committed) != len(now):
        return f"{len(committed)} values on the page, {len(now)} from the recipe"
    if exact:
        for old, new in zip(committed, now, strict=True):
            if old != new and not (math.isnan(old) and math.isnan(new)):
                return f"the page says {old!r}, the recipe gives {new!r}; on the same platform they have to be equal"
        return None
    a, b = float(np.mean(committed)), float(np.mean(now))
    std = float(np.std(now, ddof=1)) if len(now) > 1 else 0.0
    allowed = max(recipe.spreads * std / math.sqrt(len(now)), recipe.tolerance * abs(b))
    if abs(a - b) <= allowed:
        return None
    return f"the page says {a:.6g}, the recipe gives {b:.6g}; {allowed:.2g} is allowed on another platform"


def names(recipes: Path, pages: Path) -> list[str]:
    """Names of all recipes but those in the folder `long`, which take hours, and of all pages without a recipe."""
    long = {p.stem for p in recipes.glob("long/*.yml")}
    return sorted({p.stem for p in recipes.glob("*.yml")} | ({p.stem for p in pages.glob("*.json")} - long))


def _folder(name: str, recipes: Path) -> str:
    return "long/" if path_of(name, recipes).parent != recipes else ""


def path_of(name: str, recipes: Path) -> Path:
    """The file of a recipe: in the folder, or in its folder `long`."""
    long = recipes / "long" / f"{name}.yml"
    return long if long.exists() else recipes / f"{name}.yml"


def main(arguments: Sequence[str] | None = None) -> int:
    """The commands `make` and `check`; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m workbench.reports.results", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=["make", "check"])
    parser.add_argument("names", nargs="*", help="recipes (default: all)")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--recipes", type=Path, default=Path("recipes"))
    parser.add_argument("--pages", type=Path, default=Path("docs/results"))
    parser.add_argument("--root", type=Path, default=Path(RUNS) / "results", help="folder of the sweeps")
    given = parser.parse_intermixed_args(arguments)  # names may come after options
    wrong = []
    try:
        for name in given.names or names(given.recipes, given.pages):
            places = (given.recipes, given.pages, given.root)
            if given.what == "make":
                print(make(name, *places, jobs=given.jobs))
            else:
                problems = check(name, *places, jobs=given.jobs)
                wrong += problems
                print(f"{name}: {'as committed' if not problems else 'NOT as committed'}")
    except InputError as error:
        print(f"workbench: {error}", file=sys.stderr)
        return 2
    for line in wrong:
        print(f"  {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
