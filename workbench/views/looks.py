"""Title, colour, dash and marker of every named method, the same on every page and in every figure.

    look("ridge-rx").colour                 # by name or by title, in any group
    look("entropy", UNCERTAINTY).title      # give the group where a name is ambiguous
    look("my method").title                 # an unknown name: the name itself, and a fixed colour from its hash

Colours have medium lightness, so that they are visible on white and on black, and are close to Okabe and Ito's palette. Two
lines of one group that colour-blind readers would confuse have different dashes; a test simulates this.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ORANGE, BLUE, GREEN, YELLOW = "#D9541E", "#3FA0E0", "#00A878", "#E69F00"
PINK, VIOLET, OLIVE, BROWN, RED, TEAL = "#CC79A7", "#8F6FCF", "#8A8A00", "#B07050", "#E0404A", "#4C9A9A"
GREY, INK = "#8A8A8A", "#333333"
# Marks on an image. Each has a form of its own, because a scene has every colour, such as red roofs: the truth is an outline with
# a dark border, flagged pixels are filled, and picks are rings with a dark border and a number.
TRUTH, BORDER, FLAGGED = "#FFFFFF", "#000000", "#00E5FF"
PICKS = (YELLOW, BLUE, GREEN, PINK, ORANGE, VIOLET, OLIVE, BROWN)  # a colour per pick, run, or unknown name
# Lines in these colours: colour-blind readers confuse some of the colours, but not colour and dash together.
PICK_DASHES = ("solid", "solid", "solid", "solid", "dashed", "dotted", "dotdash", "dashed")
# Colours of the classes of a map, by their number: a class keeps its colour whichever others are in the picture. Each is the farthest
# from those before it in CIELAB, for usual eyes and for three kinds of colour-blind ones (Machado, Oliveira and Fernandes, 2009).
CLASSES = (
    "#E69F00", "#5283CB", "#B61616", "#7A1BDA", "#ACF4A4", "#7E2675", "#9F8256", "#EB5C95", "#EEAAEE", "#5147AE", "#98BE60", "#156615",
    "#E6E637", "#A92366", "#45D99E", "#6A4D39", "#5B9D2F", "#A35CEB", "#9F569F", "#D572B7", "#A4A4F4", "#D945CA", "#C0EB5C", "#7DCA7D",
)  # fmt: skip
# words of the names of scalars -> as printed
WORDS = {
    "val": "validation", "lr": "learning rate", "auc": "AUC", "auroc": "AUROC", "f1": "F1", "iou": "IoU", "ap": "AP", "ap50": "AP50",
    "oa": "OA", "aa": "AA",
}  # fmt: skip
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
    "pca-rx": Look("PCA-RX", GREEN, "dotdash", "v"),
    "rp-rx": Look("RP-RX", BROWN, "dashed", "d"),
    "local-rx": Look("local RX", PINK, "dashed", "P"),
    "crd": Look("CRD", VIOLET, "dotdash", "<"),
    "kifd": Look("kernel forest", RED, "dotdash", ">"),
    "auto-ad": Look("autoencoder", TEAL, "dotdash", "p"),
    "affine": Look("affine oracle", OLIVE, "dotted", "X"),
    "untrained": Look("BSDM untrained", YELLOW, "dashed", "D"),
    "trained": Look("BSDM trained", ORANGE),
    "bsdm": Look("BSDM", ORANGE),
}
# change detectors
CHANGE: Group = {
    "ours": Look("AR-CDNet", ORANGE),
    "fc_siam_diff": Look("FC-Siam-diff", BLUE, "solid", "^"),
    "fc_siam_conc": Look("FC-Siam-conc", VIOLET, "dashed", "v"),
    "fc_ef": Look("FC-EF", GREEN, "solid", "s"),
    "mc_dropout": Look("MC dropout", PINK, "dotdash", "P"),
    "ensemble": Look("ensemble of 3", OLIVE, "dotdash", "X"),
    "cva": Look("CVA + Otsu", YELLOW, "dotted", "d"),
    "pca_kmeans": Look("PCA-k-means", BROWN, "dotted", "D"),
    "log_ratio": Look("log-ratio + Otsu", GREY, "dotted", "*"),
}
# detectors of objects
DETECTORS: Group = {
    "sarnet": Look("SAR-Net", ORANGE),
    "plain": Look("plain neck", BLUE, "solid", "^"),
    "wide": Look("plain neck, equal parameters", GREEN, "dashed", "v"),
    "ucm": Look("UCM alone", VIOLET, "dotdash", "P"),
    "dam": Look("DAM alone", PINK, "solid", "X"),
    "ucm_low": Look("UCM, low half", OLIVE, "dotted", "<"),
    "ucm_high": Look("UCM, high half", BROWN, "dotdash", ">"),
    "se": Look("UCM + SE", TEAL, "dotted", "p"),
    "cbam": Look("UCM + CBAM", "#5B7FD0", "dashed", "h"),
    "coordinate": Look("UCM + coordinate attention", "#8A3B12", "dashed", "H"),
    "shuffled_gates": Look("control: gates of another image", "#6F7F8F", "dotdash", "D"),
    "random_boxes": Look("control: random boxes", GREY, "dotted", "*"),
    "ca_cfar": Look("CA-CFAR", GREY, "solid", "s"),
    "os_cfar": Look("OS-CFAR", YELLOW, "dashed", "d"),
}
# measures of uncertainty
UNCERTAINTY: Group = {
    "ours": Look("U of AR-CDNet", ORANGE),
    "entropy": Look("entropy of P", BLUE),
    "max_probability": Look("1 − max(P, 1 − P)", GREEN),
    "variance": Look("2P(1 − P)", YELLOW),
    "temperature": Look("temperature scaling", VIOLET, "dashed"),
    "probability": Look("P itself", RED, "dotted"),
    "isotonic": Look("isotonic(P)", TEAL, "dotted"),
    "mc_dropout": Look("MC dropout", PINK, "dotdash"),
    "ensemble": Look("ensemble of 3", OLIVE, "dotdash"),
    "shuffled": Look("control: shuffled targets", BROWN, "dashed"),
    "untrained": Look("control: untrained branch", GREY, "dashed"),
}
# selectors of coresets
SELECTORS: Group = {
    "tdds": Look("TDDS", ORANGE),
    "random": Look("random", GREY, "dashed", "s"),
    "random_balanced": Look("random by class", "#6F7F8F", "dotdash", "D"),
    "el2n": Look("EL2N", BLUE, "solid", "^"),
    "grand": Look("GraNd", "#5B7FD0", "dashed", "v"),
    "forgetting": Look("forgetting", VIOLET, "dotdash", "P"),
    "aum": Look("AUM", PINK, "solid", "X"),
    "ccs": Look("CCS", GREEN, "solid", "d"),
    "tdds_ccs": Look("TDDS in strata", "#8A3B12", "dashed", "h"),
    "el2n_ccs": Look("EL2N in strata", "#1F4E9E", "dashed", "H"),
    "dyn_unc": Look("Dyn-Unc", OLIVE, "dotted", "<"),
    "dual": Look("DUAL", BROWN, "dotted", ">"),
    "entropy": Look("entropy", YELLOW, "dotted", "*"),
    "margin": Look("margin", TEAL, "dotted", "p"),
}
# compressors of gradients
COMPRESSORS: Group = {
    "rsdgc": Look("RS-DGC", ORANGE),
    "rsdgc-uniform": Look("RS-DGC's score, equal shares", "#8A3B12", "dashed", "h"),
    "magnitude-dynamic": Look("magnitude, RS-DGC's budget", "#1F4E9E", "dashed", "H"),
    "magnitude-uniform": Look("magnitude, equal shares", "#6F7F8F", "dotted", "*"),
    "dense": Look("dense", GREY, "solid", "s"),
    "fp16": Look("float16", BLUE, "dashed", "D"),
    "powersgd": Look("PowerSGD", VIOLET, "dotdash", "X"),
    "topk": Look("Top-k", GREEN, "dashed", "^"),
    "randomk": Look("Random-k", BROWN, "dotted", "v"),
    "dgc": Look("DGC", YELLOW, "dotdash", "P"),
    "no-feedback": Look("no error feedback", PINK, "dashed", "d"),
}
# parts of the loss of AR-CDNet
PARTS: Group = {
    "final": Look("final map", ORANGE),
    "side_2": Look("side map 2", GREEN),
    "side_3": Look("side map 3", BLUE),
    "side_4": Look("side map 4", VIOLET, "dashed"),
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
    "cut": Look("threshold", RED, "dashed"),
    "hit": Look("found", BLUE),
    "false alarm": Look("false alarm", ORANGE),
    "missed": Look("missed", YELLOW, "dashed"),
    "true box": Look("true box", TRUTH, "dotted"),
}
# status of a run
STATUS: Group = {
    "idle": Look("No run yet", GREY),
    "queued": Look("Waiting in the queue", BLUE),
    "starting": Look("Starting", BLUE),
    "running": Look("Running", GREEN),
    "pausing": Look("Pausing after this step", YELLOW),
    "paused": Look("Paused", YELLOW),
    "finished": Look("Finished", GREEN),
    "stopped": Look("Stopped", YELLOW),
    "failed": Look("Failed", RED),
    "killed": Look("Killed", RED),
    "damaged": Look("Damaged", RED),
}
GROUPS: tuple[Group, ...] = (
    ANOMALY, CHANGE, DETECTORS, SELECTORS, COMPRESSORS, UNCERTAINTY, PARTS, REFERENCES, STATES, STATUS,
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


def looks_in_curves(names: Sequence[str], among: Sequence[str] = ()) -> list[Look]:
    """The looks of the scalars `quantity/who` of a plot: the look of `who` if known, else colours that no known one has.

    among: quantities of the plot. A reference such as `auc_rx` in a plot of `auc`, or of `auc_pass`, has the look of RX.

    >>> [one.title for one in looks_in_curves(["accuracy/topk", "auc_ridge_rx"], ["auc"])]
    ['Top-k', 'ridge-RX']
    >>> loss, floor = looks_in_curves(["loss", "sigma2"])
    >>> floor.colour == YELLOW, loss.colour == YELLOW
    (True, False)
    """
    known = {name: one for name in names if (one := _known(name, among)) is not None}
    taken = {one.colour for one in known.values()}
    common = {one.colour for one in REFERENCES.values()}  # last, so that they mean a reference in all plots of a page
    free = sorted((n for n, c in enumerate(PICKS) if c not in taken), key=lambda n: PICKS[n] in common) or [
        *range(len(PICKS))
    ]
    unknown = [name for name in names if name not in known]
    return [known.get(name) or nth(free[unknown.index(name) % len(free)], _spelled(name, len(among) != 1)) for name in names]


def _known(name: str, among: Sequence[str]) -> Look | None:
    """The look of what a scalar is about, if it has one."""
    _, _, who = name.partition("/")
    keys = [who] if who else [name, *(name.removeprefix(f"{a}_") for a in among), name.partition("_")[2]]
    # references first: an untrained network is a control of several methods, in ANOMALY it is that of BSDM
    groups = (REFERENCES, ANOMALY, CHANGE, DETECTORS, SELECTORS, COMPRESSORS)
    for key in (spelled for one in keys for spelled in (one, one.replace("_", "-"))):
        if key != "ours" and any(key in group for group in groups):  # "ours" is a different method in each group
            return look(key, *groups)
    return None


def _spelled(name: str, several: bool) -> str:
    """The title of an unknown scalar; of `quantity/who` only `who`, unless there are several quantities.

    >>> _spelled("val_error_auroc", several=False)
    'validation error AUROC'
    """
    quantity, _, who = name.partition("/")
    text = " ".join(WORDS.get(word, word) for word in quantity.split("_"))
    return who if who and not several else f"{text}, {who}" if who else text


def nth(place: int, title: str) -> Look:
    """The look of the pick, run or line at this index.

    >>> nth(1, "a run").colour == PICKS[1]
    True
    """
    return Look(title, PICKS[place % len(PICKS)], PICK_DASHES[place % len(PICKS)])


def class_colours(count: int) -> list[str]:
    """The colours of classes 0 to count - 1; the 24 colours repeat where there are more classes.

    >>> class_colours(3) == class_colours(20)[:3]
    True
    """
    return [CLASSES[n % len(CLASSES)] for n in range(count)]


def rgb(colour: str) -> tuple[int, int, int]:
    """`#RRGGBB` as three numbers from 0 to 255.

    >>> rgb("#D9541E")
    (217, 84, 30)
    """
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue
