"""The ledger of claims: `docs/claims.md`, from docs/claims/NAME.yml and the committed numbers of docs/results.

    python -m docs.generate.claims [--check]

Every system has a file (see `System`): what its paper's abstract claims, in our words, and how each claim is tested here. A test
names two metrics of a page of results, or of docs/claims/NAME.json where a script of `benchmarks` has measured them. Gain, interval, p
and verdict are computed from those numbers, and corrected for all tests of the system (Holm). A number in a text is a placeholder,
`{name}`, of `numbers`. So no number is typed by hand. The same command renews the findings in README.md between its marks. `--check`
writes nothing and ends with exit code 1 where a page is old.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from string import Formatter
from typing import Any

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from workbench.errors import InputError, did_you_mean, reasons
from workbench.reports import results
from workbench.reports.claims import FAILS, HOLDS, NOT_ON_SCENE, ON_SCENE, UNDECIDED, Claim, corrected
from workbench.views.tables import spread

ROOT = Path(__file__).parents[2]
BEGIN, END = "<!-- findings: begin -->", "<!-- findings: end -->"
ORDER = ("rsdgc", "sarnet", "picpq", "tdds", "fedfusion", "mdfl", "feddiff", "bsdm", "arcdnet", "ghost")
PARTLY, UNTESTED, IMPOSSIBLE, UNBUILT = "in part", "not tested here", "cannot be tested here", "not built yet"
VERDICTS = {
    HOLDS: "holds here",
    PARTLY: "holds in part",
    UNDECIDED: "undecided",
    FAILS: "does not hold here",
    UNTESTED: UNTESTED,
    IMPOSSIBLE: IMPOSSIBLE,
    UNBUILT: UNBUILT,
}

INTRODUCTION = """\
What the abstracts of ten papers claim, in our words, and what our numbers say. A gain is *ours* less the control, paired by seed or by
scene, with its 95 % interval and the p value of Student's t test, corrected for all tests of a system (Holm). *Holds here*: every test has
p at most 0.05 and a gain above zero; *holds in part*: some do, or the tests leave out a part of the claim; *does not hold here*: every gain
is below zero with p at most 0.05; *undecided*: the rest, also facts of a single scene. Every number leads to the page with its runs. *Here*
means these data, these sizes of network and these lengths of training; the authors' own experiments were larger."""


class Number(BaseModel):
    """A metric of a page of results."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    results: str = Field(description="the page: a NAME of docs/results/NAME.json")
    metric: str
    variant: str = Field("", description="a variant of the page, such as `workers 2`; not needed where it has one")
    percent: bool = False


class Measured(BaseModel):
    """Numbers on several scenes that a script has measured and no recipe makes: docs/claims/NAME.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    page: str = Field(description="where they are told, such as docs/methods/rx.md")
    command: str = Field(description="what measures them again")
    numbers: dict[str, str] = Field(description="metric -> its heading")
    scenes: dict[str, dict[str, float]] = Field(description="scene -> metric -> mean over seeds")


class Test(BaseModel):
    """A comparison on a page of results: ours is better than the control."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    __test__ = False  # not for pytest

    results: str
    ours: str
    control: str
    variant: str = Field("", description="one variant; empty: over all scenes where they are an axis, else every variant")
    margin: float = Field(0.0, ge=0, description="ours may be this much worse than the control")
    lower: bool = Field(False, description="whether a lower number is better")


class Entry(BaseModel):
    """A claim of a paper, and how it is tested: `tests`, or `untested` or `impossible` with the reason."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    claim: str
    how: str = Field("", description="data and split, rivals and controls")
    tests: tuple[Test, ...] = ()
    untested: str = Field("", description="why nobody has tested it here")
    impossible: str = Field("", description="why it cannot be tested here")
    leaves_out: str = Field("", description="what the tests leave out of the claim: it then holds in part at most")
    note: str = Field("", description="how to read the numbers; with placeholders of `numbers`")

    @model_validator(mode="after")
    def _one(self) -> Entry:
        if self.leaves_out and not self.tests:
            raise ValueError(f"the claim {self.claim[:40]!r} has leaves_out, but no tests")
        if sum(map(bool, (self.tests, self.untested, self.impossible))) > 1:
            raise ValueError(f"the claim {self.claim[:40]!r} has more than one of tests, untested and impossible")
        return self


