"""The training and test samples of a scene."""

from __future__ import annotations

import xarray as xr

from workbench.data.samples import Samples, Sampling, take_samples
from workbench.errors import InputError
from workbench.methods.tdds.settings import NEEDS, Config
from workbench.scene import require


def samples_of(scene: xr.Dataset, config: Config) -> Samples:
    """Chips with `label (sample)`, or every labelled pixel of `truth (y, x)` with its patch, of one modality.

    Split: the scene's own `split` if it has one (test, else val); else from the seed, chips at random by class, pixels by
    blocks, with a guard band so that training and test patches do not overlap.

    Raises InputError as `workbench.data.samples.take_samples` does.
    """
    require(scene, *NEEDS, who="tdds")
    fitting = [n for n in NEEDS[0] if n in scene and ("sample" in scene[n].dims) == ("label" in scene)]
    if not fitting:
        raise InputError(
            "tdds needs chips, image (sample, band, y, x) with label (sample), or a scene, hsi (band, y, x) with truth; "
            "this one mixes both."
        )
    how = Sampling(
        (fitting[0],),
        share=config.test_share,
        seed=config.seed,
        size=config.size,
        patch=config.patch,
        block=config.block,
        label_noise=config.label_noise,
    )
    return take_samples(scene, how, who="tdds")
