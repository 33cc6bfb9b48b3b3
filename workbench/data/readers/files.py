"""The file itself, before any format: whether it can be opened, how it begins, its SHA-256."""

from __future__ import annotations

from pathlib import Path

from workbench.errors import InputError
from workbench.scene import digest

FORMATS = (
    "MATLAB (.mat), ENVI (header .hdr or its data file), GeoTIFF (.tif, .tiff), NetCDF (.nc), HDF5 (.h5, .he5), Zarr (.zarr), "
    "NumPy (.npy), EnMAP or DESIS (folder with METADATA.XML)"
)


def first_bytes(path: Path, count: int = 4096) -> bytes:
    """The beginning of a file; InputError where there is none, where it is a folder, empty, or may not be read."""
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder; give one file: {FORMATS}.")
        if path.exists() and not path.is_file():
            raise InputError(f"{path} is not an ordinary file; give one file: {FORMATS}.")
        with path.open("rb") as file:
            head = file.read(count)
    except FileNotFoundError:
        raise InputError(f"There is no file {path}. Check the path, or see `workbench list` for scenes.") from None
    except PermissionError:
        raise InputError(f"{path} may not be read by this user; change its permissions or copy it.") from None
    except InputError:
        raise
    except (OSError, ValueError) as error:  # a name too long, a null character, a broken disk
        raise InputError(f"{path} cannot be opened ({error}).") from None
    if not head:
        raise InputError(f"{path} is empty; get the file again.")
    return head


def sha256(path: Path) -> str:
    """SHA-256 of a file, or of a folder (names and contents of its files), as 64 hexadecimal digits, read in pieces; InputError
    where it cannot be read.
    """
    if not path.is_dir():
        first_bytes(path, 1)
    return digest(path)
