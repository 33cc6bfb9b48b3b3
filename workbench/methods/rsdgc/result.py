"""The result of all compressors as one labelled dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from workbench.data.samples import Samples
from workbench.event import Outcome
from workbench.methods.rsdgc.settings import RATIOS, RECONSTRUCTION, Config
from workbench.scene import PROVENANCE

EACH = (
    "ratio_wire",
    "ratio_counted",
)  # ratios that are a metric for each compressor; a measured one differs from run to run


def outcome(scene: xr.Dataset, chips: Samples, config: Config, results: Mapping[str, Mapping[str, Any]]) -> Outcome:
    """The results of all compressors as one Dataset on the scene's samples, and the first one's weights."""
    rivals = list(config.rivals)
    lead = results[rivals[0]]
    result = xr.Dataset(coords={n: c.variable for n, c in scene.coords.items() if c.dims == ("sample",)})
    used = np.flatnonzero(scene["label"].values >= 0)
    classes = np.unique(scene["label"].values[used])
    labels = np.full(scene.sizes["sample"], -1, np.int64)
    labels[used[chips.test]] = classes[np.asarray(lead["predicted"])]
    result["labels"] = ("sample", labels, {"long_name": f"class given by {rivals[0]}; -1 for training chips"})

    def by_rival(name: str, key: Callable[[Mapping[str, Any]], float], what: str, units: str = "1") -> None:
        values = np.array([key(results[r]) for r in rivals], np.float64)
        result[name] = ("rival", values, {"long_name": what, "units": units})
        if name in ("accuracy", "bytes_sent", *EACH):
            for rival, value in zip(rivals, values, strict=True):
                if np.isfinite(value):  # headers are not known for every backend
                    result[f"{name}_{rival}"] = ((), value, {"long_name": f"{what}, {rival}", "units": units})

    by_rival("accuracy", lambda r: r["accuracy"][-1], "test accuracy after the last step")
    by_rival("bytes_sent", lambda r: r["counted"], "bytes of all messages of all ranks, counted", "byte")
    by_rival("bytes_headers", partial(_number, name="headers"), "bytes of the headers of these messages, counted", "byte")
    by_rival(
        "bytes_measured",
        partial(_number, name="measured"),
        "bytes sent over this machine's loopback meanwhile, by all processes",
        "byte",
    )
    for ratio, what in RATIOS.items():
        by_rival(ratio, partial(_number, name=ratio), what)
    by_rival("skipped", lambda r: r["skipped"], "steps that were not finite")
    result["overall_accuracy"] = ((), lead["accuracy"][-1], {"long_name": f"test accuracy of {rivals[0]}"})
    at = lead["at"]
    result = result.assign_coords(rival=rivals, at=("at", at, {"long_name": "optimiser step"}))
    curves = {"accuracy_at": ("accuracy", "test accuracy"), "bytes_at": ("bytes", "bytes sent by all ranks so far")}
    for name, (key, what) in curves.items():
        result[name] = (("rival", "at"), np.array([results[r][key] for r in rivals]), {"long_name": what})
    rsdgc = results.get("rsdgc")
    if rsdgc is not None:
        result = result.assign_coords(layer=rsdgc["layers"], step=np.arange(1, config.steps + 1))
        result["entries"] = ("layer", np.array(rsdgc["sizes"]), {"long_name": "entries of the layer"})
        result["budget"] = (("step", "layer"), np.array(rsdgc["budget"]), {"long_name": "entries sent by each rank"})
        result["signal"] = (("step", "layer"), np.array(rsdgc["signal"]), {"long_name": "change of importance (ours)"})
    result.attrs = {k: scene.attrs[k] for k in PROVENANCE if scene.attrs.get(k)}
    notes = [n for n in str(scene.attrs.get("notes", "")).splitlines() if n]
    result.attrs["notes"] = "\n".join([*notes, RECONSTRUCTION])
    return Outcome(result, {rivals[0]: lead["weights"]} if "weights" in lead else {})


def _number(rival: Mapping[str, Any], name: str) -> float:
    """A number of a rival's results; NaN if it has none of that name."""
    value = rival.get(name)
    return np.nan if value is None else value
