"""Coresets: the chosen part of the samples of a data set, as a table, and as a file that opens like the original data.

    write_index("kept.csv", result)                                  # result of a tdds run: a line for every training sample
    write_coreset("kept.yml", "digits", fingerprint, result["kept"])   # open_scene("kept.yml"), workbench run tdds kept.yml

Samples are chips with `label (sample)`, or labelled pixels of a scene with `truth (y, x)`, named "row,column".
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from pydantic import Field, ValidationError

from workbench.data.records import Record
from workbench.errors import InputError, reasons
from workbench.runs.loader import read_yaml
from workbench.runs.spreadsheet import csv_field

if TYPE_CHECKING:
    import xarray as xr

_opening: ContextVar[tuple[Path, ...]] = ContextVar(
    "_opening", default=()
)  # coreset files that are being opened, outermost first


def subset(scene: xr.Dataset, kept: xr.DataArray, test: Sequence[str] | np.ndarray | None = None) -> xr.Dataset:
    """The scene with only the kept training samples: the coreset, to be opened or trained on like any scene.

    kept: bool `(sample)` over the training samples. test: identifiers of the test samples, which are not removed; None: all
    samples that `kept` does not name. `split` says which is which. In a scene of labelled pixels the identifiers are
    "row,column"; dropped pixels become unlabelled (-1), and `split (y, x)` is 0 for training, 1 for test, -1 for neither.

    Raises InputError when `kept` names samples that this scene does not have.
    """
    names, keep = kept["sample"].values.astype(str), kept.values.astype(bool)
    if "sample" in scene.dims:
        own = scene["sample"].values.astype(str)
        lost = np.setdiff1d(names, own)
        if len(lost):
            raise InputError(
                f"{len(lost)} samples of this selection are not in the scene ({', '.join(lost[:3])}, ...): it was made "
                "for other data, or the data changed. Open the scene that it was made for."
            )
        chosen = np.isin(own, names[keep])
        stays = chosen | (~np.isin(own, names) if test is None else np.isin(own, np.asarray(test, str)))
        others = scene["split"].values if "split" in scene.coords else np.full(len(own), "test")
        split = np.where(chosen, "train", others)
        return scene.assign_coords(split=("sample", split)).isel(sample=np.flatnonzero(stays))
    if "truth" not in scene:
        raise InputError("A coreset needs samples: chips with 'label' (sample), or a scene with 'truth' (y, x).")
    truth = scene["truth"].values.copy()
    split = np.full(truth.shape, 1 if test is None else -1, np.int8)
    if test is not None:
        split[_positions(test, truth.shape)] = 1
    rows, columns = _positions(names, truth.shape)
    split[rows, columns] = 0
    truth[rows[~keep], columns[~keep]] = -1
    changed = scene.assign(truth=(scene["truth"].dims, truth.astype(np.int16), scene["truth"].attrs))
    return changed.assign_coords(split=(("y", "x"), split))


def _positions(names: Sequence[str] | np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of identifiers of pixels."""
    try:
        rows, columns = np.array([str(n).split(",") for n in names], int).reshape(-1, 2).T
        inside = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
    except ValueError:
        inside = np.zeros(1, bool)
    if not inside.all():
        raise InputError('This selection does not name pixels of the scene; identifiers of pixels are "row,column".')
    return rows, columns


def write_index(path: str | Path, result: xr.Dataset) -> Path:
    """The table of a result, one line a training sample: sample, label, kept, score and rivals; CSV, or Parquet by suffix.

    Raises InputError when the file cannot be written, or for Parquet without fastparquet.
    """
    path = Path(path)
    columns = {str(n): v.values for n, v in result.data_vars.items() if v.dims == ("sample",)}
    first = [n for n in ("label", "kept", "score") if n in columns]
    table = {
        "sample": result["sample"].values.astype(str),
        **{n: columns[n] for n in [*first, *sorted(set(columns) - set(first))]},
    }
    import pandas as pd

    frame = pd.DataFrame(table)
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            from fastparquet import write  # not pyarrow: pandas would then import it in every process

            write(str(path), frame)
        else:
            frame.map(csv_field).rename(columns=csv_field).to_csv(path, index=False)
    except ImportError:
        raise InputError(
            "Parquet needs fastparquet, which is not installed; run: pip install fastparquet, or choose a .csv file."
        ) from None
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror or error}); choose another folder.") from None
    return path


