"""One way to change a setting: text is converted, mistakes are named with what to do."""

from typing import Literal

import pytest
from pydantic import Field

from workbench.config import Settings, override
from workbench.errors import InputError


class Config(Settings):
    steps: int = Field(500, ge=1, description="optimiser steps")
    gamma: Literal["paper", "official"] = "paper"
    sizes: tuple[int, ...] = (3, 5)
    names: tuple[str, ...] | None = None
    pixels: int | None = None


def test_text_becomes_the_type_of_the_field():
    config = override(Config(), {"steps": "20", "sizes": "[7, 9]", "pixels": "none"})
    assert (config.steps, config.sizes, config.pixels) == (20, (7, 9), None)


@pytest.mark.parametrize("text", ["7,9", "[7, 9]", " [7,9] ", "7, 9,"])
def test_a_list_is_written_with_commas(text):
    assert override(Config(), {"sizes": text}).sizes == (7, 9)


@pytest.mark.parametrize(
    ("text", "read"), [("a", ("a",)), ("a,b", ("a", "b")), ("[a, b]", ("a", "b")), ('["a"]', ("a",)), ("[]", ()), ("", ())]
)
def test_names_in_a_list_need_no_quotes(text, read):
    assert override(Config(), {"names": text}).names == read


@pytest.mark.parametrize("bad", ["7,x", "[7", "{7}", '{"a": 1}'])
def test_a_list_of_something_else_is_refused(bad):
    with pytest.raises(InputError, match="setting sizes="):
        override(Config(), {"sizes": bad})


def test_the_original_is_untouched():
    config = Config()
    override(config, {"steps": 3})
    assert config.steps == 500


def test_an_unknown_name_gets_a_did_you_mean():
    with pytest.raises(InputError, match=r"no setting 'stepz'.*steps.*Did you mean 'steps'\?"):
        override(Config(), {"stepz": 3})


@pytest.mark.parametrize("bad", [{"steps": 0}, {"steps": "many"}, {"gamma": "delta"}, {"seed": -1}, {"steps": 2.5}])
def test_a_value_out_of_range_names_the_setting(bad):
    (name,) = bad
    with pytest.raises(InputError, match=f"setting {name}="):
        override(Config(), bad)


def test_a_config_survives_json():
    config = override(Config(), {"sizes": [1, 2], "gamma": "official"})
    assert Config.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("method", "bad", "why"),
    [
        ("local-rx", {"outer": 18}, "must be odd"),
        ("tdds", {"patch": 4}, "must be odd"),
        ("bsdm", {"t": 1000, "gamma": "official"}, "must be at most 999"),
    ],
)
def test_what_a_method_refuses_is_told_without_the_words_of_pydantic(method, bad, why):
    from workbench.methods import load

    with pytest.raises(InputError, match=why) as caught:
        override(load(method).Config(), bad)
    assert "Value error" not in str(caught.value)
