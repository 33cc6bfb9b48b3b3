"""Plots of a forest inventory as images with boxes: colour and one near-infrared band, and the crowns as rectangles to find."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from workbench.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

LEAST = 0.3  # share of a crown that is in the plot at least; of others too little is seen
REFLECTANCE = 1e4  # of 1 in the cubes


def crown_images(plots: Mapping[str, tuple[Path, Path]], crowns: Sequence[tuple[str, np.ndarray]], band: int) -> xr.Dataset:
    """Plots of one size as `image (sample, band, y, x)` in [0, 1] and the flat table of boxes, as `workbench.data.boxes` gives them.

    plots: name -> (colour, cube), rasters of the same place; colour in 0 to 255, the cube as reflectance times 10,000. crowns: (species,
    (x0, y0, x1, y1) in the coordinates of the rasters). band: of the cube, from 1, repeated onto the pixels of the colour image; it
    becomes the fourth band.

    All crowns are one class. A crown is cut at the border of its plot, and left out if less than 0.3 of it is inside.

    Raises InputError for plots of different sizes, and for a cube that does not cover its colour image.
    """
    import rasterio
    import xarray as xr

    images, boxes, owner, cut, lost = [], [], [], 0, 0
    for name, (colour, cube) in plots.items():
        with rasterio.open(colour) as file:
            rgb = np.clip(file.read(masked=True).filled(0).astype(np.float32) / 255, 0, 1)
            place, step = file.bounds, file.res
        with rasterio.open(cube) as file:
            if tuple(np.round(file.bounds, 3)) != tuple(np.round(place, 3)) or file.count < band:
                raise InputError(
                    f"{cube.name} has {file.count} bands of {tuple(file.bounds)}; needed are {band} of {tuple(place)}, as {colour.name}."
                )
            near = np.clip(file.read(band).astype(np.float32) / REFLECTANCE, 0, 1)
        times = [rgb.shape[n + 1] // near.shape[n] for n in (0, 1)]
        images.append(np.concatenate([rgb, near.repeat(times[0], 0).repeat(times[1], 1)[None]]))
        if images[-1].shape != images[0].shape:
            raise InputError(f"{colour.name} has the shape {images[-1].shape}; the plots before it have {images[0].shape}.")
        for _, (x0, y0, x1, y1) in crowns:
            whole = np.array(
                [
                    (x0 - place.left) / step[0],
                    (place.top - y1) / step[1],
                    (x1 - place.left) / step[0],
                    (place.top - y0) / step[1],
                ]
            )
            high, wide = rgb.shape[1:]
            box = np.clip(whole, 0, [wide, high, wide, high])
            inside = np.prod(np.maximum(box[2:] - box[:2], 0)) / max(np.prod(whole[2:] - whole[:2]), 1e-9)
            if inside >= LEAST:
                boxes.append(box)
                owner.append(name)
                cut += inside < 1
            else:
                lost += inside > 0
    scene = xr.Dataset(
        {
            "image": (("sample", "band", "y", "x"), np.stack(images)),
            "box": (("object", "edge"), np.array(boxes, np.float32).reshape(-1, 4), {"units": "pixel"}),
            "box_sample": ("object", np.array(owner)),
            "box_label": ("object", np.zeros(len(boxes), np.int64), {"names": ["crown"]}),
        },
        coords={
            "sample": list(plots),
            "band": ["red", "green", "blue", "near infrared"],
            "y": np.arange(images[0].shape[1], dtype=float),
            "x": np.arange(images[0].shape[2], dtype=float),
            "edge": ["x0", "y0", "x1", "y1"],
        },
    )
    scene.attrs["notes"] = (
        f"{cut} crowns reach beyond their plot and were cut at its border; {lost} with less than {LEAST:.0%} inside were left out"
    )
    return scene
