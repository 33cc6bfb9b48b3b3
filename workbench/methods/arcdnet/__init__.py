"""AR-CDNet: a map of what changed between two dates, and of how far each of its pixels may be wrong.

Z. Li, C. Tang, X. Li, W. Xie, K. Sun, X. Zhu, "Towards Accurate and Reliable Change Detection of Remote Sensing Images via
Knowledge Review and Online Uncertainty Estimation", 2023, arXiv 2305.19513 version 1 (version 2, of 2024, carries another
title and another method). What you get: a probability of change P and an uncertainty U, learnt while P is: a branch is shown
its error |y - P| and predicts it. Beside it rivals, classical and learnt; plain entropy of the same P, which costs nothing;
MC dropout and ensembles; and controls that could not know.

    settings.py   Config; PAPER, what the authors' code trains with
    network.py    the network, steps 1 to 6, and how far its outputs look
    loss.py       step 7: losses, the target of U and its entropy floor, the learning rate
    pairs.py      a scene as pairs: what trains and what tests, and the crops
    training.py   one step of the network, its controls and its rivals
    tiles.py      any image size, tile by tile; weights of a finished run; the inspector of knowledge review
    running.py    run: train, watch one pair, judge on what was held out
    judging.py    maps, scores, uncertainty against error: the result

Where we differ from the authors' code, and why: docs/methods/arcdnet.md.
"""

from workbench.methods.arcdnet.network import ARCDNet, Output, from_conv3d, load_encoder, reach
from workbench.methods.arcdnet.running import NEEDS, run
from workbench.methods.arcdnet.settings import HEADLINE, NOTEBOOK, PAPER, SHOWS, SMOKE, Config
from workbench.methods.arcdnet.tiles import Trained, exchange_gap, inspect, load_network, predict, predict_to_cog

__all__ = [
    "HEADLINE",
    "NEEDS",
    "NOTEBOOK",
    "PAPER",
    "SHOWS",
    "SMOKE",
    "ARCDNet",
    "Config",
    "Output",
    "Trained",
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
