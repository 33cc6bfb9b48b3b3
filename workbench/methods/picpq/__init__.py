"""PIC-PQ: prune the filters of a classifier and give each layer its bits, by one ranking of all filters.

W. Xie, X. Fan, X. Zhang, Y. Li, L. Fang, "Physics Inspired Criterion for Pruning-Quantization Joint Learning", 2023, arXiv 2312.00851. What
you get: a smaller network with few bits, the cost of each step, and every rival at its own cost; `workbench export` makes a file of it.

Symbols: FP the property of a filter, the mean rank of its feature maps; a, b the scale and shift of a layer; the score of a filter is
a FP + b. Where the paper and its code differ, and what we do: docs/methods/picpq.md.

    settings.py   Config
    chips.py      training, validation and test chips
    bits.py       bits of a layer from the share of its filters that is kept
    training.py   one training; a network that is pruned, then quantised, and trained after each
    arms.py       what PIC-PQ, each rival and each control removes, and its bits
    deploy.py     the compressed network as a file
    running.py    run: train, rank, search, compress, compare
    result.py     accuracy and cost of all
    inside.py     maps of a filter, and the accuracy without it
    trained.py    the same for a network that is trained already, of any room
"""

from typing import TYPE_CHECKING

from workbench.methods import lazily
from workbench.methods.picpq.settings import HEADLINE, NEEDS, PAGE, PAPER, RIVALS, SHOWS, SMOKE, Config

if TYPE_CHECKING:
    from workbench.methods.picpq.bits import assigned, layer_bits
    from workbench.methods.picpq.deploy import exportable, load_network
    from workbench.methods.picpq.inside import open_float
    from workbench.methods.picpq.running import run
    from workbench.methods.picpq.trained import compress
else:
    __getattr__, __dir__ = lazily(__name__, "bits", "deploy", "inside", "running", "trained")


__all__ = [
    "HEADLINE",
    "NEEDS",
    "PAGE",
    "PAPER",
    "RIVALS",
    "SHOWS",
    "SMOKE",
    "Config",
    "assigned",
    "compress",
    "exportable",
    "layer_bits",
    "load_network",
    "open_float",
    "run",
]
