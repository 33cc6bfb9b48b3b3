"""FedDiff: two owners with a sensor each get land cover from both, by exchanging diffusion features instead of pixels.

D. Li, W. Xie, Z. Wang, Y. Lu, Y. Li, L. Fang, "FedDiff: Diffusion Model Driven Federated Learning for Multi-Modal and Multi-Clients", IEEE
TCSVT 34(10):10353-10367, 2024, doi 10.1109/TCSVT.2024.3407131, arXiv 2401.02433. What you get: a class map at each owner, what each
has left when the other is away, the bytes that travelled beside those of the pixels, and how well each diffusion model works.

The published code has the diffusion network and the class of the fusion network; its training and the federation are ours.
docs/methods/feddiff.md says what is known.

    settings.py   Config
    owners.py     an owner: private weights, shared weights, what it sends
    messages.py   what messages cost beside the pixels
    rounds.py     one round: code, exchange, learn, average
    flower.py     the same rounds over Flower
    once.py       features exchanged once, for owners on machines of their own
    deployed.py   the apps of `workbench federate`
    rival.py      FedFusion on the same pixels
    banks.py      the banks of trained, untrained and joint networks
    running.py    run: a diffusion network at each owner, federations, networks on pooled data, result
    result.py     rows of accuracies, class map, bytes
    quality.py    the diffusion networks themselves: error, reconstruction, generation

Shared with MDFL: workbench.data.sensor_patches, and parts.unet, frequency, features, reuse, bank_training.
Shared with FedFusion: parts.cross_fusion, feature_exchange.
"""

from typing import TYPE_CHECKING

from workbench.data.patch_settings import NEEDS
from workbench.methods import lazily
from workbench.methods.feddiff.settings import HEADLINE, PAGE, SHOWS, SMOKE, Config

if TYPE_CHECKING:
    from workbench.methods.feddiff.running import run
else:
    __getattr__, __dir__ = lazily(__name__, "running")


__all__ = ["HEADLINE", "NEEDS", "PAGE", "SHOWS", "SMOKE", "Config", "run"]
