"""EnMAP and DESIS product folders: the image (GeoTIFF or ENVI), and METADATA.XML with wavelengths and scaling.

Layout: DLR, "EnMAP Product Specification" (EN-PCV-ICD-2009) with `specific/bandCharacterisation/bandID` for each band
(`wavelengthCenterOfBand`, `FWHMOfBand`, `GainOfBand`, `OffsetOfBand`); DLR, "DESIS Technical Note: Product Specification"
with `bandCharacterisation/band` (`wavelengthCenterOfBand`, `wavelengthWidthOfBand`, `gainOfBand`, `offsetOfBand`).
Value = DN * gain + offset in both, `backgroundValue` is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from workbench.data.readers import safexml
from workbench.data.readers.cube import Cube, nanometres
from workbench.data.readers.files import Look, not_read
from workbench.data.readers.hdf5 import no_keys
from workbench.errors import InputError

_IMAGE, _META = "SPECTRAL_IMAGE", "METADATA"
_SUFFIXES = (".tif", ".tiff", ".bsq", ".bil", ".bip", ".img", ".dat")
_NAMES = {  # product -> names of one band, its centre, width, gain and offset
    "EnMAP": ("bandID", "wavelengthCenterOfBand", "FWHMOfBand", "GainOfBand", "OffsetOfBand"),
    "DESIS": ("band", "wavelengthCenterOfBand", "wavelengthWidthOfBand", "gainOfBand", "offsetOfBand"),
}
_LISTED = ("vnirProductQuality", "swirProductQuality")  # EnMAP: elements with the list of expected bands


def parts(look: Look) -> tuple[Path, Path] | None:
    """(image, metadata) of the product named by its folder, its image or its metadata; None for any other path."""
    path = look.path
    if not path.exists():
        return None
    if look.is_dir:
        found = sorted(p for p in path.iterdir() if p.is_file() and _is_meta(p))
        metas = [p for p in found if _image_of(p) is not None]
        if len(metas) > 1:
            raise InputError(
                f"{path} holds {len(metas)} products ({', '.join(p.name for p in metas[:3])}); give one METADATA.XML."
            )
        return (image, metas[0]) if metas and (image := _image_of(metas[0])) is not None else None
    if _is_meta(path):
        image = _image_of(path)
        return None if image is None else (image, path)
    if path.stem.upper().endswith(_IMAGE) and path.is_file():
        meta = next(
            (p for p in path.parent.iterdir() if _is_meta(p) and _stem(p) == path.stem[: -len(_IMAGE)].upper()), None
        )
        return None if meta is None else (path, meta)
    return None


def _is_meta(path: Path) -> bool:
    return path.suffix.lower() == ".xml" and path.stem.upper().endswith(_META)


def _stem(meta: Path) -> str:
    return meta.stem[: -len(_META)].upper()


def _image_of(meta: Path) -> Path | None:
    """The image next to a METADATA.XML with the same beginning of the name. File names inside the XML are not used."""
    wanted = _stem(meta) + _IMAGE
    images = [p for p in sorted(meta.parent.iterdir()) if p.stem.upper() == wanted and p.suffix.lower() in _SUFFIXES]
    return images[0] if images else None


def read(look: Look, keys: Mapping[str, str], truth: str | None) -> Cube:
    """The reflectance (or radiance) cube of a product: map and pixels from the image, spectra and scale from the metadata."""
    no_keys(keys, truth, "a product folder")
    found = look.once(parts)
    if found is None:
        raise InputError(f"{look.path} is not an EnMAP or DESIS product.")
    image, meta = found
    root = safexml.parse(meta)
    characterised = next(root.iter("bandCharacterisation"), None)
    if characterised is None:
        raise InputError(
            f"{meta.name} has no <bandCharacterisation>; it is not the METADATA.XML of an EnMAP or DESIS product."
        )
    product = "EnMAP" if characterised.find("bandID") is not None else "DESIS"
    band, *names = _NAMES[product]
    table = np.array([[safexml.number(one, n, meta.name, float) for n in names] for one in characterised.findall(band)])
    if image.suffix.lower() in (".tif", ".tiff"):
        from workbench.data.readers.geotiff import read as read_image
    else:
        from workbench.data.readers.envi import read as read_image
    with Look(image) as pixels:
        cube = read_image(pixels, {}, "none")
    bands = cube.shape[0]
    if len(table) != bands:
        raise InputError(
            f"{meta.name} describes {len(table)} bands, but {image.name} has {bands}; they do not belong together."
        )
    notes = [*cube.notes, f"{product} product: wavelengths and scale from {meta.name}"]
    if look.is_dir:
        known = {p.name for p in look.path.iterdir() if p.stem.upper().startswith((image.stem.upper(), meta.stem.upper()))}
        notes += not_read((p for p in look.path.iterdir() if p.is_file() and p.name not in known), f"of {look.path.name}")
    wave = nanometres(table[:, 0], "nm", bands, notes)
    missing = cube.missing
    stated = root.findtext("specific/backgroundValue")
    if missing is None:
        missing = _or_none(stated)
        if missing is None:
            missing = -32768.0
            notes.append("neither the image nor the metadata name a background value; -32768 is taken as missing")
    return replace(
        cube,
        missing=missing,
        factor=table[:, 2],
        offset=table[:, 3],
        wavelength=wave,
        fwhm=table[:, 1] if wave is not None and (table[:, 1] > 0).all() else None,
        good=_expected(root, bands, notes) if product == "EnMAP" else cube.good,
        notes=tuple(notes),
        attrs={**cube.attrs, "title": meta.stem[: -len(_META)].strip("-_") or meta.stem},
    )


def _or_none(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None


def _expected(root: Any, bands: int, notes: list[str]) -> np.ndarray | None:
    """(band) whether EnMAP's list of expected channels contains the band (counted from 1); None where there is no list."""
    listed: set[int] = set()
    for part in _LISTED:
        channels = next((e.text for e in root.iter(part) for e in e.iter("expectedChannelsList")), None)
        if channels is None:
            return None
        listed |= {int(n) for n in channels.replace(",", " ").split() if n.isdecimal() and len(n) < 6}
    good = np.isin(np.arange(1, bands + 1), list(listed))
    if good.all() or not good.any():
        return None
    notes.append(
        f"{int((~good).sum())} of {bands} bands are not among the expected channels of the metadata, and marked bad"
    )
    return good
