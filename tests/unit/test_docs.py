"""What the documentation site generates, and that its checks see a fault of each kind."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import Field

from docs.generate import check, commands, indexes, names, reference, settings
from docs.generate.docstrings import as_markdown
from docs.generate.links import rewrite, title
from workbench.config import Settings
from workbench.errors import InputError
from workbench.methods import METHODS


class Config(Settings):
    steps: int = Field(500, ge=1, le=1000, description="how often | and why")
    lr: float = Field(1e-4, gt=0, lt=1, description="learning rate")
    kind: Literal["a", "b"] | None = Field(None, description="which of two")
    names: list[Literal["x", "y"]] = Field(["x"], min_length=1, description="some")
    shares: list[Annotated[float, Field(gt=0, le=1)]] = Field([], description="further shares")
    size: int = Field(4, multiple_of=2, description="even")
    on: bool = Field(True, description="a switch")


def test_a_table_of_settings_says_type_default_and_range(monkeypatch):
    class Room:
        pass

    Room.Config = Config
    monkeypatch.setattr(settings, "load", lambda name: Room)
    rows = [row.strip("| ").split(" | ") for row in settings.table(["toy"]).splitlines()]
    assert rows[0] == ["setting", "type", "default", "range", "what it does"]
    assert rows[2][:4] == ["`seed`", "integer", "`0`", "at least 0, below 4294967296"]
    assert rows[3] == ["`steps`", "integer", "`500`", "at least 1, at most 1000", "how often \\| and why"]
    assert rows[4][1:4] == ["number", "`0.0001`", "above 0, below 1"]
    assert rows[5][1:3] == ["one of `a`, `b` or none", "none"]
    assert rows[6][1:4] == ["list of any of `x`, `y`", "`[x]`", "at least 1 of them"]
    assert rows[7][1:4] == ["list of number", "`[]`", "each above 0, each at most 1"]
    assert rows[8][3] == "multiple of 2"
    assert rows[9][1:3] == ["true or false", "`true`"]


def test_a_table_of_several_methods_has_what_they_share_once():
    table = settings.with_tables("before\n\n<!-- settings: rx pca-rx -->\n\nafter")
    assert table.startswith("before\n\n| method |")
    assert table.endswith("after")
    assert table.count("| `seed` |") == 1
    assert "| `pca-rx` | `components` |" in table


def test_a_table_of_no_method_is_refused():
    with pytest.raises(InputError, match="no method 'rxx'"):
        settings.with_tables("<!-- settings: rxx -->")


def test_every_method_has_its_settings_on_a_page():
    texts = [p.read_text() for p in indexes.sources("methods")]
    assert settings.without_a_table(texts) == []
    assert settings.without_a_table(texts[:0]) == list(METHODS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[a](../sar.md)", "[a](../sar.md)"),
        ("[a](../sar.md#looks)", "[a](../sar.md#looks)"),
        ("[a](rx.md)", "[a](rx.md)"),
        ("[a](../../CHANGELOG.md)", "[a](../changelog.md)"),
        ("![a](../img/b.png)", "![a](../img/b.png)"),
        ("[the recipe](../../recipes/rx.yml)", "the recipe (`recipes/rx.yml`)"),
        ("[recipes/rx.yml](../../recipes/rx.yml)", "`recipes/rx.yml`"),
        ("[paper](https://doi.org/10.1/2)", "[paper](https://doi.org/10.1/2)"),
        ("[here](#runs-1)", "[here](#runs-1)"),
        ("see `docs/sar.md`.", "see [SAR](../sar.md)."),
        ("as there (`docs/sar.md`).", "as there ([SAR](../sar.md))."),
        ("see docs/sar.md for more", "see [SAR](../sar.md) for more"),
        ("docs/nothing.md", "docs/nothing.md"),
        ("`workbench.scene`", "[`workbench.scene`](../api/workbench.scene.md)"),
        (
            "`workbench.config.override(c)`",
            "[`workbench.config.override(c)`](../api/workbench.config.md#workbench.config.override)",
        ),
        ("`workbench.config.nothing`", "`workbench.config.nothing`"),
        ("`workbench.config._read`", "`workbench.config._read`"),
        ("```\n[a](../../recipes/rx.yml) docs/sar.md\n```", "```\n[a](../../recipes/rx.yml) docs/sar.md\n```"),
    ],
)
def test_links_of_a_page_lead_to_pages_of_the_site_or_name_a_path(text, expected):
    published = {"docs/sar.md": "sar.md", "docs/methods/rx.md": "methods/rx.md", "docs/img/b.png": "img/b.png"}
    published["CHANGELOG.md"] = "changelog.md"
    assert rewrite(text, "docs/methods/bsdm.md", "methods/bsdm.md", published, {"docs/sar.md": "SAR"}) == expected


def test_the_title_of_a_design_note_is_without_its_date():
    assert title("text\n# Sweeps, results (2026-11)\n# more") == "Sweeps, results"
    assert title("# RX (and its relatives)") == "RX (and its relatives)"


def test_a_docstring_becomes_markdown():
    assert as_markdown("First.\n\nText\nkey: a name") == "First.\n\nText\n\n- **`key`**: a name"
    assert as_markdown("First.\n\nx = f(1)\ng(x)") == "First.\n\n```python\nx = f(1)\ng(x)\n```"
    assert as_markdown("see `workbench.scene`") == "see [`workbench.scene`](workbench.scene.html)"
    doc = "What it gives:\nin two lines.\n\nscore: (y, x), higher\n    is more.\nkeys, truth: names <a>.\n\n>>> 1 + 1\n2\n\n    code(x)"
    assert as_markdown(doc).split("\n\n") == [
        "What it gives: in two lines.",
        "- **`score`**: (y, x), higher\n    is more.\n- **`keys, truth`**: names &lt;a>.",
        "```pycon\n>>> 1 + 1\n2\n```",
        "    code(x)",
    ]


def test_the_reference_has_every_module_but_those_that_draw():
    known = reference.modules()
    assert {"workbench.scene", "workbench.data.catalog", "workbench.metrics.anomaly"} <= set(known)
    assert not [name for name in known if name.startswith(("workbench.pages", "workbench.views")) or "._" in name]
    assert all(page.startswith("api/") for page in reference.pages())


def test_the_page_of_the_command_line_has_every_verb_and_its_options():
    page = commands.page()
    assert {"## `workbench run`", "## `workbench describe`", "## `workbench runs list`"} <= set(page.splitlines())
    assert "| `METHOD` | " in page
    assert "| `--out` | " in page
    assert "--help" not in page.partition("## ")[2]


def site(folder, **pages):
    for name, body in pages.items():
        (folder / f"{name}.html").write_text(f"<html><body>{body}</body></html>")
    return check.faults(folder)


def test_a_site_without_fault_has_none(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "b.css").write_text("a {background: url(data:image/png;base64,AA)}")
    body = '<a id="x" href="b.html#y">b</a> <img src="a.png"> <link rel="stylesheet" href="b.css"> <a href="https://doi.org/1">1</a>'
    assert site(tmp_path, a=body, b='<h2 id="y">y</h2><a href="#y">y</a>') == ([], 1)


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ('<a href="none.html">x</a>', "none.html, which does not exist"),
        ('<a href="#none">x</a>', "no such anchor"),
        ('<img src="none.png">', "none.png, which does not exist"),
        ('<img src="https://example.org/a.png">', "from another host"),
        ('<script src="//example.org/a.js"></script>', "from another host"),
        ('<link rel="preconnect" href="https://example.org">', "from another host"),
        ('<img srcset="https://example.org/a.png 2x">', "from another host"),
        ("<style>@import 'https://example.org/a.css'</style>", "a style loads"),
        ('<p style="background: url(https://example.org/a.png)">', "from another host"),
    ],
)
def test_a_fault_of_a_page_is_found(tmp_path, body, what):
    found, _ = site(tmp_path, a=body)
    assert any(what in fault for fault in found), found


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.css", "a {background: url('https://example.org/a.png')}"), ("a.js", "fetch('https://example.org/a')")],
)
def test_a_file_that_asks_another_host_is_found(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    found, _ = site(tmp_path, a="")
    assert found
    assert found[0].startswith(name)


def test_an_empty_site_is_a_fault(tmp_path):
    assert check.faults(tmp_path)[0]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("```python\nfrom workbench.scene import nothing\n```", "imports nothing from workbench.scene"),
        ("```python\nimport workbench as wb\n\nwb.nothing()\n```", "uses wb.nothing"),
        ("```python\nimport workbench as wb\n\nwb.open_scene('x', nothing=1)\n```", "gives nothing= to wb.open_scene"),
        ("```python\nx = (\n```", "not valid Python"),
        ("call `workbench.scene.nothing`", "workbench.scene.nothing does not exist"),
        ("look into `workbench/nothing.py`", "workbench/nothing.py does not exist"),
    ],
)
def test_a_name_that_does_not_exist_is_found(text, fault):
    (found,) = names.faults(text)
    assert fault in found


def test_names_that_exist_are_no_faults():
    text = "`workbench.scene.describe(x)`, `workbench/scene.py`, `recipes/NAME.yml`, `docs/methods/<name>.md`, `tests/*`"
    example = "```python\nimport workbench as wb\nfrom workbench.scene import describe\n\nwb.open_scene('x', truth='y')\n```"
    assert names.faults(text + "\n\n" + example) == []
