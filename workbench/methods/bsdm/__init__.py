"""BSDM: suppress the background of a hyperspectral cube with a diffusion model.

J. Ma, W. Xie, Y. Li, L. Fang, "BSDM: Background Suppression Diffusion Model for Hyperspectral Anomaly Detection", 2023,
arXiv 2307.09861. What you get: the cube after each of K passes through a denoiser trained on that cube alone, for any
detector; here global RX scores it, together with controls that show how much of the gain comes from training.

The symbols are the paper's: H the cube, x_0 the cube scaled to [0, 1], eps the pseudo background noise, t the diffusion
time, gamma_t the factor of a noise that is equal at every step, K the number of passes. We could read the abstract
and the supplement of the paper, not its body; they give no equation for the network, so we follow the published description of its
layers. Differences and their reasons: docs/methods/bsdm.md.

In this room a cube is `spectra (P, C)`: its P valid pixels, C used bands. No operation uses neighbouring pixels.
"""

from typing import TYPE_CHECKING

from workbench.methods import lazily
from workbench.methods.bsdm.settings import HEADLINE, NEEDS, NOTEBOOK, PAGE, SHOWS, SMOKE, Config, mix

if TYPE_CHECKING:
    from workbench.methods.bsdm.network import Denoiser, Offset, TimeEmbedding, lattice, moments, tanh
    from workbench.methods.bsdm.running import run
    from workbench.methods.bsdm.spectra import Frame, detected, scaled, spectra_of
    from workbench.methods.bsdm.suppression import affine_oracle, predictor, suppress, suppressed
    from workbench.methods.bsdm.training import Training, learning_rate, pseudo_background, squared_error
    from workbench.methods.bsdm.transfer import apply, channel_align, restore
else:
    __getattr__, __dir__ = lazily(__name__, "network", "running", "spectra", "suppression", "training", "transfer")


__all__ = [
    "HEADLINE",
    "NEEDS",
    "NOTEBOOK",
    "PAGE",
    "SHOWS",
    "SMOKE",
    "Config",
    "Denoiser",
    "Frame",
    "Offset",
    "TimeEmbedding",
    "Training",
    "affine_oracle",
    "apply",
    "channel_align",
    "detected",
    "lattice",
    "learning_rate",
    "mix",
    "moments",
    "predictor",
    "pseudo_background",
    "restore",
    "run",
    "scaled",
    "spectra_of",
    "squared_error",
    "suppress",
    "suppressed",
    "tanh",
]