class Coreset(Record):
    """A selection of a scene's samples in a file that opens like a scene."""

    kind: Literal["coreset"] = "coreset"
    of: str = Field(description="catalogue name or path of the scene")
    truth: str | None = Field(None, description="file with the truth, where the scene's file has none")
    keys: dict[str, str] = Field({}, description="names of the arrays in the files, where they cannot be guessed")
    fingerprint: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the scene it was chosen from")
    selector: str = Field(description="name of the selection score")
    keep: float = Field(gt=0, le=1, description="share kept")
    kept: list[str]
    dropped: list[str]
    test: list[str] | None = Field(None, description="test samples; none: all others")
    wrong: dict[str, str] = Field(
        {}, description="sample -> class, for labels that were wrong on purpose during the selection"
    )


class Opener(Protocol):
    """A function that opens the scene of a coreset, such as `workbench.data.catalog.open_scene`."""

    def __call__(self, name: str, *, truth: str | None, keys: Mapping[str, str] | None) -> xr.Dataset:
        """The scene, lazy; arguments as of `open_scene`."""


def write_coreset(
    path: str | Path,
    of: str,
    fingerprint: str,
    kept: xr.DataArray,
    test: Sequence[str] | np.ndarray | None = None,
    selector: str = "tdds",
    *,
    truth: str | None = None,
    keys: Mapping[str, str] | None = None,
    wrong: Mapping[str, str] | None = None,
) -> Path:
    """Write a coreset of the scene `of` (a catalogue name or path) as a YAML file for `open_coreset`.

    truth, keys: the arguments with which the scene was opened. wrong: see `wrong_labels`. From a result r of tdds:
    write_coreset(path, of, r.attrs["scene_fingerprint"], r["kept"], r["test_sample"].values, wrong=wrong_labels(r)).
    """
    import yaml

    names, keep = kept["sample"].values.astype(str), kept.values.astype(bool)
    entry = Coreset(
        of=of,
        truth=truth,
        keys=dict(keys or {}),
        fingerprint=fingerprint,
        selector=selector,
        keep=float(keep.mean()),
        kept=names[keep].tolist(),
        dropped=names[~keep].tolist(),
        test=None if test is None else np.asarray(test, str).tolist(),
        wrong=dict(wrong or {}),
    )
    try:
        Path(path).write_text(yaml.safe_dump(entry.model_dump(), sort_keys=False, allow_unicode=True), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror or error}); choose another folder.") from None
    return Path(path)


def wrong_labels(result: xr.Dataset) -> dict[str, str]:
    """Sample -> wrong class, for the training samples whose label a tdds run made wrong on purpose (`label_noise`)."""
    if "flipped" not in result:
        return {}
    flipped, classes = result["flipped"].values.astype(bool), result["class"].values.astype(str)
    chosen = result["sample"].values.astype(str)[flipped]
    return dict(zip(chosen.tolist(), classes[result["label"].values[flipped]].tolist(), strict=True))


