"""RS-DGC: train on several workers that send only the important gradient entries, and show which these are.

W. Xie, Z. Wang, J. Ma, D. Li, Y. Li, "RS-DGC: Exploring Neighborhood Statistics for Dynamic Gradient Compression on
Remote Sensing Image Interpretation", IEEE TGRS 2024, doi 10.1109/TGRS.2024.3394501, arXiv 2312.17530. What you get: a
scene classifier trained by real torch.distributed ranks, once per compressor, with accuracy against bytes for each; and,
for RS-DGC, gradient, neighbourhood mean and spread, score and sent entries of some layers during training.

The paper's text was not available to us: the neighbourhood statistical indicator (NSI) is a labelled *reconstruction* from its
abstract, and the layer-wise dynamic budget is ours. What is known and what is not: docs/methods/rsdgc.md.

`workbench.parts.gradients` has everything that another DDP script needs; this room only trains with it.
"""

from typing import TYPE_CHECKING

from workbench.methods import lazily
from workbench.methods.rsdgc.settings import HEADLINE, NEEDS, NOTEBOOK, PAGE, RATIOS, RECONSTRUCTION, SHOWS, SMOKE, Config

if TYPE_CHECKING:
    from workbench.methods.rsdgc.chips import batch_of, chips_of
    from workbench.methods.rsdgc.running import run
    from workbench.methods.rsdgc.showing import importance
    from workbench.methods.rsdgc.training import Training, learning_rate, network
else:
    __getattr__, __dir__ = lazily(__name__, "chips", "running", "showing", "training")


__all__ = [
    "HEADLINE",
    "NEEDS",
    "NOTEBOOK",
    "PAGE",
    "RATIOS",
    "RECONSTRUCTION",
    "SHOWS",
    "SMOKE",
    "Config",
    "Training",
    "batch_of",
    "chips_of",
    "importance",
    "learning_rate",
    "network",
    "run",
]
