"""TDDS: train once, score how much every sample changes the training, keep the important ones.

X. Zhang, J. Du, Y. Li, W. Xie, J. T. Zhou, "Spanning Training Progress: Temporal Dual-Depth Scoring (TDDS) for Enhanced
Dataset Pruning", CVPR 2024, pp. 26223-26232, arXiv 2311.13613. What you get: a score for every training sample, the coreset
of any budget without scoring again, the rivals' coresets from the same run, and the accuracy after training on each.

Symbols: p_t(n) the softmax of sample n in epoch t; d depth one, the change during an epoch; R depth two, the spread of d
in a window of J snapshots; S the moving average of R. The formula is that of the authors' code, which differs
from the paper's text; docs/methods/tdds.md explains our choices.

In this room a data set is a `workbench.data.samples.Samples`: chips, patches or pixels with labels.
"""

from typing import TYPE_CHECKING

from workbench.methods import lazily
from workbench.methods.tdds.settings import HEADLINE, NEEDS, NOTEBOOK, PAGE, PAPER, RIVALS, SHOWS, SMOKE, Config

if TYPE_CHECKING:
    from workbench.methods.tdds.choosing import length_of
    from workbench.methods.tdds.running import run
    from workbench.methods.tdds.samples import samples_of
    from workbench.methods.tdds.scoring import TDDS, PLabel, change, ema_weights, spread, trajectory_length, window_of
    from workbench.methods.tdds.training import Training, crop_flip, official_weight, train_on
else:
    __getattr__, __dir__ = lazily(__name__, "choosing", "running", "samples", "scoring", "training")


__all__ = [
    "HEADLINE",
    "NEEDS",
    "NOTEBOOK",
    "PAGE",
    "PAPER",
    "RIVALS",
    "SHOWS",
    "SMOKE",
    "TDDS",
    "Config",
    "PLabel",
    "Training",
    "change",
    "crop_flip",
    "ema_weights",
    "length_of",
    "official_weight",
    "run",
    "samples_of",
    "spread",
    "train_on",
    "trajectory_length",
    "window_of",
]
