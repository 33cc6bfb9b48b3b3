"""Settings of BSDM, and their noise schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from workbench.config import Settings
from workbench.event import Curves, Film

if TYPE_CHECKING:
    from workbench.parts.diffusion import Mixing

NEEDS = ("hsi",)
SMOKE = {"steps": 4, "passes": 2, "show_every": 2, "embed": 16, "inner": 16, "width": 12, "code": 8, "time_width": 16}
HEADLINE = ("auc", "auc_untrained", "auc_rx")
SHOWS = (
    Curves("loss", ("loss",), references=("sigma2", "sigma2_code"), log=True),
    Curves("AUC after all passes", ("auc",), references=("auc_untrained", "auc_rx", "auc_ridge_rx", "auc_pca_rx")),
    Curves("AUC after each pass", ("auc_pass",), references=("auc_rx",), against="pass"),
    Film(("quiet", "background", "score"), "Suppressed cube, what is subtracted next, and the score"),
)
NOTEBOOK = "anomaly"
PAGE = "anomaly?tab=2"


class Config(Settings):
    """Defaults are those of the authors' code; only `gamma` is the paper's, which differs."""

    steps: int = Field(500, ge=1, description="optimiser steps on the one scene, each over the whole image")
    schedule_steps: int = Field(
        500, ge=1, description="length of the cosine from lr to final_lr; with fewer steps training stops before its end"
    )
    passes: int = Field(10, ge=1, le=50, description="number of passes of the cube through the network, K")
    T: int = Field(1000, ge=50, le=10_000, description="diffusion steps of the noise schedule")
    gamma: Literal["paper", "official"] = Field("paper", description="gamma_t as in the paper, or as in the official code")
    mixing: Literal["gamma", "alpha"] = Field(
        "gamma", description="one noise for all steps, or the usual independent noises"
    )
    t: int = Field(500, ge=1, description="diffusion time at which noise is added and removed, at most T")
    frozen: bool = Field(True, description="one noise for the whole training (official code); false: new noise every step")
    pixels: int | None = Field(None, ge=1, description="number of random pixels per training step; none: the whole image")
    offset: Literal["pixel", "image", "off"] = Field(
        "pixel", description="the offset module gets mean and spread of the pixel, of the image, or is off"
    )
    scaling: Literal["global", "band"] = Field("global", description="min-max to [0, 1], over the cube or by band")
    renorm: bool = Field(False, description="restore the scene's mean and spread after every pass (our extension)")
    lr: float = Field(1e-4, gt=0, le=1, description="first learning rate of AdamW")
    final_lr: float = Field(1e-5, ge=0, le=1, description="learning rate at the end of the cosine")
    weight_decay: float = Field(0.01, ge=0, le=1, description="decoupled weight decay of AdamW")
    embed: int = Field(
        128, ge=2, le=1024, multiple_of=2, description="width of the spectral embedding, and number of time sinusoids"
    )
    inner: int = Field(200, ge=1, le=2048, description="hidden width of the outer blocks")
    width: int = Field(100, ge=1, le=1024, description="width between the outer and the inner blocks")
    code: int = Field(50, ge=1, le=1024, description="width of the bottleneck")
    time_width: int = Field(512, ge=1, le=4096, description="width of the time embedding and of the offset module")
    chunk: int = Field(2500, ge=1, description="pixels passed through the network at once; affects memory and speed only")
    show_every: int = Field(25, ge=1, description="steps between two score maps while training")

    @field_validator("t")
    @classmethod
    def _t_exists(cls, t: int, info: Any) -> int:
        T, gamma = info.data.get("T", 1000), info.data.get("gamma", "paper")
        last = T - (gamma == "official")  # there abar is an array of T entries, of which entry t is read
        if t > last:
            raise ValueError(f"must be at most {last} when T={T} and gamma={gamma!r}")
        return t


def mix(config: Config) -> Mixing:
    """(sqrt(abar_t), gamma_t) of this config; 0.2803 and 17.557 for the defaults, 0.2789 and 17.495 for "official"."""
    from workbench.parts.diffusion import linear_betas, mixing

    return mixing(linear_betas(config.T), config.t, config.mixing, config.gamma)
