"""The readers as an engine of xarray: `xr.open_dataset("flight.hdr", engine="workbench")`, without the rest of the package."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import xarray as xr
from xarray.backends import BackendEntrypoint


class Engine(BackendEntrypoint):
    """Opens whatever `workbench.data.readers.open_file` opens. Without `chunks` the pixels are xarray's own lazy arrays; `chunks={}`
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
        from workbench.data.readers import open_file, sar

        path = Path(filename_or_obj).expanduser()
        radar = sar.opener(path, keys)
        if radar is not None:
            scene = radar(path, truth=truth, keys=keys, chunks=None)
        else:
            scene = open_file(path, truth=truth, keys=keys, ortho=ortho, chunks=None)
        dropped = [drop_variables] if isinstance(drop_variables, str) else list(drop_variables or ())
        return scene.drop_vars(dropped, errors="ignore")

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Only what no other engine opens: ENVI, MATLAB 5, product folders. Name the engine for GeoTIFF, NetCDF, HDF5, Zarr."""
        from workbench.data.readers import dlr, envi, sentinel1
        from workbench.data.readers.files import first_bytes

        if not isinstance(filename_or_obj, (str, os.PathLike)):
            return False
        try:
            path = Path(filename_or_obj).expanduser()
            if path.is_dir():
                return dlr.parts(path) is not None or sentinel1.is_safe(path)
            if not path.is_file():
                return False
            if path.suffix.lower() == ".hdr":
                return first_bytes(path, 16).lstrip().startswith(b"ENVI")
            head = first_bytes(path, 16)
            return head.startswith(b"MATLAB 5") or (
                path.suffix.lower() in envi.SUFFIXES and envi.header_of(path) is not None
            )
        except (OSError, ValueError):
            return False
