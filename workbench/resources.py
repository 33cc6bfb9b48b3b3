"""Folders of the files that are installed with the package: catalogue entries, notebooks, dashboards."""

from __future__ import annotations

from pathlib import Path


def folder(name: str) -> Path:
    """The folder `name` ("data_catalog", "notebooks" or "dashboards"), in a wheel or in a checkout.

    Raises FileNotFoundError when the installation has neither.
    """
    package = Path(__file__).resolve().parent
    places = [package / "_resources" / name, package.parent / name]
    for place in places:
        if place.is_dir():
            return place
    raise FileNotFoundError(
        f"The resource folder {name!r} is in neither {places[0]} nor {places[1]}; this installation is incomplete. "
        "Install workbench again."
    )
