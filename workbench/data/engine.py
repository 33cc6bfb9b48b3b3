"""The readers as an engine of xarray: `xr.open_dataset("flight.hdr", engine="workbench")`, without the rest of the package."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import xarray as xr
from xarray.backends import BackendEntrypoint


class Engine(BackendEntrypoint):
    """Opens all formats of `workbench.data.formats`. Without `chunks` the pixels are xarray's own lazy arrays; `chunks={}`
    gives dask blocks that follow the file's own layout."""

    description = (
        "Hyperspectral cubes and SAR: ENVI, MATLAB, GeoTIFF, EMIT, PRISMA, EnMAP, DESIS, NEON, Sentinel-1, Zarr, NetCDF"
    )
    open_dataset_parameters = ("filename_or_obj", "drop_variables", "truth", "keys", "ortho")

    def open_dataset(  # type: ignore[override]
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        truth: str | Path | None = None,
        keys: Mapping[str, str] | None = None,
        ortho: bool = False,
    ) -> xr.Dataset:
        """The scene as a Dataset, lazy; truth, keys, ortho: see `workbench.data.formats.open_file`."""
        from workbench.data.formats import Request, open_path
        from workbench.data.readers.files import Look

        with Look(filename_or_obj) as look:
            _, scene = open_path(look, Request(truth, keys or {}, None, ortho))
        dropped = [drop_variables] if isinstance(drop_variables, str) else list(drop_variables or ())
        return scene.drop_vars(dropped, errors="ignore")

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """True only for paths without another engine: ENVI, MATLAB 5, product folders. For other formats, name the engine."""
        from workbench.data.formats import only_here
        from workbench.data.readers.files import Look

        if not isinstance(filename_or_obj, (str, os.PathLike)):
            return False
        try:
            with Look(os.fspath(filename_or_obj)) as look:
                return only_here(look)
        except (OSError, ValueError):
            return False
