"""BSDM as a trace: train, suppress pass by pass, and compare with the controls."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

import torch
import xarray as xr
from torch import Tensor

from workbench.baselines.anomaly import pca_rx, random_projection_rx, ridge_rx, rx
from workbench.errors import InputError
from workbench.event import Event, Outcome, Trace
from workbench.methods.bsdm.network import moments
from workbench.methods.bsdm.result import by_pass, provenance, with_metrics
from workbench.methods.bsdm.settings import Config
from workbench.methods.bsdm.spectra import Frame, detected, scaled, spectra_of
from workbench.methods.bsdm.suppression import affine_oracle, predictor, suppress, suppressed
from workbench.methods.bsdm.training import Training
from workbench.parts.device import device
from workbench.parts.training import weights


def run(scene: xr.Dataset, config: Config | None = None, state: Mapping[str, Any] | None = None) -> Trace:
    """Train on the scene, then suppress its background; RX before and after, and of every control. Needs `hsi`.

    Events: step 0 the controls, steps 1..E training, steps E+1+k the passes k = 0..K. Truth, if the scene
    has it, is used only for the metrics, not for the scores. `state`: from an event of an interrupted run; the run continues
    after that event.
    Names of all scalars, arrays and results: docs/methods/bsdm.md.
    """
    c = config or Config()
    values, bands, valid = spectra_of(scene)
    if c.pixels is not None and c.pixels > len(values):
        raise InputError(f"bsdm needs {c.pixels} pixels a step; this scene has {len(values)}. Lower `pixels`.")
    spectra = torch.from_numpy(values)
    x0 = scaled(spectra, c.scaling)
    training = Training(x0, c)
    frame = Frame(scene, bands, valid)
    x0 = x0.to(device())
    last = c.steps + 1 + c.passes

    def event(step: int, scalars: dict[str, float], arrays: dict[str, xr.DataArray] | None = None) -> Event:
        return Event(step, scalars, arrays or {}, last, lambda: {"step": step, **training.state()})

    def passes() -> Generator[tuple[Tensor, Tensor, Tensor], None, None]:  # y_k, e_k, score of y_k
        for y, e in suppress(predictor(training.network, c), x0, training.coefficients, c.passes, c.renorm):
            yield y, e, detected(rx, y)

    def pictures(
        y: Tensor, e: Tensor
    ) -> dict[str, xr.DataArray]:  # three bands of the cube, and of the part subtracted next
        return {"quiet": frame.glimpse(y), "background": frame.glimpse(e, training.coefficients.noise)}

    untrained, before_training = [], {}
    for y, e, score in passes():
        untrained.append(score)
        before_training = pictures(y, e)  # those of the last pass remain
    rivals = controls(spectra, x0, training)
    rivals["untrained"] = untrained[-1], f"RX after {c.passes} passes of the untrained network"
    begin = 0
    if state is not None:
        training.load(state)
        begin = int(state["step"]) + 1
    if begin == 0:
        aucs = frame.aucs(auc=untrained[-1], **{f"auc_{name}": score for name, (score, _) in rivals.items()})
        maps = {f"score_{name}": frame.map(*rival) for name, rival in rivals.items()}
        if frame.truth is not None:
            by_k = [frame.auc(score) for score in untrained]
            maps["auc_k_untrained"] = xr.DataArray(
                by_k, dims="k", attrs={"long_name": "AUC(D,F) after pass k, untrained network"}
            )
        yield event(0, noise_floor(training) | aucs, {"score": maps["score_untrained"], **maps, **before_training})

    while training.done < c.steps:
        scalars, arrays = training.step(), {}
        if training.done % c.show_every == 0 or training.done == c.steps:
            y, e = suppressed(training.network, x0, c)
            score = detected(rx, y)
            scalars |= frame.aucs(auc=score)
            arrays = {"score": frame.map(score), **pictures(y, e)}
        yield event(training.done, scalars, arrays)

    record: dict[str, list[Any]] = {"score": [], "quiet": [], "background": [], "range": []}
    for k, (y, e, score) in enumerate(passes()):
        shown = pictures(y, e)
        for name, value in {**shown, "score": score, "range": float(y.abs().max())}.items():
            record[name].append(value)
        if k == 1:
            first = y
        if c.steps + 1 + k >= begin:
            scalars = {"pass": float(k), "range": record["range"][-1]} | frame.aucs(auc_pass=score)
            yield event(c.steps + 1 + k, scalars, {**shown, "score": frame.map(score)})

    result = xr.Dataset(attrs=provenance(scene) | {"denoiser": training.about})
    result["score"] = frame.map(record["score"][-1], f"RX after {c.passes} passes of the trained network")
    for name, rival in rivals.items():
        result[f"score_{name}"] = frame.map(*rival)
    result["scaled"] = frame.cube(x0, "scene scaled to [0, 1]")
    result["suppressed_first"] = frame.cube(first, "cube after the first pass")
    result["suppressed"] = frame.cube(y, f"cube after pass {c.passes}")
    m = moments(x0)
    result["offset_mean"] = frame.map(m[:, 0], "mean over bands, an input of the offset module")
    result["offset_std"] = frame.map(m[:, 1], "standard deviation over bands, an input of the offset module")
    result = result.assign(by_pass(record, untrained, frame))
    for name, number, text in (
        *((name, number, "reference line of the loss") for name, number in noise_floor(training).items()),
        ("loss_initial", training.first_loss, "loss before the first step"),
        ("loss_final", training.last_loss, "loss at the last step"),
        ("parameters", sum(p.numel() for p in training.network.parameters()), "parameters of the network"),
        ("bands", len(bands), "bands used"),
    ):
        result[name] = ((), number, {"long_name": text})
    maps_of_rivals = [f"score_{name}" for name in rivals]
    return Outcome(with_metrics(result, scene, frame, *maps_of_rivals), {"denoiser": weights(training.network)})


def controls(spectra: Tensor, x0: Tensor, training: Training) -> dict[str, tuple[Tensor, str]]:
    """Controls without training: name -> (scores (P,), long name). RX and its relatives use the scene's values."""
    drawn = max(1, min(61, len(spectra) - 2))  # random projections; RX needs more pixels than dimensions
    oracle = affine_oracle(training.mean, training.coefficients)
    *_, (once, _) = suppress(oracle, x0, training.coefficients, 1)
    return {
        "rx": (detected(rx, spectra), "RX of the scene"),
        "ridge_rx": (detected(lambda cube: ridge_rx(cube, ridge=1e-4), spectra), "RX with ridge 1e-4"),
        "pca_rx": (detected(lambda cube: pca_rx(cube, components=30), spectra), "RX of 30 principal components"),
        "rp_rx": (
            detected(lambda cube: random_projection_rx(cube, drawn, training.config.seed), spectra),
            f"RX of {drawn} random projections",
        ),
        "oracle": (detected(rx, once), "RX after one pass of the best affine denoiser"),
    }


def noise_floor(training: Training) -> dict[str, float]:
    """The two reference lines of the loss: sigma^2, reached by predicting the noise's mean, and sigma^2 (1 - code/C),
    about the smallest error of a linear code of this width on white noise in C bands (0 if the code is not narrower)."""
    sigma2, bands = training.std**2, training.clean.shape[1]
    return {"sigma2": sigma2, "sigma2_code": sigma2 * max(0.0, 1 - training.config.code / bands)}
