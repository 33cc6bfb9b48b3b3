"""The settings of FedFusion. Defaults train in a minute or two on two CPU cores."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field, field_validator

from workbench.data.patch_settings import once
from workbench.event import Bars, Curves, Film, Map, Matrix
from workbench.parts.exchange_settings import ExchangeSettings

SMOKE = {
    "steps": 4,
    "batch": 32,
    "per_class": 10,
    "average_every": 2,
    "rivals": ["dense", "random_basis:1"],
    "horizontal": ["fedavg", "local"],
    "rounds": 2,
    "local_steps": 2,
    "show_every": 2,
    "trees": 10,
}
NEEDS = (("hsi", "sar", "image", "lidar"), ("truth", "label"))
PAGE = "federation?method=fedfusion"
HEADLINE = ("oa", "aa", "oa_only_best", "ratio_total", "divergence")
SHOWS = (
    Curves("loss of each client", ("loss",), own_steps=True),
    Curves("payload sent so far", ("megabytes",), units="MB", own_steps=True),
    Curves("accuracy on test pixels (a probe)", ("probe_oa", "owner_oa"), own_steps=True),
    Curves("shared weights apart", ("apart",), own_steps=True),
    Film(
        ("feature", "rebuilt", "difference"),
        "64 feature maps of one test pixel: at their owner, rebuilt by the others, difference",
    ),
    Matrix("kept_energy", "Share of the features' energy that each rank keeps"),
    Curves("loss of FedAvg and rivals", ("round_loss",), own_steps=True),
    Curves("accuracy of their common weights (a probe)", ("round_oa",), own_steps=True),
    Curves("failed clients", ("failed",), own_steps=True),
    Matrix("clients", "Training pixels of each client, by class"),
    Map("labels", "Class map at the first owner"),
    Map("differ", "Sensors that disagree: heads of single sensors with another class"),
    Map("uncertainty", "Entropy of the class probabilities"),
    Matrix("confusion", "Confusion of test pixels"),
    Bars("recall", "Accuracy of each class"),
    Matrix("bytes", "Payload of a batch, both directions, by message and class of traffic"),
    Bars("oa_by_rank", "Accuracy of the trained network, by rank of the messages"),
    Matrix("area", "Mapped and estimated area of each class"),
)
Message = Literal["low_rank", "svd", "dense", "int8", "top_k", "random_basis", "zeros"]
MESSAGES: tuple[str, ...] = get_args(Message)
Horizontal = Literal["fedavg", "fedprox", "powersgd", "local", "pooled"]


class Config(ExchangeSettings):
    """docs/methods/fedfusion.md has the reason for each choice."""

    components: int = Field(
        500,
        ge=1,
        le=500,
        description="principal components of the cube, fitted on training pixels; fewer bands than this stay bands",
    )
    message: Message = Field("low_rank", description="how features travel between owners")
    rank: int = Field(
        4, ge=1, le=16, description="rank of a message; the maps have 4 x 4 places, so 16 loses nothing and saves nothing"
    )
    rivals: tuple[str, ...] = Field(
        ("dense", "low_rank:1", "random_basis:1", "int8", "top_k", "random_basis", "zeros"),
        description="further messages, as MESSAGE or MESSAGE:RANK; the random basis and zeros are controls",
    )
    horizontal: tuple[Horizontal, ...] = Field(
        ("fedavg", "fedprox", "powersgd", "local", "pooled"),
        description="learners on clients that have all sensors of their own places; powersgd: FedAvg whose updates are of low rank",
    )
    partition: Literal["site", "dirichlet", "strips"] = Field(
        "strips",
        description="how these clients' places differ: sites of the scene, classes by a Dirichlet draw, strips of the area",
    )
    clients: int = Field(4, ge=1, le=1000, description="clients of a partition by dirichlet or strips")
    alpha: float = Field(0.3, gt=0, le=1e6, description="of the Dirichlet draw: small gives each client few classes")
    network: Literal["mlp", "cnn", "vgg", "resnet10"] = Field(
        "mlp", description="their classifier; mlp sees the pixel, others its window"
    )
    rounds: int = Field(30, ge=1, le=100_000, description="rounds of FedAvg and FedProx")
    local_steps: int = Field(20, ge=1, le=100_000, description="optimiser steps of a client in a round")
    local_lr: float = Field(
        0.1,
        gt=0,
        le=10,
        description="learning rate of the clients' SGD in the first round; half a cosine to 0 over the rounds",
    )
    mu: float = Field(
        0.1, ge=0, le=1e6, description="weight of the proximal term of FedProx; mu * local_lr must stay well below 2"
    )
    powersgd_rank: int = Field(2, ge=1, le=512, description="rank of the updates of powersgd")
    away: float = Field(0.0, ge=0, lt=1, description="probability that a client misses a round")
    uneven: bool = Field(
        False, description="clients make between a quarter and all of their local steps, as slow machines do"
    )
    noise: float = Field(
        0.0,
        ge=0,
        le=1e6,
        description="z: deviation of the noise that a client adds to its update, in units of clip; 0: none, and no clipping",
    )
    clip: float = Field(1.0, gt=0, le=1e6, description="largest Euclidean norm of a client's update, where noise is added")
    delta: float = Field(1e-5, gt=0, lt=1, description="delta of the account of privacy")
    trees: int = Field(200, ge=1, le=100_000, description="trees of the random forest")
    map: bool = Field(True, description="also classify every pixel of the tested images")
    show_every: int = Field(50, ge=1, description="steps between two records of pictures and probes")

    @field_validator("rivals")
    @classmethod
    def _messages(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            parsed(name, 1)
        return once(names)

    @field_validator("horizontal")
    @classmethod
    def _once(cls, names: tuple) -> tuple:
        return once(names)


def parsed(rival: str, rank: int) -> tuple[str, int]:
    """(message, rank) of MESSAGE or MESSAGE:RANK. Raises ValueError for another form.

    >>> parsed("low_rank:1", 4), parsed("int8", 4)
    (('low_rank', 1), ('int8', 4))
    """
    kind, _, own = rival.partition(":")
    if kind not in MESSAGES or (own and not (own.isdigit() and 1 <= int(own) <= 16)):
        raise ValueError(
            f"{rival!r} is no message: give one of {', '.join(MESSAGES)}, or with a rank from 1 to 16, such as low_rank:1"
        )
    return kind, int(own or rank)
