"""MDFL: land cover of several sensors, from raw values and from what a diffusion model sees in them at several noise levels.

D. Li, W. Xie, J. Zhang, Y. Li, "MDFL: Multi-Domain Diffusion-Driven Feature Learning", AAAI 2024,
doi 10.1609/aaai.v38i8.28710, arXiv 2311.09520. What you get: a class map, accuracies beside rivals and controls under a named
split, and which noise level knows the classes.

We found no public code of MDFL and could read only the abstract: the design follows the published half of FedDiff (arXiv 2401.02433)
by the same first author. docs/methods/mdfl.md says what is known and what is ours.

    settings.py   Config
    patches.py    a scene as patches of each sensor: split, principal components, scaling, leak
    network.py    the classifier: raw and deep paths, fusion cell, three heads
    training.py   one step of the diffusion networks, one step of the classifier; banks
    running.py    run: diffusion networks of all arms, classifiers, result
    result.py     rows of accuracies, class map, noise levels
    blocks.py     a trained run on a scene larger than memory
    inside.py     a finished run from inside: any noise level, the spectrum of a pixel
"""

from typing import TYPE_CHECKING

from workbench.methods import lazily
from workbench.methods.mdfl.settings import HEADLINE, NEEDS, PAGE, SHOWS, SMOKE, Config

if TYPE_CHECKING:
    from workbench.methods.mdfl.inside import load_networks, noise_view, spectra
    from workbench.methods.mdfl.network import FusionCell, Reuse
    from workbench.methods.mdfl.running import run
else:
    __getattr__, __dir__ = lazily(__name__, "network", "running", "inside")


__all__ = [
    "HEADLINE",
    "NEEDS",
    "PAGE",
    "SHOWS",
    "SMOKE",
    "Config",
    "FusionCell",
    "Reuse",
    "load_networks",
    "noise_view",
    "run",
    "spectra",
]
