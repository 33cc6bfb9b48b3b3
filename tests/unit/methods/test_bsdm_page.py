"""The tables of docs/methods/bsdm.md: wins and losses by hand, and up to date with docs/results/bsdm_scenes.json."""

from __future__ import annotations

import json

from benchmarks import table_bsdm


def made() -> dict:
    """Three scenes, two seeds: the trained network wins one, loses one, and is equal to all others on the third."""
    better = {"one": 0.1, "two": -0.1, "three": 0.0}
    return {
        "variants": {
            f"scene {scene}": {
                "numbers": {
                    f"{metric}_{who}": [0.8 + gain, 0.8 + gain] if who == "trained" else [0.7, 0.9]
                    for metric in table_bsdm.METRICS
                    for who in table_bsdm.WHO
                }
            }
            for scene, gain in better.items()
        }
    }


def test_wins_and_losses_are_counted_over_means_of_seeds():
    text = table_bsdm.text(made())
    assert text.startswith("3 scenes, 2 seeds")
    row = next(line for line in text.splitlines() if line.startswith("| RX |"))
    assert row == "| RX |" + " 0.800 | 1, 1 |" * 4
    assert "| trained, K=10 | 0.800 ± 0.100 |  |" in text


def test_a_scene_has_what_the_training_adds():
    rows = [line for line in table_bsdm.text(made()).splitlines() if line.startswith("| `")]
    assert [row.split(" | ")[-2:] for row in rows] == [
        ["+0.1000", "+0.1000 |"],
        ["-0.1000", "-0.1000 |"],
        ["+0.0000", "+0.0000 |"],
    ]


def test_the_page_is_up_to_date():
    page = (table_bsdm.DOCS / "methods" / "bsdm.md").read_text()
    numbers = json.loads((table_bsdm.DOCS / "results" / "bsdm_scenes.json").read_text())
    assert page.split(table_bsdm.BEGIN)[1].split(table_bsdm.END)[0].strip() == table_bsdm.text(numbers)
