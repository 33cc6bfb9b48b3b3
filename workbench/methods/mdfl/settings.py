"""The settings of MDFL. Defaults train in a minute or two on two CPU cores."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from workbench.data.patch_settings import once
from workbench.event import Bars, Curves, Film, Map, Matrix
from workbench.parts.bank_settings import Arm, BankSettings

SMOKE = {
    "steps": 4,
    "width": 8,
    "batch": 8,
    "components": 3,
    "per_class": 10,
    "times": [5, 50],
    "head_steps": 4,
    "show_every": 2,
    "networks": ["two_branch"],
    "trees": 10,
}
HEADLINE = ("oa", "aa", "kappa")
PAGE = "landcover"
SHOWS = (
    Curves("diffusion loss", ("loss",), references=("loss_of_zero",), own_steps=True),
    Curves("accuracy of the bank while it is learnt", ("probe_oa",)),
    Film(("clean", "noisy", "denoised"), "Test patches side by side: clean, at t = 100, and what the network makes of them"),
    Curves("classifier loss", ("head_loss",), own_steps=True),
    Map("labels", "Class map"),
    Map("uncertainty", "Entropy of the class probabilities"),
    Matrix("confusion", "Confusion of test pixels"),
    Bars("recall", "Accuracy of each class"),
    Matrix("oa_by_time", "Accuracy of the bank at each noise level"),
    Map("bank_rgb", "The bank as colours, one picture for each noise level"),
    Matrix("area", "Mapped and estimated area of each class"),
)


class Config(BankSettings):
    """docs/methods/mdfl.md has the reason for each choice."""

    joint: bool = Field(False, description="one diffusion network for all sensors stacked, instead of one for each sensor")
    rivals: tuple[Arm, ...] = Field(("none",), description="further diffusion networks, with another parser, for comparison")
    logistic_c: float = Field(
        0.1, gt=0, le=1e6, description="C of the logistic regressions: the smaller, the more their weights are held back"
    )
    svm_c: float = Field(1.0, gt=0, le=1e6, description="C of the SVM")
    networks: tuple[Literal["cnn", "two_branch"], ...] = Field(
        ("cnn", "two_branch"), description="rival networks on raw patches: of the first sensor, and of all"
    )

    @field_validator("rivals", "networks")
    @classmethod
    def _once(cls, names: tuple) -> tuple:
        return once(names)