def open_coreset(path: str | Path, opener: Opener) -> xr.Dataset:
    """The scene of a coreset file: `opener` opens the full scene, `subset` reduces it.

    Where the selection used labels made wrong on purpose, the kept samples get those labels again, and the coordinate
    `wrong_label` marks them.
    Raises InputError when the scene has changed since the coreset was chosen (SHA-256).
    """
    import xarray as xr

    from workbench.scene import fingerprint

    try:
        entry = Coreset.model_validate(read_yaml(path))
    except ValidationError as error:
        raise InputError(f"{path} is not a coreset file: {reasons(error)}. Write one with write_coreset.") from None
    here = Path(path).resolve()
    if here in _opening.get():
        raise InputError(f"{path} names itself as its scene, directly or through another coreset file.")
    before = _opening.set((*_opening.get(), here))
    try:
        scene = opener(entry.of, truth=entry.truth, keys=entry.keys or None)
    finally:
        _opening.reset(before)
    if fingerprint(scene) != entry.fingerprint:
        raise InputError(
            f"The scene {entry.of!r} changed since this coreset was chosen (hash {fingerprint(scene)[:12]}, then "
            f"{entry.fingerprint[:12]}); restore the old data, or select again."
        )
    names = [*entry.kept, *entry.dropped]
    chosen = subset(scene, xr.DataArray(np.arange(len(names)) < len(entry.kept), {"sample": names}, "sample"), entry.test)
    note = f"coreset: {len(entry.kept)} of {len(names)} training samples of {entry.of}, chosen by {entry.selector}"
    notes = [n for n in str(scene.attrs.get("notes", "")).splitlines() if n] + [note]
    wrong = {name: entry.wrong[name] for name in entry.kept if name in entry.wrong}
    if wrong:
        chosen = _relabelled(chosen, wrong, _class_numbers(scene))
        notes.append(f"{len(wrong)} of the kept samples have a label made wrong on purpose")
    lines = [entry.fingerprint, *entry.kept, *(f"{name}: {value}" for name, value in sorted(wrong.items()))]
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    chosen.attrs = {
        **scene.attrs,
        "id": Path(path).stem,
        "title": f"{scene.attrs.get('title', entry.of)} ({note})",
        "sha256": digest,
        "notes": "\n".join(notes),
    }
    return chosen


def _relabelled(scene: xr.Dataset, wrong: Mapping[str, str], numbers: Mapping[str, int]) -> xr.Dataset:
    """The scene with these labels, and the coordinate `wrong_label`, True for these samples."""
    name = "label" if "sample" in scene.dims else "truth"
    values = scene[name].values.copy()
    unknown = sorted(set(wrong.values()) - set(numbers))
    if unknown:
        raise InputError(f"This coreset has labels of class {', '.join(unknown[:3])}, which the scene does not have.")
    where: tuple[np.ndarray, ...]
    if name == "label":
        at = {sample: n for n, sample in enumerate(scene["sample"].values.astype(str).tolist())}
        where = (np.array([at[sample] for sample in wrong]),)
    else:
        where = _positions(list(wrong), values.shape)
    values[where] = [numbers[class_name] for class_name in wrong.values()]
    flag = np.zeros(values.shape, bool)
    flag[where] = True
    dims = scene[name].dims
    return scene.assign({name: (dims, values, scene[name].attrs)}).assign_coords(wrong_label=(dims, flag))


def _class_numbers(scene: xr.Dataset) -> dict[str, int]:
    """Number of each class of a scene by its printed name."""
    if "label" in scene:
        labels = scene["label"]
        names = [str(n) for n in labels.attrs.get("names", [])] or [str(c) for c in range(int(labels.max()) + 1)]
        return {name: n for n, name in enumerate(names)}
    present = np.unique(scene["truth"].values[scene["truth"].values >= 0]).astype(int)
    return dict(zip(class_names(scene["truth"], present), present.tolist(), strict=True))


def class_names(truth: xr.DataArray, numbers: Sequence[int] | np.ndarray) -> list[str]:
    """Printed names of class numbers of a truth: its own, else background for 0 and "class N"."""
    names = [str(n) for n in truth.attrs.get("names", [])]
    return [names[c] if c < len(names) else ("background" if c == 0 else f"class {c}") for c in map(int, numbers)]


def true_map(truth: xr.DataArray, names: list[str]) -> np.ndarray:
    """(row, column) numbers of the classes `names` of a result, -1 where the truth of the scene has none of them."""
    values = truth.values
    numbers = np.unique(values[values >= 0]).astype(int)
    out = np.full(values.shape, -1, int)
    for number, name in zip(numbers, class_names(truth, numbers), strict=True):
        if name in names:
            out[values == number] = names.index(name)
    return out
