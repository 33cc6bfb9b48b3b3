"""SAR-Net: ships and aircraft in SAR images, found with global context of all scales and attention in two directions.

M. Cao, W. Xie, J. Lei, J. Zhang, D. Li, Y. Li, "SAR-Net: Multi-scale Direction-aware SAR Network via Global Information Fusion", 2023,
arXiv 2312.16943. What you get: boxes with scores, where the network fires, the gates of rows and columns; beside CFAR, a plain neck with
as many parameters, and one module alone.

We found no public code of SAR-Net and could read only the abstract: the network honours each of its statements, and the interior of
each module is our *reconstruction*. docs/methods/sarnet.md says what is known and what is not.

    settings.py   Config
    training.py   one step of a network
    tiles.py      detection in tiles; loading weights
    scenes.py     detection in one image of any size, on threads or a cluster
    running.py    run: train, watch one image, score on the test images
    result.py     boxes, scores of all detectors, precision against recall
    deploy.py     the trained network for an ONNX file
    inside.py     maps and gates of one tile, with parts switched off
    compressing.py  what a compression of the trained network needs
"""

from typing import TYPE_CHECKING

from workbench.methods import lazily
from workbench.methods.sarnet.settings import HEADLINE, NEEDS, PAGE, SHOWS, SMOKE, Config

if TYPE_CHECKING:
    from workbench.methods.sarnet.compressing import compressible
    from workbench.methods.sarnet.deploy import exportable
    from workbench.methods.sarnet.inside import inspect
    from workbench.methods.sarnet.running import run
    from workbench.methods.sarnet.scenes import as_amplitude, detect, detect_scene
    from workbench.methods.sarnet.tiles import Trained, load_network
else:
    __getattr__, __dir__ = lazily(__name__, "running", "tiles", "deploy", "inside", "scenes", "compressing")


__all__ = [
    "HEADLINE",
    "NEEDS",
    "PAGE",
    "SHOWS",
    "SMOKE",
    "Config",
    "Trained",
    "as_amplitude",
    "compressible",
    "detect",
    "detect_scene",
    "exportable",
    "inspect",
    "load_network",
    "run",
]
