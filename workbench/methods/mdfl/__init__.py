"""MDFL: land cover of several sensors, from raw values and from what a diffusion model sees in them at several noise levels.

D. Li, W. Xie, J. Zhang, Y. Li, "MDFL: Multi-Domain Diffusion-Driven Feature Learning", AAAI 2024,
doi 10.1609/aaai.v38i8.28710, arXiv 2311.09520. What you get: a class map, accuracies beside rivals and controls under a named
split, and which noise level knows the classes.

We found no public code of MDFL and could read only the abstract: the design follows the published half of FedDiff (arXiv 2401.02433)
by the same first author. docs/methods/mdfl.md says what is known and what is ours.

    settings.py   Config
    arms.py       the diffusion networks of one arm
    running.py    run: diffusion networks of all arms, classifiers, result
    result.py     rows of accuracies, class map, noise levels
    blocks.py     a trained run on a scene larger than memory
    inside.py     a finished run from inside: any noise level, the spectrum of a pixel

Shared with FedDiff: workbench.data.sensor_patches (split, channels, patches), parts.unet, frequency and features (network, parser, bank),
parts.reuse (classifier: raw and deep paths, fusion cell, three heads), parts.bank_training (one step of each).
"""

from typing import TYPE_CHECKING

from workbench.data.patch_settings import NEEDS
from workbench.methods import lazily
from workbench.methods.mdfl.settings import HEADLINE, PAGE, SHOWS, SMOKE, Config

if TYPE_CHECKING:
    from workbench.methods.mdfl.inside import frequency_view, load_networks, noise_view, spectra
    from workbench.methods.mdfl.running import run
else:
    __getattr__, __dir__ = lazily(__name__, "running", "inside")


__all__ = [
    "HEADLINE",
    "NEEDS",
    "PAGE",
    "SHOWS",
    "SMOKE",
    "Config",
    "frequency_view",
    "load_networks",
    "noise_view",
    "run",
    "spectra",
]
