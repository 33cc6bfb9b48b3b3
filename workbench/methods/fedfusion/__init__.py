"""FedFusion: sensors of several owners, fused by features in low rank; shared layers are averaged, the pixels stay at home.

D. Li, W. Xie, Y. Li, L. Fang, "FedFusion: Manifold Driven Federated Learning for Multi-satellite and Multi-modality Fusion", IEEE TGRS,
doi 10.1109/TGRS.2023.3339522, arXiv 2311.09540. What you get: a class map, accuracies beside rivals and controls under a named
split, and every byte that travels.

    settings.py     Config
    pixels.py       a scene as windows of 7 x 7 pixels of each sensor, and the clients' shares of it
    horizontal.py   FedAvg and FedProx on clients that have all sensors of different places
    shown.py        what a page shows of the messages, by rank
    deployed.py     the apps of `workbench federate`
    running.py      run: all learners in turn
    result.py       accuracies of all rows, maps, bytes

Network and exchange are `workbench.parts.cross_fusion` and `workbench.parts.feature_exchange`: FedDiff has them as a rival.
"""

from typing import TYPE_CHECKING

from workbench.methods import lazily
from workbench.methods.fedfusion.settings import HEADLINE, NEEDS, PAGE, SHOWS, SMOKE, Config

if TYPE_CHECKING:
    from workbench.methods.fedfusion.running import run
else:
    __getattr__, __dir__ = lazily(__name__, "running")


__all__ = ["HEADLINE", "NEEDS", "PAGE", "SHOWS", "SMOKE", "Config", "run"]
