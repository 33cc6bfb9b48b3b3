"""True and detected boxes of the images of a scene as tables, as `workbench.metrics.detect` takes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from workbench.data.boxed_images import Images
from workbench.metrics.detect import Boxes


def true_boxes(images: Images, positions: Sequence[int]) -> Boxes:
    """The true boxes of these images."""
    rows = [images.box[n] for n in positions]
    owner = np.repeat(images.ids[list(positions)], [len(r) for r in rows])
    label, ignored = (np.concatenate([of[n] for n in positions]) for of in (images.label, images.ignored))
    return Boxes(np.concatenate(rows), owner, label, ignored=ignored)


def found_boxes(images: Images, positions: Sequence[int], found: Sequence[tuple[Tensor, Tensor, Tensor]]) -> Boxes:
    """Detections of these images, each (box, score, label), as one table."""
    owner = np.repeat(images.ids[list(positions)], [len(f[0]) for f in found])
    box, score, label = (np.concatenate([np.asarray(f[i]) for f in found]) for i in range(3))
    return Boxes(box, owner, label, score)