class System(BaseModel):
    """The claims of one paper."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    system: str
    paper: str
    built: bool = True
    page: str = Field("", description="the method's page, such as docs/methods/rx.md")
    numbers: dict[str, Number] = {}
    finding: str = Field("", description="one or two sentences for the README; with placeholders of `numbers`")
    claims: tuple[Entry, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _whole(self) -> System:
        for entry in self.claims:
            has = bool(entry.tests or entry.untested or entry.impossible)
            if has and not self.built:
                raise ValueError(f"is not built, but the claim {entry.claim[:40]!r} has a test or a reason")
            if self.built and not has:
                raise ValueError(f"has the claim {entry.claim[:40]!r} without tests, untested or impossible")
        return self


def read_system(path: Path) -> System:
    """Read a file of claims; InputError if it cannot be read or a field is wrong."""
    try:
        return System.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"The claims {path} cannot be read: {' '.join(str(error).split())}.") from None
    except ValidationError as error:
        raise InputError(f"The claims {path} cannot be used: {reasons(error)}.") from None


class Pages:
    """The committed numbers, and the recipes that made them."""

    def __init__(
        self,
        folder: Path = ROOT / "docs" / "results",
        recipes: Path = ROOT / "recipes",
        measured: Path = ROOT / "docs" / "claims",
    ) -> None:
        self.folder, self.recipes, self.elsewhere = folder, recipes, measured
        self.read = cache(self._read)
        self.measured = cache(self._measured)

    def _measured(self, name: str) -> Measured | None:
        path = self.elsewhere / f"{name}.json"
        if not path.is_file():
            return None
        try:
            return Measured.model_validate_json(path.read_text(encoding="utf-8"))
        except ValidationError as error:
            raise InputError(f"The numbers {path} cannot be used: {reasons(error)}.") from None

    def link(self, name: str) -> str:
        """The page of these numbers, as seen from docs/claims.md."""
        measured = self.measured(name)
        return f"results/{name}.md" if measured is None else str(Path(measured.page).relative_to("docs"))

    def headings(self, name: str, *wanted: str) -> dict[str, str]:
        """metric -> its heading; InputError if a wanted metric is not there."""
        measured = self.measured(name)
        headings = self.read(name)[0].numbers if measured is None else measured.numbers
        for metric in wanted:
            if metric not in headings:
                raise InputError(f"The page {name} has no {metric!r}.{did_you_mean(metric, headings)}")
        return headings

    def _read(self, name: str) -> tuple[results.Recipe, dict[str, Any]]:
        path = self.folder / f"{name}.json"
        if not path.is_file():
            known = sorted(p.stem for p in self.folder.glob("*.json"))
            raise InputError(
                f"There is no page of results {name!r}; there are {', '.join(known)}.{did_you_mean(name, known)}"
            )
        return results.read_recipe(results.path_of(name, self.recipes)), json.loads(path.read_text(encoding="utf-8"))

    def number(self, wanted: Number) -> str:
        """Mean and standard deviation of a number over the seeds, or over the scenes of a page with many, as text."""
        self.headings(wanted.results, wanted.metric)
        measured = self.measured(wanted.results)
        if measured is not None:
            values = [numbers[wanted.metric] for numbers in measured.scenes.values()]
        elif wanted.variant:
            values = self._variant(wanted.results, wanted.variant)["numbers"][wanted.metric]
        else:
            each = [v["numbers"][wanted.metric] for v in self.read(wanted.results)[1]["variants"].values()]
            values = each[0] if len(each) == 1 else [float(np.mean(v)) for v in each]
        digits = 1 if abs(np.mean(values)) >= 10 else 3
        values = [100 * v for v in values] if wanted.percent else values
        return spread(values, digits)

    def claims(self, test: Test) -> list[tuple[Claim, str]]:
        """The comparison on each of its variants: (claim, variant)."""
        headings = self.headings(test.results, test.ours, test.control)
        text = f"{headings[test.ours]} – {headings[test.control]}"
        measured = self.measured(test.results)
        if measured is not None:
            ours, control = ([n[metric] for n in measured.scenes.values()] for metric in (test.ours, test.control))
            found = [(Claim(text, ours, control, over="scenes"), f"all {len(ours)} scenes")]
        else:
            recipe, made = self.read(test.results)
            compared = results.Compared(text=text, ours=test.ours, control=test.control)
            found = results.claims_of(recipe.model_copy(update={"claims": [compared]}), made)
        if test.variant:
            self._variant(test.results, test.variant)
            found = [(c, label) for c, label in found if label == test.variant]
        elif any(c.over == "scenes" for c, _ in found):
            found = [(c, label) for c, label in found if c.over == "scenes"]
        sign = -1 if test.lower else 1
        return [
            (
                Claim(c.text, [sign * v for v in c.ours], [sign * v - test.margin for v in c.control], c.random, c.over),
                label,
            )
            for c, label in found
        ]

    def _variant(self, page: str, label: str) -> Mapping[str, Any]:
        variants = self.read(page)[1]["variants"]
        if label not in variants:
            raise InputError(f"The page {page} has no variant {label!r}; it has {', '.join(variants)}.")
        return variants[label]


# --- the page ---------------------------------------------------------------------------------------------------------


def filled(text: str, numbers: Mapping[str, Number], pages: Pages) -> str:
    """The text with its placeholders replaced by numbers."""
    wanted = {name for _, name, _, _ in Formatter().parse(text) if name is not None}
    for name in wanted - set(numbers):
        raise InputError(
            f"A text has the placeholder {{{name}}}, which is not among `numbers`.{did_you_mean(name, numbers)}"
        )
    return " ".join(text.format(**{name: pages.number(numbers[name]) for name in wanted}).split())


def verdict(tests: Sequence[Claim]) -> str:
    """The verdict on a claim from those of its tests, after correction; a fact of one scene decides nothing."""
    seen = {UNDECIDED if c.verdict in (ON_SCENE, NOT_ON_SCENE) else c.verdict for c in tests}
    if len(seen) == 1:
        return seen.pop()
    return PARTLY if HOLDS in seen else UNDECIDED


def judged(system: System, pages: Pages) -> list[tuple[Entry, str, list[str]]]:
    """(claim, verdict, lines of numbers) of every claim, corrected for all tests of the system."""
    tests = [(entry, test, *found) for entry in system.claims for test in entry.tests for found in pages.claims(test)]
    after = corrected([claim for _, _, claim, _ in tests])
    out = []
    for entry in system.claims:
        mine = [(test, c, label) for (e, test, _, label), c in zip(tests, after, strict=True) if e is entry]
        if mine:
            lines = [_line(test, c, label, pages.link(test.results)) for test, c, label in mine]
            said = verdict([c for _, c, _ in mine])
            out.append((entry, PARTLY if said == HOLDS and entry.leaves_out else said, lines))
        else:
            out.append((entry, UNTESTED if entry.untested else IMPOSSIBLE if entry.impossible else UNBUILT, []))
    return out


def _line(test: Test, claim: Claim, label: str, link: str) -> str:
    where = "" if label == "as in the recipe" else f", {label}"
    given = f", {test.margin:g} allowed" if test.margin else ""
    better = ", lower is better" if test.lower else ""
    gain = claim.row()[3]
    told = {ON_SCENE: " (this scene)", NOT_ON_SCENE: " (this scene)"}.get(claim.verdict, "")
    return f"[{claim.text}]({link}){where}{given}{better}: {gain}{told}"


def section(system: System, pages: Pages) -> list[str]:
    """The part of the page on one system."""
    link = f" What we found: [its page]({Path(system.page).relative_to('docs')})." if system.page else ""
    lines = [f"## {system.system}", "", f"{system.paper}.{link}", ""]
    if system.finding:
        told = filled(system.finding, system.numbers, pages)
        lines += [told[0].upper() + told[1:], ""]
    lines += ["| the paper claims | how it is tested here | gain | verdict |", "|---|---|---|---|"]
    for entry, said, numbers in judged(system, pages):
        reason = entry.untested or entry.impossible or (f"left out: {entry.leaves_out}" if entry.leaves_out else "")
        note = filled(entry.note, system.numbers, pages)
        how = " ".join(filter(None, (" ".join(entry.how.split()), note)))
        final = f"**{VERDICTS[said]}**" + (f": {' '.join(reason.split())}" if reason else "")
        lines.append(f"| {' '.join(entry.claim.split())} | {how} | {'<br>'.join(numbers)} | {final} |")
    return [*lines, ""]


def page(systems: Sequence[System], pages: Pages) -> str:
    """The whole ledger as Markdown."""
    counts = [Counter(said for _, said, _ in judged(s, pages)) for s in systems]
    lines = [
        "# Claims of the papers, and what holds here",
        "",
        "*Made by `make claims` from docs/claims/ and the numbers of docs/results; do not edit it.*",
        "",
        INTRODUCTION,
        "",
        "| system | claims | " + " | ".join(VERDICTS.values()) + " |",
        "|---" * (2 + len(VERDICTS)) + "|",
    ]
    for system, count in zip(systems, counts, strict=True):
        anchor = system.system.lower().replace(" ", "-")
        cells = [str(count[said] or "") for said in VERDICTS]
        lines.append(f"| [{system.system}](#{anchor}) | {len(system.claims)} | " + " | ".join(cells) + " |")
    total = sum(counts, Counter())
    lines += [
        f"| all | {sum(len(s.claims) for s in systems)} | " + " | ".join(str(total[v] or "") for v in VERDICTS) + " |",
        "",
    ]
    for system in systems:
        lines += section(system, pages)
    return "\n".join(lines)


def findings(systems: Sequence[System], pages: Pages) -> str:
    """The README's findings: a sentence or two for each system that is built, and how many claims hold."""
    total = Counter(said for s in systems for _, said, _ in judged(s, pages))
    told = [f"- **{s.system}:** {filled(s.finding, s.numbers, pages)}" for s in systems if s.finding]
    counted = ", ".join(f"{total[said]} *{words}*" for said, words in VERDICTS.items() if total[said])
    return (
        "**Findings**\n\n"
        + "\n".join(told)
        + f"\n\nOf the {total.total()} claims in the abstracts of the ten papers, {counted}: "
        "the [ledger of claims](docs/claims.md) has each with its test, interval and verdict.\n"
    )


