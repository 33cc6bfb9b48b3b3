"""GHOST: a detector that teaches its own quantised copy; each layer's bits follow from its weights.

J. Zhang, J. Lei, W. Xie, Y. Li, G. Yang, X. Jia, "Guided Hybrid Quantization for Object Detection in Remote Sensing Imagery via One-to-one
Self-teaching", IEEE TGRS 2023, arXiv 2301.00131. What you get: a small float detector, a bit plan, a copy with these bits that learns
with the attention of the float one, block by block through switches; beside copies with other bits and other teaching.

The equations follow the paper's figure and the authors' code; the detector is a small one of our own. docs/methods/ghost.md says what is
known and what is not.

    settings.py    Config
    network.py     the detector
    teaching.py    attention maps, switches, their loss
    training.py    one step of the teacher, and of a copy
    plans.py       bits and cost of every arm
    detecting.py   detections and scores on whole images
    running.py     run: teacher, our copy, rivals
    result.py      scores, bits, costs, switches
    shown.py       what a page shows of weights, levels and attention
    deploy.py      the quantised detector for an ONNX file
    files.py       the files measured, beside onnxruntime's int8
"""

from typing import TYPE_CHECKING

from workbench.methods import lazily
from workbench.methods.ghost.settings import HEADLINE, NEEDS, PAGE, SHOWS, SMOKE, Config

if TYPE_CHECKING:
    from workbench.methods.ghost.deploy import Trained, exportable, load_network
    from workbench.methods.ghost.network import Detector
    from workbench.methods.ghost.running import run
else:
    __getattr__, __dir__ = lazily(__name__, "network", "running", "deploy")


__all__ = [
    "HEADLINE",
    "NEEDS",
    "PAGE",
    "SHOWS",
    "SMOKE",
    "Config",
    "Detector",
    "Trained",
    "exportable",
    "load_network",
    "run",
]
