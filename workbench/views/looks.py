"""Title, colour, dash and marker of every named method, the same on every page and in every figure.

    look("ridge-rx").colour                 # by name or by title, in any group
    look("entropy", UNCERTAINTY).title      # give the group where a name is ambiguous
    look("my method").title                 # an unknown name: the name itself, and a fixed colour from its hash

Colours have medium lightness, so that they are visible on white and on black, and are close to Okabe and Ito's palette, so
that colour-blind readers can distinguish them.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ORANGE, BLUE, GREEN, YELLOW = "#D9541E", "#3FA0E0", "#00A878", "#E69F00"
PINK, VIOLET, OLIVE, BROWN, RED = "#CC79A7", "#8F6FCF", "#8A8A00", "#B07050", "#E0404A"
GREY, INK = "#8A8A8A", "#333333"
TRUTH = "#FF3DA5"  # outline of the truth
PICKS = (YELLOW, BLUE, GREEN, PINK, ORANGE, VIOLET, OLIVE, BROWN)  # a colour per pick, run, or unknown name
DASHES = {"solid": "-", "dashed": "--", "dotted": ":", "dotdash": "-."}  # Bokeh's name -> matplotlib's
MARKERS = "os^vDPXd<>*p"


@dataclass(frozen=True)
class Look:
    """title: as printed. dash: solid, dashed, dotted or dotdash, as Bokeh calls it. marker: as matplotlib calls it."""

    title: str
    colour: str
    dash: str = "solid"
    marker: str = "o"

    @property
    def line(self) -> str:
        """The dash as matplotlib calls it."""
        return DASHES[self.dash]


Group = Mapping[str, Look]

# anomaly detectors
ANOMALY: Group = {
    "rx": Look("RX", GREY, "solid", "s"),
    "ridge-rx": Look("ridge-RX", BLUE, "solid", "^"),
    "pca-rx": Look("PCA-RX", GREEN, "solid", "v"),
    "rp-rx": Look("RP-RX", BROWN, "dashed", "d"),
    "local-rx": Look("local RX", PINK, "solid", "P"),
    "crd": Look("CRD", VIOLET, "dotdash", "<"),
    "kifd": Look("kernel forest", RED, "dotdash", ">"),
    "auto-ad": Look("autoencoder", "#4C9A9A", "dotdash", "p"),
    "affine": Look("affine oracle", OLIVE, "dotted", "X"),
    "untrained": Look("BSDM untrained", YELLOW, "dashed", "D"),
    "trained": Look("BSDM trained", ORANGE),
    "bsdm": Look("BSDM", ORANGE),
}
# change detectors
CHANGE: Group = {
    "ours": Look("AR-CDNet", ORANGE),
    "fc_siam_diff": Look("FC-Siam-diff", BLUE, "solid", "^"),
    "fc_siam_conc": Look("FC-Siam-conc", VIOLET, "solid", "v"),
    "fc_ef": Look("FC-EF", GREEN, "solid", "s"),
    "mc_dropout": Look("MC dropout", PINK, "dotdash", "P"),
    "ensemble": Look("ensemble of 3", OLIVE, "dotdash", "X"),
    "cva": Look("CVA + Otsu", YELLOW, "dotted", "d"),
    "pca_kmeans": Look("PCA-k-means", BROWN, "dotted", "D"),
    "log_ratio": Look("log-ratio + Otsu", GREY, "dotted", "*"),
}
# measures of uncertainty
UNCERTAINTY: Group = {
    "ours": Look("U of AR-CDNet", ORANGE),
    "entropy": Look("entropy of P", BLUE),
    "max_probability": Look("1 − max(P, 1 − P)", GREEN),
    "variance": Look("2P(1 − P)", YELLOW),
    "temperature": Look("temperature scaling", VIOLET),
    "probability": Look("P itself", RED, "dotted"),
    "isotonic": Look("isotonic(P)", "#4C9A9A", "dotdash"),
    "mc_dropout": Look("MC dropout", PINK),
    "ensemble": Look("ensemble of 3", OLIVE),
    "shuffled": Look("control: shuffled targets", BROWN, "dashed"),
    "untrained": Look("control: untrained branch", GREY, "dashed"),
}
# selectors of coresets
SELECTORS: Group = {
    "tdds": Look("TDDS", ORANGE),
    "random": Look("random", GREY, "dashed", "s"),
    "random_balanced": Look("random by class", "#6F7F8F", "dashed", "D"),
    "el2n": Look("EL2N", BLUE, "solid", "^"),
    "grand": Look("GraNd", "#5B7FD0", "solid", "v"),
    "forgetting": Look("forgetting", VIOLET, "dotdash", "P"),
    "aum": Look("AUM", PINK, "dotdash", "X"),
    "ccs": Look("CCS", GREEN, "solid", "d"),
    "dyn_unc": Look("Dyn-Unc", OLIVE, "dotted", "<"),
    "dual": Look("DUAL", BROWN, "dotted", ">"),
    "entropy": Look("entropy", YELLOW, "dotted", "*"),
    "margin": Look("margin", "#4C9A9A", "dotted", "p"),
}
# compressors of gradients
COMPRESSORS: Group = {
    "rsdgc": Look("RS-DGC", ORANGE),
    "dense": Look("dense", GREY, "solid", "s"),
    "fp16": Look("float16", BLUE, "dashed", "D"),
    "powersgd": Look("PowerSGD", VIOLET, "dotdash", "X"),
    "topk": Look("Top-k", GREEN, "solid", "^"),
    "randomk": Look("Random-k", BROWN, "dotted", "v"),
    "dgc": Look("DGC", YELLOW, "dotdash", "P"),
    "no-feedback": Look("no error feedback", PINK, "dashed", "d"),
}
# parts of the loss of AR-CDNet
PARTS: Group = {
    "final": Look("final map", ORANGE),
    "side_2": Look("side map 2", GREEN),
    "side_3": Look("side map 3", BLUE),
    "side_4": Look("side map 4", VIOLET),
    "side_5": Look("side map 5", PINK),
    "uncertainty": Look("uncertainty", YELLOW),
    "floor": Look("its entropy floor", GREY, "dashed"),
}
# reference lines of curves; a detector has the same colour as in ANOMALY
REFERENCES: Group = {
    "rx": Look("RX", GREY, "solid", ""),
    "ridge-rx": Look("ridge-RX", BLUE, "dotted", ""),
    "pca-rx": Look("PCA-RX", GREEN, "dotdash", ""),
    "untrained": Look("untrained", YELLOW, "dashed", ""),
    "full": Look("all samples", GREY, "dotted", ""),
    "chance": Look("chance", GREY, "dotted", ""),
    "equal": Look("as unsure as wrong", GREY, "dashed", ""),
    "sigma2": Look("σ² (mean alone)", YELLOW, "dashed", ""),
    "sigma2_code": Look("σ²(1−code/C)", GREEN, "dotted", ""),
}
# state of a sample, an entry or a pixel
STATES: Group = {
    "kept": Look("kept", ORANGE),
    "dropped": Look("dropped", GREY),
    "dropped on a scene": Look("dropped", BLUE),  # grey is not visible on the faded scene
    "right": Look("right", BLUE),
    "wrong": Look("wrong", ORANGE),
    "wrong label": Look("wrong label", BLUE),
    "window": Look("window of the score", YELLOW),
}
# status of a run
STATUS: Group = {
    "idle": Look("No run yet", GREY),
    "starting": Look("Starting", BLUE),
    "running": Look("Running", GREEN),
    "paused": Look("Paused", YELLOW),
    "finished": Look("Finished", GREEN),
    "stopped": Look("Stopped", YELLOW),
    "failed": Look("Failed", RED),
    "killed": Look("Killed", RED),
}
GROUPS: tuple[Group, ...] = (
    ANOMALY, CHANGE, SELECTORS, COMPRESSORS, UNCERTAINTY, PARTS, REFERENCES, STATES, STATUS,
)  # fmt: skip


def look(name: str, *groups: Group) -> Look:
    """The look of a name or title, searched in these groups (default: all); an unknown name gets one from its hash.

    >>> look("ridge-rx") is look("ridge-RX")
    True
    >>> look("entropy").title, look("entropy", UNCERTAINTY).title
    ('entropy', 'entropy of P')
    >>> look("my method") == look("my method")
    True
    """
    for group in groups or GROUPS:
        if name in group:
            return group[name]
    for group in groups or GROUPS:
        for known in group.values():
            if known.title == name:
                return known
    place = zlib.crc32(name.encode())
    return Look(name, PICKS[place % len(PICKS)], [*DASHES][place // 8 % 4], MARKERS[place // 32 % len(MARKERS)])


def look_in_curves(name: str, place: int, among: Sequence[str] = ()) -> Look:
    """The look of a scalar `quantity/who` in a plot: the look of `who` if known, else a colour by `place`, its index.

    among: quantities of the plot. A reference such as `auc_rx` in a plot of `auc` has the look of RX.

    >>> look_in_curves("accuracy/topk", 0).title, look_in_curves("auc_ridge_rx", 0, ["auc"]).title
    ('Top-k', 'ridge-RX')
    >>> look_in_curves("loss/my method", 1).colour == PICKS[1]
    True
    """
    quantity, _, who = name.partition("/")
    prefix = next((f"{a}_" for a in among if name.startswith(f"{a}_")), "")
    key = who or (name.removeprefix(prefix).replace("_", "-") if prefix else name)
    known = (ANOMALY, CHANGE, SELECTORS, COMPRESSORS, REFERENCES)
    if key != "ours" and any(key in group for group in known):  # "ours" is a different method in each group
        return look(key, *known)
    text = quantity.replace("_", " ")
    return Look(who if who and len(among) == 1 else f"{text}, {who}" if who else text, PICKS[place % len(PICKS)])


def rgb(colour: str) -> tuple[int, int, int]:
    """`#RRGGBB` as three numbers from 0 to 255.

    >>> rgb("#D9541E")
    (217, 84, 30)
    """
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue
