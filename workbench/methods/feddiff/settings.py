"""The settings of FedDiff. Defaults train in a few minutes on two CPU cores."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from workbench.data.patch_settings import once
from workbench.event import Bars, Curves, Film, Map, Matrix
from workbench.parts.bank_settings import BankSettings

SMOKE = {
    "steps": 4,
    "width": 8,
    "batch": 8,
    "components": 3,
    "per_class": 10,
    "times": [5, 50],
    "head_steps": 3,
    "show_every": 2,
    "rivals": ["dense", "untrained", "fedfusion"],
    "pooled": ["centralised", "mdfl"],
    "trees": 10,
    "generated": 16,
    "sample_steps": 3,
}
PAGE = "federation?method=feddiff"
HEADLINE = ("oa", "aa", "oa_only_best", "message_ratio")
SHOWS = (
    Curves("diffusion loss of each owner", ("loss",), references=("loss_of_zero",), own_steps=True),
    Curves("accuracy of the bank", ("probe_oa",), own_steps=True),
    Film(
        ("clean", "noisy", "denoised"), "Test patches of each owner: clean, at t = 100, and what its network makes of them"
    ),
    Curves("loss of the fusion", ("head_loss",), own_steps=True),
    Curves("accuracy of each owner (a probe)", ("owner_oa",), own_steps=True),
    Curves("sent in training", ("megabytes",), units="MB", own_steps=True),
    Map("labels", "Class map at the first owner"),
    Bars("message_per_patch", "Bytes of a message / raw patch"),
    Matrix("bytes", "Bytes of one pixel"),
    Matrix("oa_by_time", "Accuracy of each owner's bank"),
    Map("strip", "From noise to new patches: first owner left"),
    Matrix("psnr", "Signal-to-noise ratio of rebuilt patches"),
    Matrix("confusion", "Confusion of test pixels"),
    Map("heads_differ", "Heads of one sensor that disagree"),
    Map("differ", "Where the owners' maps differ"),
    Map("uncertainty", "Entropy of the class probabilities"),
    Bars("recall", "Accuracy of each class"),
    Matrix("denoising_error", "Mean absolute error of the noise"),
    Matrix("area", "Mapped and estimated area"),
)
CodecName = Literal["low_rank", "dense", "int8", "top_k", "random_basis"]
Rival = Literal["dense", "int8", "top_k", "random_basis", "untrained", "no_diffusion", "fedfusion"]
Pooled = Literal["centralised", "raw_patches", "mdfl"]


class Config(BankSettings):
    """docs/methods/feddiff.md has the reason for each choice."""

    engine: Literal["direct", "flower"] = Field(
        "direct", description="what carries the messages: calls, or Flower in this process; the numbers are the same"
    )
    codec: CodecName = Field(
        "low_rank", description="how features travel; top_k and random_basis have the bytes of low_rank"
    )
    rank: int = Field(4, ge=1, le=16, description="rank of the messages; the maps have 4 x 4 places, so 16 loses nothing")
    average_every: int = Field(1, ge=1, le=1_000_000, description="steps between two averages of the shared weights")
    away: float = Field(
        0.0, ge=0, lt=1, description="share of the steps at which the other owner is away; then an owner learns alone"
    )
    rivals: tuple[Rival, ...] = Field(
        ("dense", "untrained", "no_diffusion", "fedfusion"),
        description="further federations: with another codec, with untrained diffusion networks, without them; FedFusion",
    )
    pooled: tuple[Pooled, ...] = Field(
        ("centralised", "raw_patches", "mdfl"),
        description="networks on data in one place: the same network, the same without bank, MDFL with one joint diffusion network",
    )
    generated: int = Field(
        200, ge=8, le=100_000, description="patches that each owner's network generates, to compare with real ones"
    )
    sample_steps: int = Field(50, ge=2, le=500, description="steps from noise to a generated patch")

    @field_validator("rivals", "pooled")
    @classmethod
    def _once(cls, names: tuple) -> tuple:
        return once(names)
