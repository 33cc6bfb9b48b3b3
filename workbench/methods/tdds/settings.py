"""Settings of TDDS."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from workbench.config import Odd, Settings, WriteFile, named_once
from workbench.errors import did_you_mean
from workbench.event import Curves, Film

NEEDS = (("image", "hsi", "sar"), ("label", "truth"))
SMOKE = {"epochs": 4, "J": 3, "batch": 64, "iterations": 12, "size": 16}
HEADLINE = ("accuracy_tdds", "accuracy_full", "accuracy_random")
SHOWS = (
    Curves("test accuracy", ("test_accuracy",), own_steps=True),
    Curves("loss", ("loss",), own_steps=True),
    Film(("score",), "Score of the training samples, from the epochs so far"),
    Film(("p_label",), "Probability of the label"),
)
NOTEBOOK = "coresets"
PAGE = "coresets"

RIVALS = ("random", "random_balanced", "el2n", "grand", "forgetting", "aum", "ccs", "dyn_unc", "dual", "entropy", "margin")

NETWORKS = ("cnn", "resnet10", "vgg", "mlp", "resnet18")  # names of `workbench.parts.networks`

STRATIFIED = ("tdds_ccs", "el2n_ccs")  # the same scores, chosen as CCS chooses; only where `compare` names them

# The authors' training, as overrides: 200 epochs of a ResNet-18.
PAPER: dict[str, Any] = {
    "network": "resnet18",
    "epochs": 200,
    "batch": 100,
    "lr": 0.1,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "augment": "crop-flip",
    "J": 10,
}


class Config(Settings):
    """Defaults suit a laptop and 30 epochs; `PAPER` has the authors' training, whose score uses windows of J=10."""

    network: Literal["auto", "cnn", "resnet10", "vgg", "mlp", "resnet18"] = Field(
        "auto", description="classifier that scores, and that is trained on the coresets; auto: mlp for pixels, else cnn"
    )
    networks: tuple[str, ...] = Field(
        (),
        description="further classifiers that are trained on the same coresets, and on all samples, to see whether the choice "
        "of one network is good for another: " + ", ".join(NETWORKS),
    )
    epochs: int = Field(30, ge=3, le=10_000, description="epochs of the scoring run")
    batch: int = Field(32, ge=1, description="samples of an optimiser step")
    lr: float = Field(0.02, gt=0, le=10, description="first learning rate of SGD; decreases to 0 as a cosine over the steps")
    momentum: float = Field(0.9, ge=0, lt=1, description="Nesterov momentum")
    weight_decay: float = Field(5e-4, ge=0, le=1, description="L2 penalty")
    augment: Literal["crop-flip"] | None = Field(
        None,
        description="crop-flip: crop after padding by 4 with black and flip left-right, as in the paper; none: no augmentation",
    )
    difference: Literal["abs", "kl", "loss"] = Field(
        "abs", description="depth one: class-wise absolute sum, KL, or loss of the label"
    )
    J: int = Field(5, ge=3, description="window of depth two in epochs; it has J - 1 changes")
    T: int | None = Field(
        None, ge=3, description="epochs that the score uses; none: depends on keep, fewer for smaller coresets (our rule)"
    )
    beta: float = Field(0.9, gt=0, le=1, description="weight of the newest window in the moving average")
    clean_pass: bool = Field(
        False, description="record an extra pass in evaluation mode each epoch, not the training passes"
    )
    keep: float = Field(0.3, gt=0, le=1, description="share of training samples kept; 1 - keep is pruned")
    balance: Literal["class"] | None = Field(
        None, description="class: every class keeps its share, and at least one sample if the budget allows it"
    )
    loss_scale: Literal["official"] | None = Field(
        None,
        description="official: coreset losses times the batch mean of the scores, an undocumented step of the authors' script",
    )
    compare: tuple[str, ...] = Field(
        ("tdds", "random"),
        description="selectors whose coresets are trained on: tdds and rivals; tdds_ccs: TDDS scores chosen as CCS does; [] for none",
    )
    budgets: tuple[float, ...] = Field(
        (), description="further shares kept at which the coresets of compare are trained on, from the same scores"
    )
    iterations: int | None = Field(
        None, ge=1, description="steps of every coreset's training; none: as many as the scoring run"
    )
    label_noise: float = Field(
        0.0, ge=0, lt=1, description="share of training labels changed to wrong ones on purpose, to test the selectors"
    )
    test_share: float = Field(0.25, gt=0, lt=1, description="share held out for testing, if the scene has no split")
    size: int = Field(64, ge=4, le=1024, description="chips larger than this are reduced to it by area averaging")
    patch: Odd = Field(
        1, ge=1, le=65, description="side of the patch around each labelled pixel of a scene, odd; 1: the spectrum"
    )
    block: int = Field(
        16,
        ge=2,
        description="side of the tiles by which labelled pixels are split, so that test pixels are apart from training pixels",
    )
    trajectories: bool = Field(
        True, description="keep p_label and d of every epoch in the result: 8 bytes per sample and epoch"
    )
    log: WriteFile = Field(None, description="folder for a Zarr log of all logits")
    show_every: int = Field(1, ge=1, description="epochs between two events with scores")

    @field_validator("J")
    @classmethod
    def _window_fits(cls, J: int, info: Any) -> int:
        if info.data.get("epochs", J) < J:
            raise ValueError(f"must be at most epochs={info.data['epochs']}")
        return J

    @field_validator("T")
    @classmethod
    def _trajectory_fits(cls, T: int | None, info: Any) -> int | None:
        J, epochs = info.data.get("J", 3), info.data.get("epochs", T)
        if T is not None and not J <= T <= epochs:
            raise ValueError(f"must lie between J={J} and epochs={epochs}")
        return T

    @field_validator("compare")
    @classmethod
    def _known(cls, compare: tuple[str, ...]) -> tuple[str, ...]:
        known = ("tdds", *RIVALS, *STRATIFIED)
        for name in compare:
            if name not in known:
                raise ValueError(f"there is no selector {name!r}; there are {', '.join(known)}.{did_you_mean(name, known)}")
        return compare

    @field_validator("networks")
    @classmethod
    def _networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        return named_once(networks, NETWORKS, "a network")

    @field_validator("budgets")
    @classmethod
    def _shares(cls, budgets: tuple[float, ...]) -> tuple[float, ...]:
        for keep in budgets:
            if not 0 < keep <= 1:
                raise ValueError(f"are shares kept, above 0 and at most 1; {keep:g} is not")
        if len({f"{keep:g}" for keep in budgets}) < len(budgets):
            raise ValueError("must differ")
        return budgets