def systems(folder: Path = ROOT / "docs" / "claims") -> list[System]:
    """All systems, in the order of the plan; those that it does not name come last."""
    paths = sorted(folder.glob("*.yml"), key=lambda p: (ORDER.index(p.stem) if p.stem in ORDER else len(ORDER), p.stem))
    return [read_system(path) for path in paths]


def renewed() -> dict[Path, str]:
    """The pages that this module makes: path -> text."""
    pages, found = Pages(), systems()
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    before, _, rest = readme.partition(BEGIN + "\n")
    _, mark, after = rest.partition(END)
    if not mark:
        raise InputError(f"README.md has no marks {BEGIN} and {END}.")
    return {
        ROOT / "docs" / "claims.md": page(found, pages),
        ROOT / "README.md": f"{before}{BEGIN}\n{findings(found, pages)}{mark}{after}",
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes or checks the pages; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m docs.generate.claims", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only say which pages are old")
    check = parser.parse_args(arguments).check
    try:
        made = renewed()
    except InputError as error:
        print(f"workbench: {error}", file=sys.stderr)
        return 2
    old = [path for path, text in made.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in old:
        if not check:
            path.write_text(made[path], encoding="utf-8")
        print(f"{path.relative_to(ROOT)}: {'is old; run make claims' if check else 'renewed'}")
    return int(check and bool(old))


if __name__ == "__main__":
    sys.exit(main())
