"""AR-CDNet: a change map of two dates, and the uncertainty of each pixel.

Z. Li, C. Tang, X. Li, W. Xie, K. Sun, X. Zhu, "Towards Accurate and Reliable Change Detection of Remote Sensing Images via
Knowledge Review and Online Uncertainty Estimation", 2023, arXiv 2305.19513 version 1 (version 2, of 2024, has another
title and another method). What you get: a probability of change P and an uncertainty U, learnt together with P: a branch
learns to predict the error |y - P|. For comparison: classical and learnt rivals; the entropy of the same P, which needs no
training; MC dropout and ensembles; and controls without information about the error.

    settings.py   Config; PAPER, the settings of the authors' code
    network.py    the network, steps 1 to 6, and the reach of its outputs
    loss.py       step 7: losses, the target of U and its entropy floor, the learning rate
    pairs.py      a scene as pairs: the split into training and test, and the crops
    training.py   one step of the network, its controls and its rivals
    tiles.py      inference at any image size, tile by tile; loading weights; the inspector of knowledge review
    running.py    run: train, watch one pair, evaluate on the held-out part
    result.py     maps, scores, uncertainty against error: the result
    compressing.py  what a compression of the trained network needs

Differences from the authors' code and their reasons: docs/methods/arcdnet.md.
"""

from typing import TYPE_CHECKING

from workbench.methods import lazily
from workbench.methods.arcdnet.settings import HEADLINE, NEEDS, NOTEBOOK, PAGE, PAPER, SHOWS, SMOKE, Config

if TYPE_CHECKING:
    from workbench.methods.arcdnet.compressing import compressible
    from workbench.methods.arcdnet.network import ARCDNet, Output, from_conv3d, load_encoder, reach
    from workbench.methods.arcdnet.running import run
    from workbench.methods.arcdnet.tiles import Trained, exchange_gap, inspect, load_network, predict, predict_to_cog
else:
    __getattr__, __dir__ = lazily(__name__, "network", "running", "tiles", "compressing")


__all__ = [
    "HEADLINE",
    "NEEDS",
    "NOTEBOOK",
    "PAGE",
    "PAPER",
    "SHOWS",
    "SMOKE",
    "ARCDNet",
    "Config",
    "Output",
    "Trained",
    "compressible",
    "exchange_gap",
    "from_conv3d",
    "inspect",
    "load_encoder",
    "load_network",
    "predict",
    "predict_to_cog",
    "reach",
    "run",
]
