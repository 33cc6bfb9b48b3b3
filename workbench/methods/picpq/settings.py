"""Settings of PIC-PQ."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from workbench.config import Odd, Settings, named_once
from workbench.event import Bars, Curves, Matrix

NEEDS = (("image", "hsi", "sar"), ("label", "truth"))
PAGE = "compression?method=picpq"
HEADLINE = ("accuracy_picpq", "bops_ratio_picpq", "accuracy_dense", "accuracy_lsq3")
SHOWS = (
    Curves("loss", ("loss",), own_steps=True),
    Curves("accuracy on validation chips", ("val_accuracy",), own_steps=True),
    Curves("loss of the candidates", ("search_loss", "search_best"), own_steps=True),
    Matrix("scale", "Scale a of each layer: logarithm, by candidate"),
    Matrix("shift", "Shift b of each layer, by candidate"),
    Bars("share", "Share of its filters that a layer keeps"),
    Bars("bits", "Bits of each layer", "bits"),
    Matrix("arm_bits", "Bits of each layer, all methods"),
    Bars("waterfall", "Bit operations: in float, pruned, pruned and quantised"),
    Bars("sensitivity", "Loss that 3 bits in this layer alone add, without training"),
)

PRUNED = ("hrank", "shuffled", "random", "uniform_l1", "global_l1", "legr")
UNPRUNED = ("lsq8", "lsq6", "lsq4", "lsq3", "caps", "cap-1", "greedy", "ptq8")
RIVALS = (*PRUNED, *UNPRUNED)
SMOKE: dict[str, Any] = {
    "network": "resnet20",
    "width": 4,
    "epochs": 1,
    "generations": 4,
    "population": 3,
    "tournament": 2,
    "steps": 1,
    "recover": 1,
    "quantize_epochs": 1,
    "target": 0.6,
    "rank_images": 16,
    "rivals": ["lsq3"],
}

# The authors' settings as far as their code tells them, for a ResNet-56 on CIFAR-10; hours on a GPU.
PAPER: dict[str, Any] = {
    "network": "resnet56",
    "epochs": 600,
    "batch": 128,
    "lr": 0.01,
    "augment": True,
    "target": 0.45,
    "group": "sum",
    "property_at": "convolution",
    "rank_images": 768,
    "generations": 400,
    "population": 64,
    "tournament": 16,
    "steps": 200,
    "redraws": 0,
    "recover": 400,
    "quantize_epochs": 800,
    "quantizer": "published",
    "ends": 32,
}


class Config(Settings):
    """Defaults train in minutes on two cores; `PAPER` has the authors' settings. docs/methods/picpq.md has the reasons."""

    network: Literal["resnet20", "resnet56", "resnet18", "vgg16", "mobilenetv2", "vgg", "resnet10", "cnn"] = Field(
        "resnet20", description="classifier; resnet18, resnet56, vgg16 and mobilenetv2 are those of the paper"
    )
    width: int = Field(16, ge=2, le=128, description="channels of the first stage; resnet18 and cnn have their own")
    stride: int = Field(
        1, ge=1, le=2, description="stride of the first convolution, resnet20 and resnet56; 2 quarters the cost"
    )
    size: int = Field(32, ge=4, le=512, description="longest side of a chip; larger ones are averaged down")
    patch: Odd = Field(9, ge=1, le=65, description="side of the patch around each labelled pixel of a scene, odd")
    numbers: tuple[int, int] | None = Field(
        None,
        description="chips whose last number is at most the first train, at most the second validate, the others test; none: by class",
    )
    test_share: float = Field(0.25, gt=0, lt=1, description="share held out for testing, if the scene has no split")
    val_share: float = Field(
        0.15, gt=0, lt=0.9, description="share of the training samples for choices; they are not trained on"
    )
    epochs: int = Field(20, ge=1, le=10_000, description="epochs of the network that is compressed")
    batch: int = Field(64, ge=2, le=4096, description="samples of a step")
    lr: float = Field(
        0.1, gt=0, le=10, description="first learning rate of SGD with Nesterov momentum 0.9; half a cosine to 0"
    )
    recover_lr: float = Field(0.02, gt=0, le=10, description="the same after pruning, after quantising, and in the search")
    weight_decay: float = Field(5e-4, ge=0, le=1, description="L2 penalty")
    augment: bool = Field(
        False, description="flip half of the training chips left to right; suitable for overhead images, not for digits"
    )
    target: float = Field(0.3, gt=0, le=1, description="share of the resource that is left, of the float network")
    resource: Literal["macs", "bops"] = Field(
        "macs", description="macs: as the authors' code; bops: the bit rule is applied inside the search, ours"
    )
    group: Literal["mean", "sum"] = Field(
        "mean", description="score of filters that go together: mean, or sum as in the authors' code"
    )
    safeguard: float = Field(0.1, ge=0, lt=1, description="share of its filters that every layer keeps, and at least two")
    round_to: int = Field(1, ge=1, le=64, description="layers keep a multiple of this; 8 runs faster than ragged widths")
    property_at: Literal["activation", "convolution"] = Field(
        "activation",
        description="where ranks are taken: after batch normalisation and ReLU, or before as in the authors' code",
    )
    rank_images: int = Field(256, ge=1, le=100_000, description="training chips whose feature maps give the ranks")
    generations: int = Field(30, ge=1, le=100_000, description="candidates of the search; the paper has 400")
    population: int = Field(12, ge=1, le=10_000, description="candidates alive at a time; the paper has 64")
    tournament: int = Field(4, ge=1, le=10_000, description="candidates among which a parent is the best; the paper has 16")
    redraws: int = Field(
        10,
        ge=0,
        le=1000,
        description="how often a candidate that keeps the same filters as an earlier one is changed again; the paper: 0",
    )
    steps: int = Field(10, ge=0, le=100_000, description="training steps before a candidate is judged; the paper has 200")
    quantizer: Literal["lsq", "published"] = Field(
        "lsq",
        description="lsq: learned steps, the default because it is better; published: DoReFa with a fixed clip, as the paper",
    )
    caps: tuple[int, ...] = Field(
        (8, 6, 4), min_length=1, description="largest bits of the layers, from first to last in equal parts"
    )
    penalty: float = Field(1 / 6, ge=0, le=10, description="p of the bit rule: a layer loses ceil(p / share kept) bits")
    ends: int = Field(8, description="bits of the first convolution and the classifier; 32 as in the paper")
    activation_bits: int | None = Field(
        None,
        ge=2,
        le=8,
        description="bits of the inputs of all layers; none: as the weights of the layer. With 8 the file needs no clipping, and is faster",
    )
    recover: int = Field(2, ge=0, le=10_000, description="epochs after pruning")
    quantize_epochs: int = Field(4, ge=0, le=10_000, description="epochs with quantised weights and activations")
    rivals: tuple[str, ...] = Field(RIVALS, description="compressed for comparison: " + ", ".join(RIVALS))
    files: bool = Field(
        False,
        description="also write the float and the compressed network as files, score these, and measure their latency on this machine; "
        "some twenty seconds",
    )
    show_every: int = Field(10, ge=1, description="candidates between two records of the search")

    @field_validator("rivals")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return named_once(names, RIVALS, "a rival")

    @field_validator("caps")
    @classmethod
    def _bits(cls, caps: tuple[int, ...]) -> tuple[int, ...]:
        if any(not 2 <= b <= 8 for b in caps):
            raise ValueError("are bits from 2 to 8; one bit needs another kind of quantiser")
        return caps

    @field_validator("ends")
    @classmethod
    def _of_the_ends(cls, ends: int) -> int:
        if ends not in (8, 32):
            raise ValueError("must be 8, or 32 for float")
        return ends

    @model_validator(mode="after")
    def _fits(self) -> Config:
        if self.quantizer == "published" and self.ends != 32:
            raise ValueError("quantizer=published clamps every input to 0 to 1, images too; give ends=32")
        if self.numbers and self.numbers[0] >= self.numbers[1]:
            raise ValueError("numbers must rise: the last training chip, then the last validation chip")
        return self
