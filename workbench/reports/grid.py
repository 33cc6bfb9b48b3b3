"""The grid of a sweep: its file, its cells, and the key: a hash of all that the numbers of a cell depend on."""

from __future__ import annotations

import glob
import hashlib
import itertools
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workbench.config import override
from workbench.data.source import Source
from workbench.engines.supervised import MEMORY_GB
from workbench.errors import InputError, did_you_mean, reasons
from workbench.execution import setting_files
from workbench.methods import METHODS, load
from workbench.reports.notebook import check_parameters, notebook_hash, parameters_of
from workbench.runs import provenance
from workbench.runs.loader import read_yaml

LARGEST = 1 << 20  # bytes of a grid file
MOST_CELLS = 10_000


class Grid(BaseModel):
    """The parameters of a sweep, as in its grid file.

    >>> grid = Grid(parameters={"scene": "digits"}, grid={"overrides.epochs": [5, 10]}, seeds=[0, 1])
    >>> [cell["overrides"] for cell in grid.cells()][:2]
    [{'epochs': 5, 'seed': 0}, {'epochs': 5, 'seed': 1}]
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str = Field("", description="one line for the tables")
    parameters: dict[str, Any] = Field({}, description="parameters of the notebook that are the same in every cell")
    grid: dict[str, list[Any]] = Field(
        {},
        description="parameter -> its values; `overrides.steps` is the setting `steps` in the parameter `overrides`; a `scene` "
        "with a wildcard stands for all files that match",
    )
    seeds: list[int] = Field([], description="seeds; each cell is executed once per seed, as the last axis of the grid")
    threads: int = Field(1, ge=1, description="threads of each cell; the last digits of sums depend on their number")
    memory_gb: float = Field(MEMORY_GB, gt=0, description="resident memory at which a cell is ended")
    cell_timeout: int | None = Field(None, ge=1, description="seconds that a cell of the notebook may take")

    def axes(self) -> dict[str, list[Any]]:
        """Everything that varies: name -> values, seeds last."""
        return {**self.grid, **({"seed": self.seeds} if self.seeds else {})}

    def cells(self, seed: str = "overrides.seed") -> Iterator[dict[str, Any]]:
        """The notebook's parameters of each cell, the last axis varying fastest. seed: the parameter that gets the seed.

        Raises InputError for `overrides.steps` where `overrides` is no mapping.
        """
        names = [*self.grid, *([seed] if self.seeds else [])]
        for values in itertools.product(*self.axes().values()):
            parameters = json.loads(json.dumps(self.parameters))
            for name, value in zip(names, values, strict=True):
                outer, dot, inner = name.partition(".")
                if dot:
                    known = parameters.setdefault(outer, {})
                    if not isinstance(known, dict):
                        raise InputError(
                            f"{name} sets a value inside {outer}; then {outer} has to be a mapping of names to values, and it is {known!r}."
                        )
                    known[inner] = value
                else:
                    parameters[name] = value
            yield parameters


def read_grid(path: str | Path) -> Grid:
    """Read the grid from a YAML file.

    Raises InputError for a file that cannot be read, a field that does not exist (with a did-you-mean), an axis without
    values or with the same value twice, and a value of the wrong kind.
    """
    return grid_of(read_yaml(path, largest=LARGEST), path)


def grid_of(fields: Any, path: str | Path) -> Grid:
    """The fields of a grid file as a Grid; `path` is named in errors."""
    if not isinstance(fields, dict):
        raise InputError(f"The grid {path} has to be a mapping with {', '.join(Grid.model_fields)}; it is {fields!r}.")
    for name in fields:
        if name not in Grid.model_fields:
            near = did_you_mean(str(name), Grid.model_fields)
            raise InputError(f"The grid {path} has no field {name!r}; its fields are {', '.join(Grid.model_fields)}.{near}")
    fields = {**fields, "grid": _with_folders(fields.get("grid", {}), path)}
    try:
        grid = Grid.model_validate(fields)
    except ValidationError as error:
        raise InputError(f"The grid {path} cannot be used: {reasons(error)}.") from None
    try:
        json.dumps(grid.model_dump())
    except (TypeError, ValueError) as error:  # a date, or bytes
        raise InputError(
            f"The grid {path} has a value that a notebook cannot be given: {error}; put it in quotes."
        ) from None
    for name, values in grid.axes().items():
        if not values:
            raise InputError(f"The grid {path} has no values for {name}; name at least one, or leave it out.")
        if len({json.dumps(v, sort_keys=True, default=str) for v in values}) < len(values):
            raise InputError(f"The grid {path} has a value of {name} twice: {values}.")
    _check_number(grid)
    return grid


def _check_number(grid: Grid) -> None:
    number = math.prod(len(values) for values in grid.axes().values())
    if number > MOST_CELLS:
        raise InputError(f"The grid has {number:,} cells; a sweep has at most {MOST_CELLS:,}. Give the axes fewer values.")


def _with_folders(axes: Any, path: str | Path) -> Any:
    """The axes with every scene that has a wildcard (`$WORKBENCH_DATA/had100/*.mat`) replaced by the files that match, sorted."""
    scenes = axes.get("scene") if isinstance(axes, dict) else None
    if not isinstance(scenes, list):
        return axes
    found: list[Any] = []
    for scene in scenes:
        if not isinstance(scene, str) or not glob.has_magic(scene):
            found.append(scene)
            continue
        pattern = os.path.expanduser(os.path.expandvars(scene))
        files = sorted(glob.glob(pattern))
        if not files:
            raise InputError(f"The grid {path} asks for the scenes {scene}; there is no such file (looked for {pattern}).")
        found += files
    return {**axes, "scene": found}


@dataclass(frozen=True)
class Cell:
    """One combination of a grid.

    varied: its values on the axes. parameters: all parameters of the notebook. depends: all that its numbers depend on; `key`
    is the hash of it. files: setting -> `path` and `sha256` of the file that it names. method: empty where the notebook has no
    parameter of that name.
    """

    varied: Mapping[str, Any]
    parameters: Mapping[str, Any]
    depends: Mapping[str, Any]
    files: Mapping[str, Mapping[str, str]]
    method: str = ""

    @property
    def key(self) -> str:
        """Hash of `depends`: 16 hexadecimal digits, also the name of the cell's folder."""
        return hashlib.sha256(json.dumps(self.depends, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def name(self) -> str:
        """The values on the axes as text: `method=rx seed=0`."""
        return " ".join(f"{k.rpartition('.')[2]}={plain(v)}" for k, v in self.varied.items()) or "the only cell"


def plain(value: Any) -> str:
    """Text as it is; any other value as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def plan(notebook: Path, grid: Grid) -> list[Cell]:
    """The cells of a grid, all checked against the notebook's parameters and with their data hashed.

    Raises InputError for a parameter the notebook does not have or has with another type, and for missing data.
    """
    _check_number(grid)
    known = parameters_of(notebook)
    seed = "seed" if "seed" in known else "overrides.seed"
    for name in (*grid.parameters, *grid.grid):
        if name.partition(".")[0] in ("run_dir", "interactive"):
            raise InputError(f"{name} is set by the sweep itself, for every cell; leave it out of the grid.")
    cells = []
    hashes: dict[Source, str] = {}
    code, versions, sources = provenance.code_hash(), provenance.versions(), notebook_hash(notebook)
    device = os.environ.get("WORKBENCH_DEVICE", "auto")
    for values, parameters in zip(itertools.product(*grid.axes().values()), grid.cells(seed), strict=True):
        check_parameters(notebook, parameters)
        data = {}
        if "scene" in known:
            scene = str(parameters.get("scene", _default(known, "scene")))
            source = Source.from_parameters({**parameters, "scene": scene})
            if source not in hashes:
                hashes[source] = source.digest()
            data = {"scene": scene, "sha256": hashes[source]}
        method = str(parameters.get("method", _default(known, "method") if "method" in known else ""))
        files = _files(method, parameters.get("overrides", {}))
        depends = {
            "notebook": sources,
            "parameters": parameters,
            "threads": grid.threads,
            "device": device,
            "data": data,
            "files": {name: file["sha256"] for name, file in files.items()},
            "code": code,
            "versions": versions,
        }
        cells.append(Cell(dict(zip(grid.axes(), values, strict=True)), parameters, depends, files, method))
    return cells


def _default(known: Mapping[str, Any], name: str) -> str:
    """The default of a text parameter, without the quotes that Papermill returns."""
    return str(known[name]["default"]).strip("\"'")


def _files(method: str, overrides: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """`setting_files` of the method's settings with these overrides. The method is imported only if a value is the path of a file.

    Wrong settings give no files: the cell itself fails with the error message.
    """
    given = [os.path.expanduser(v) for v in overrides.values() if isinstance(v, str)]
    if method not in METHODS or not any(map(os.path.exists, given)):  # False for a text that cannot be a path
        return {}
    try:
        return setting_files(override(load(method).Config(), overrides))
    except InputError:
        return {}
