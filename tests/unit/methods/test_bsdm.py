"""BSDM: the pieces by hand, then the whole on a small simulated scene."""

import importlib.util
import io
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from tests.driving import played
from workbench.baselines.anomaly import rx
from workbench.config import override
from workbench.errors import InputError
from workbench.event import drain
from workbench.methods import bsdm
from workbench.methods.bsdm.network import Denoiser
from workbench.methods.bsdm.settings import Config
from workbench.metrics.anomaly import COMPARED, auc, measured
from workbench.parts.diffusion import Mixing
from workbench.parts.training import weights as weights_of

WIDTHS = {"embed": 16, "inner": 20, "width": 12, "code": 6, "time_width": 16}
SMALL = Config(steps=6, passes=3, show_every=3, lr=1e-2, **WIDTHS)


def simulated(bands=24, size=16, seed=0):
    """Four smooth endmembers, Dirichlet abundances, noise that grows with signal, 6 implanted pixels at 10-40 %."""
    rng = np.random.default_rng(seed)
    axis = np.linspace(0, 1, bands)
    centres = rng.uniform(0, 1, (5, 1))
    endmembers = 0.2 + rng.uniform(0.2, 0.8, (5, 1)) * np.exp(-(((axis - centres) / 0.3) ** 2))
    spectra = rng.dirichlet(np.ones(4), size * size) @ endmembers[:4]
    spectra += 0.01 * np.sqrt(spectra) * rng.standard_normal(spectra.shape)
    truth = np.zeros(size * size, np.int16)
    hit = rng.choice(size * size, 6, replace=False)
    part = rng.uniform(0.1, 0.4, (6, 1))
    spectra[hit] = (1 - part) * spectra[hit] + part * endmembers[4]
    truth[hit] = 1
    return xr.Dataset(
        {
            "hsi": (("band", "y", "x"), spectra.T.reshape(bands, size, size).astype(np.float32)),
            "truth": (("y", "x"), truth.reshape(size, size)),
        },
        coords={"y": np.arange(size), "x": np.arange(size)},
        attrs={"id": "sim", "simulated": "four endmembers"},
    )


SCENE = simulated()


def table(scene=SCENE):
    """Scaled spectra (P, C) float64."""
    return bsdm.scaled(torch.from_numpy(bsdm.spectra_of(scene)[0]), "global")


def network(bands=24, config=SMALL, seed=0):
    torch.manual_seed(seed)
    return Denoiser(bands, config)


def same(a, b):
    """Equal step, scalars and arrays, bit for bit."""
    return (
        a.step == b.step
        and a.scalars == b.scalars
        and a.arrays.keys() == b.arrays.keys()
        and all(a.arrays[n].identical(b.arrays[n]) for n in a.arrays)
    )


@pytest.fixture(scope="module")
def whole():
    return played(bsdm.run(SCENE, SMALL))


# --- the cube as a table ----------------------------------------------------------------------------------------------


def test_scaling_by_hand():
    spectra = torch.tensor([[1.0, 10.0, 7.0], [3.0, 20.0, 7.0]], dtype=torch.float64)
    assert bsdm.scaled(spectra, "global")[0].tolist() == pytest.approx([0, 9 / 19, 6 / 19])
    assert bsdm.scaled(spectra, "band").tolist() == [[0, 0, 0], [1, 1, 0]]  # the third band is constant


def test_moments_by_hand():
    x = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 6.0]])
    # second pixel: mean 2, squares (4 + 4 + 16) / 2 = 12
    assert bsdm.moments(x).tolist() == [[2, 1], [2, pytest.approx(12**0.5)]]
    # all six: mean 2, squares (1 + 0 + 1 + 24) / 5 = 5.2
    assert bsdm.moments(x, "image").tolist() == [[2, pytest.approx(5.2**0.5)]] * 2


def test_noise_has_the_scenes_mean_and_spread():
    torch.manual_seed(0)
    eps = bsdm.pseudo_background(0.37, 0.13, (1000, 100))
    # 5 standard errors: 5 * .13 / sqrt(1e5) = 0.0021, 5 * .13 / sqrt(2e5) = 0.0015
    assert float(eps.mean()) == pytest.approx(0.37, abs=0.0021)
    assert float(eps.std()) == pytest.approx(0.13, abs=0.0015)


def test_shown_bands_are_red_green_blue_where_wavelengths_are_known(whole):
    scene = SCENE.assign_coords(wavelength=("band", np.linspace(400, 975, 24)))  # steps of 25 nm
    frame = bsdm.Frame(scene, np.arange(24), np.ones((16, 16), bool))
    glimpse = frame.glimpse(table())
    assert glimpse.quiet_band.values.tolist() == [10, 6, 2]  # 650, 550, 450
    assert glimpse.quiet_wavelength.values.tolist() == [650, 550, 450]
    assert glimpse.values[0, 3, 5] == pytest.approx(float(table()[3 * 16 + 5, 10]), rel=1e-6)
    assert whole[1].result.quiet_band.values.tolist() == [20, 12, 4]  # unknown: spread evenly


# --- the network ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bands", "parameters"), [(100, 1_023_252), (189, 1_137_261), (205, 1_157_757)])
def test_as_many_parameters_as_the_published_network(bands, parameters):
    assert sum(p.numel() for p in Denoiser(bands, Config()).parameters()) == parameters


def test_time_zero_is_sines_zero_cosines_one():
    embedding = bsdm.TimeEmbedding(6, 4)
    # frequencies 1, 10000^(-1/3), 10000^(-2/3)
    assert embedding.frequencies.tolist() == pytest.approx([1, 0.0464159, 0.00215443], rel=1e-5)
    expected = embedding.second(torch.tanh(embedding.first(torch.tensor([[0.0, 0, 0, 1, 1, 1]]))))
    torch.testing.assert_close(embedding(torch.tensor([0])), expected)


def test_every_pixel_alone():
    predict, y = bsdm.predictor(network(), SMALL), table()
    order = torch.from_numpy(np.random.default_rng(1).permutation(len(y)))
    torch.testing.assert_close(predict(y)[order], predict(y[order]), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(predict(y)[:1], predict(y[:1]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", [0, 1, 1e6])
def test_output_is_bounded_by_its_last_layer(scale):
    net = network()
    bound = net.out.bias.abs() + net.out.weight.abs().sum(1)
    e = bsdm.predictor(net, SMALL)(scale * torch.randn(500, 24, dtype=torch.float64))
    assert (e.abs() <= bound * (1 + 1e-6)).all()


def test_time_and_offset_matter():
    net, y = network(), table().float()
    a = net(y, torch.tensor([500]), bsdm.moments(y))
    assert (net(y, torch.tensor([100]), bsdm.moments(y)) - a).abs().max() > 1e-3
    assert (net(y, torch.tensor([500]), bsdm.moments(y) + 1) - a).abs().max() > 1e-3
    off = network(config=override(SMALL, {"offset": "off"}))
    assert torch.equal(off(y, torch.tensor([500]), bsdm.moments(y)), off(y, torch.tensor([500]), bsdm.moments(y) + 1))


def benchmark():
    """The benchmark's module: it holds the straightforward network, written down as the description reads."""
    path = Path(__file__).parents[3] / "benchmarks" / "bench_bsdm.py"
    spec = importlib.util.spec_from_file_location("bench_bsdm", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_network_is_the_straightforward_one_with_the_same_gradient():
    ours = network().double()
    theirs = benchmark().Straightforward(24, SMALL).double()
    theirs.load_state_dict(ours.state_dict())
    y, t = table(), torch.tensor([500])
    image = y.reshape(1, 16, 16, 24).permute(0, 3, 1, 2)
    a, b = ours(y, t, bsdm.moments(y)), theirs(image, t)
    torch.testing.assert_close(a, b[0].flatten(1).T, rtol=1e-10, atol=1e-10)
    (a.square().sum() + b.square().sum()).backward()
    named = dict(theirs.named_parameters())
    for name, p in ours.named_parameters():
        torch.testing.assert_close(p.grad, named[name].grad, rtol=1e-9, atol=1e-9, msg=name)


def test_trains_to_the_losses_of_the_straightforward_network():
    training = bsdm.Training(table(), override(SMALL, {"lr": 1e-3, "chunk": 100}))
    theirs = benchmark().StraightTraining(training, rows=16)
    curves = [(step["loss"], theirs.step(step["lr"])) for step in (training.step() for _ in range(20))]
    ours, straight = zip(*curves, strict=True)
    assert ours == pytest.approx(straight, rel=0, abs=1e-6)
    assert ours[-1] < ours[0] / 2


def spread_moments(pixels, span, seed=0):
    """(m, s) of `pixels` pixels, uniform in a box of that span, and the (u, v, b) of 512 hidden numbers."""
    generator = torch.Generator().manual_seed(seed)
    box = torch.tensor([1.3, 1.5]) + span * torch.rand(pixels, 2, generator=generator)
    return box, 2 * torch.rand(512, 2, generator=generator) - 1, torch.randn(512, generator=generator)


@pytest.mark.parametrize("span", [0.0, 0.1, 0.5, 1.2])
def test_offset_between_lattice_points_is_the_offset(span):
    seen, slopes, bias = spread_moments(2000, span)
    points, shares = bsdm.lattice(seen, slopes)
    assert points.shape == (shares.shape[1], 2)
    assert len(points) <= 256

    def f(at):
        return torch.tanh(at.double() @ slopes.double().T + bias.double())

    assert (shares.double() @ f(points) - f(seen)).abs().max() < 1e-6  # float32 shares; 2^-25 and their rounding
    assert len(bsdm.lattice(*spread_moments(2000, 0.01)[:2])[0]) < len(bsdm.lattice(*spread_moments(2000, 1.0)[:2])[0])


def test_no_lattice_where_it_would_cost_more_or_lose_digits():
    seen, slopes, _ = spread_moments(2000, 0.5)
    assert bsdm.lattice(seen, slopes) is not None
    assert bsdm.lattice(seen[:999], slopes) is None
    assert bsdm.lattice(seen.double(), slopes) is None
    assert bsdm.lattice(seen, 9 * slopes) is None  # too sharp: hundreds of points
    assert bsdm.lattice(seen, slopes[:100]) is None  # evaluating 100 numbers per pixel is cheap


def test_lattice_changes_neither_output_nor_gradient(monkeypatch):
    config = Config(time_width=512, **{n: w for n, w in WIDTHS.items() if n != "time_width"})
    torch.manual_seed(0)
    network = Denoiser(24, config)
    x = 1 + torch.rand(1500, 24)
    found = []
    for used in (True, False):
        if not used:
            monkeypatch.setattr("workbench.methods.bsdm.network.lattice", lambda *_: None)
        else:
            slopes = network.offset.wide.weight.unflatten(1, (2, -1)).sum(-1)
            assert bsdm.lattice(bsdm.moments(x), slopes) is not None
        network.zero_grad()
        out = network(x, torch.tensor([500]), bsdm.moments(x))
        out.square().sum().backward()
        found.append([out.detach(), *(p.grad.clone() for p in network.parameters())])
    for with_lattice, without in zip(*found, strict=True):
        assert (with_lattice - without).abs().max() <= 1e-5 * without.abs().max()


def test_faster_tanh_is_tanh():
    x = torch.linspace(-30, 30, 2001, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(bsdm.tanh(x), torch.tanh(x), rtol=0, atol=1e-15)
    (gradient,) = torch.autograd.grad(bsdm.tanh(x).sum(), x)
    torch.testing.assert_close(gradient, 1 - torch.tanh(x) ** 2, rtol=0, atol=1e-14)
    assert bsdm.tanh(torch.tensor([-1e30, 0.0, 1e30])).tolist() == [-1, 0, 1]
    torch.testing.assert_close(bsdm.tanh(x.float()), torch.tanh(x.float()), rtol=0, atol=3e-7)


# --- training ---------------------------------------------------------------------------------------------------------


def test_learning_rate_by_hand():
    config = Config()
    assert bsdm.learning_rate(0, config) == pytest.approx(1e-4)
    assert bsdm.learning_rate(250, config) == pytest.approx(5.5e-5)  # halfway: the mean of the two
    assert bsdm.learning_rate(500, config) == pytest.approx(1e-5)
    assert bsdm.learning_rate(900, config) == pytest.approx(1e-5)
    # stopping at 100 of 500 does not compress the cosine: 1e-5 + 4.5e-5 (1 + cos 36 deg)
    assert bsdm.learning_rate(100, Config(steps=100)) == pytest.approx(9.140576e-5, rel=1e-6)


def test_learning_rate_is_torchs_cosine():
    optimiser = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 500, eta_min=1e-5)
    for done in range(120):
        assert bsdm.learning_rate(done, Config()) == pytest.approx(schedule.get_last_lr()[0], rel=1e-9)
        optimiser.step()
        schedule.step()


def test_each_step_is_taken_at_its_own_rate():
    training = bsdm.Training(table(), override(SMALL, {"schedule_steps": 10}))
    for done in range(3):
        assert training.step()["lr"] == bsdm.learning_rate(done, training.config)
        assert training.optimiser.param_groups[0]["lr"] == bsdm.learning_rate(done, training.config)


def test_chunks_change_nothing_but_rounding():
    losses = []
    for chunk in (7, 1000):
        training = bsdm.Training(table(), override(SMALL, {"chunk": chunk, "lr": 1e-3}))
        losses.append([training.step()["loss"] for _ in range(5)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_squared_error_is_the_mean_over_all_numbers():
    net, x_t, eps = network(), table().float(), torch.rand(256, 24)
    loss = bsdm.squared_error(net, x_t, bsdm.moments(x_t), eps, override(SMALL, {"chunk": 100}))
    plain = (net(x_t, torch.tensor([500]), bsdm.moments(x_t)) - eps).square().mean()
    assert loss == pytest.approx(plain.item(), rel=1e-6)


@pytest.mark.parametrize("changes", [{}, {"frozen": False}, {"pixels": 50}, {"pixels": 50, "frozen": False}])
def test_seed_decides_everything(changes):
    def curve(seed):
        training = bsdm.Training(table(), override(SMALL, {**changes, "seed": seed}))
        return [training.step()["loss"] for _ in range(4)], training.eps

    (a, eps), (b, again), (c, other) = curve(3), curve(3), curve(4)
    assert a == b
    assert torch.equal(eps, again)
    assert a != c
    assert not torch.equal(eps, other)


def test_noise_is_kept_or_drawn_anew():
    kept, fresh = (bsdm.Training(table(), override(SMALL, {"frozen": f})) for f in (True, False))
    assert torch.equal(kept.material()[2], kept.material()[2])
    assert not torch.equal(fresh.material()[2], fresh.material()[2])
    x_t, _, eps = fresh.material()
    torch.testing.assert_close(x_t, 0.2803342 * fresh.clean + 17.556537 * eps, rtol=1e-5, atol=1e-5)


def test_pixels_takes_that_many_and_keeps_their_noise():
    training = bsdm.Training(table(), override(SMALL, {"pixels": 50}))
    x_t, seen, eps = training.material()
    assert x_t.shape == (50, 24)
    rows = [int((training.eps == e).all(1).nonzero()[0, 0]) for e in eps]
    assert len(set(rows)) == 50
    assert torch.equal(x_t, training.same[0][rows])
    torch.testing.assert_close(seen, bsdm.moments(x_t))
    assert not torch.equal(training.material()[2], eps)


def test_training_learns_and_says_how_far():
    config = override(SMALL, {"steps": 60, "schedule_steps": 60})
    result = drain(bsdm.run(SCENE, config)).result
    assert float(result.loss_final) < float(result.loss_initial) / 5
    assert float(result.sigma2) == pytest.approx(float(table().var()), rel=1e-9)
    assert float(result.sigma2_code) == pytest.approx(float(result.sigma2) * (1 - 6 / 24))


# --- suppression ------------------------------------------------------------------------------------------------------


def test_no_pass_gives_the_cube_back_bit_for_bit():
    y0 = table()
    ((y, e),) = bsdm.suppress(bsdm.predictor(network(), SMALL), y0, bsdm.mix(SMALL), 0)
    assert torch.equal(y, y0)
    assert e.shape == y0.shape
    assert torch.equal(bsdm.detected(rx, y), bsdm.detected(rx, y0))


@pytest.mark.parametrize("offset", ["pixel", "image"])
def test_predictor_is_the_network_on_all_pixels(offset):
    config = override(SMALL, {"offset": offset, "chunk": 100})
    net, y = network(config=config), table()
    with torch.no_grad():
        whole = net(y.float(), torch.tensor([500]), bsdm.moments(y.float(), offset))
    e = bsdm.predictor(net, config)(y)
    assert not e.requires_grad
    torch.testing.assert_close(e, whole, rtol=1e-5, atol=1e-6)


def test_a_pass_by_hand():
    # constant e = 0.1 and mixing (0.5, 2): y_1 = (y - 0.2) / 0.5, y_2 = (y_1 - 0.2) / 0.5
    y0 = torch.tensor([[0.0, 0.5, 1.0]], dtype=torch.float64)
    cubes = [y.tolist()[0] for y, _ in bsdm.suppress(lambda y: torch.full_like(y, 0.1), y0, Mixing(0.5, 2.0), 2)]
    assert cubes[1] == pytest.approx([-0.4, 0.6, 1.6])
    assert cubes[2] == pytest.approx([-1.2, 0.8, 2.8])


def test_renorm_keeps_mean_and_spread_and_leaves_one_pass_of_rx_alone():
    predict, y0 = bsdm.predictor(network(), SMALL), table()
    plain, kept = ([y for y, _ in bsdm.suppress(predict, y0, bsdm.mix(SMALL), 3, renorm)] for renorm in (False, True))
    for y in kept:
        assert float(y.mean()) == pytest.approx(float(y0.mean()), abs=1e-9)
        assert float(y.std()) == pytest.approx(float(y0.std()), rel=1e-9)
    assert plain[3].std() > 10 * kept[3].std()
    torch.testing.assert_close(bsdm.detected(rx, kept[1]), bsdm.detected(rx, plain[1]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("what", ["silent network", "gamma 0"])
def test_without_a_prediction_rx_is_plain_rx_exactly(what):
    truth, y0 = SCENE.truth.values.ravel(), table()
    signal, noise = bsdm.mix(SMALL)
    silent = what == "silent network"
    predict = torch.zeros_like if silent else bsdm.predictor(network(), SMALL)
    areas = [
        auc(bsdm.detected(rx, y).numpy(), truth)
        for y, _ in bsdm.suppress(predict, y0, Mixing(signal, noise if silent else 0.0), 10)
    ]
    assert areas == [areas[0]] * 11
    assert areas[0] == auc(rx(SCENE.hsi), SCENE.truth)


def test_oracle_by_hand():
    # w = 17.4950166 / (17.4950166^2 + 0.0777967), w (signal + noise) - 1 = 0.0156847
    oracle = bsdm.affine_oracle(1.0, bsdm.mix(Config(gamma="official")))
    at = torch.tensor([0.0, 1.0], dtype=torch.float64)
    assert oracle(at).tolist() == pytest.approx([-0.0156847, 0.0571446 - 0.0156847], abs=1e-7)


@pytest.mark.parametrize("gamma", ["paper", "official"])
def test_oracle_is_the_regression_of_the_noise(gamma):
    mixed = bsdm.mix(Config(gamma=gamma))
    torch.manual_seed(0)
    x0, eps = (0.37 + 0.13 * torch.randn(200_000, dtype=torch.float64) for _ in range(2))
    x_t = mixed.signal * x0 + mixed.noise * eps
    e = bsdm.affine_oracle(0.37, mixed)(x_t)
    # uncorrelated residual, zero mean: the residual's std is 0.13 * signal / hypot(signal, noise) = 0.0021
    assert float((eps - e).mean()) == pytest.approx(0, abs=5 * 0.0021 / 200_000**0.5)
    assert float(torch.corrcoef(torch.stack([eps - e, x_t]))[0, 1]) == pytest.approx(0, abs=5 / 200_000**0.5)


def test_oracle_leaves_auc_alone():
    truth = SCENE.truth.values.ravel()
    y0, mixed = table(), bsdm.mix(Config())
    areas = [
        auc(bsdm.detected(rx, y).numpy(), truth)
        for y, _ in bsdm.suppress(bsdm.affine_oracle(float(y0.mean()), mixed), y0, mixed, 2)
    ]
    assert areas == [areas[0]] * 3


def test_rx_here_is_the_textbooks_and_affine_invariant():
    # mean (2, 2), covariance [[6, 5], [5, 6]]
    points = torch.tensor([[0, 0], [2, 0], [0, 2], [2, 2], [6, 6]], dtype=torch.float64)
    assert bsdm.detected(rx, points).tolist() == pytest.approx([8 / 11, 24 / 11, 24 / 11, 0, 32 / 11])
    torch.manual_seed(0)
    a, b = torch.randn(24, 24, dtype=torch.float64), torch.randn(24, dtype=torch.float64)
    torch.testing.assert_close(bsdm.detected(rx, table() @ a + b), bsdm.detected(rx, table()), rtol=1e-6, atol=1e-9)


# --- another scene ----------------------------------------------------------------------------------------------------


def test_channel_align():
    assert bsdm.channel_align(30, 30).tolist() == [list(range(30))]
    two = bsdm.channel_align(30, 15)
    assert two.tolist() == [list(range(15)), list(range(15, 30))]
    some = bsdm.channel_align(30, 12)
    assert some.shape == (2, 12)
    assert (np.diff(some.ravel()) > 0).all()
    fewer = bsdm.channel_align(30, 20)
    assert fewer.shape == (1, 20)
    assert (np.diff(fewer[0]) > 0).all()
    padded = bsdm.channel_align(30, 51)[0]  # 21 to add: 11 in front, 10 behind
    assert padded[:13].tolist() == [11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 1]
    assert padded[-11:].tolist() == [29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19]
    assert bsdm.channel_align(3, 20).shape == (1, 20)  # reflects more than once
    assert np.array_equal(bsdm.channel_align(30, 12, seed=5), bsdm.channel_align(30, 12, seed=5))
    assert not np.array_equal(bsdm.channel_align(30, 12, seed=5), bsdm.channel_align(30, 12, seed=6))


def test_apply_to_its_own_scene_is_the_run(whole):
    outcome = whole[1]
    again = bsdm.apply(outcome.weights["denoiser"], outcome.result.attrs["denoiser"], SCENE)
    np.testing.assert_array_equal(again.score, outcome.result.score)
    np.testing.assert_array_equal(again.suppressed, outcome.result.suppressed)
    assert float(again.auc) == float(outcome.result.auc)
    assert again.source_band.values.tolist() == list(range(24))


@pytest.mark.parametrize(("bands", "aligned"), [(15, 24), (30, 24), (50, 48)])
def test_apply_to_another_scene(whole, bands, aligned):
    other = simulated(bands, 12, seed=1)
    before = other.copy(deep=True)
    result = bsdm.apply(whole[1].weights["denoiser"], whole[1].result.attrs["denoiser"], other)
    assert result.suppressed.shape == (aligned, 12, 12)
    assert np.isfinite(result.score).all()
    assert {"auc", "auc_rx"} <= set(result.data_vars)
    picked = other.isel(band=result.source_band.values).drop_vars("truth")
    np.testing.assert_allclose(result.score_rx, rx(picked.hsi), rtol=1e-4)
    xr.testing.assert_identical(other, before)


def test_weights_need_their_own_description(whole):
    weights, about = whole[1].weights["denoiser"], whole[1].result.attrs["denoiser"]
    other = json.dumps(json.loads(about) | {"bands": 25})
    for wrong in (other, "{}", "not json"):
        with pytest.raises(InputError, match="take both from one run"):
            bsdm.apply(weights, wrong, SCENE)


# --- the whole --------------------------------------------------------------------------------------------------------


def test_events(whole):
    events, outcome = whole
    assert [e.step for e in events] == list(range(11))  # controls, 6 steps, passes 0..3
    assert {e.of for e in events} == {10}
    assert set(events[0].scalars) == {
        "sigma2",
        "sigma2_code",
        "auc",
        "auc_rx",
        "auc_ridge_rx",
        "auc_pca_rx",
        "auc_rp_rx",
        "auc_oracle",
        "auc_untrained",
    }
    assert set(events[1].scalars) == {"loss", "lr"}
    assert set(events[3].scalars) == {"loss", "lr", "auc"}
    assert [e.step for e in events[1:7] if e.arrays] == [3, 6]
    assert [e.scalars["pass"] for e in events[7:]] == [0, 1, 2, 3]
    assert all(np.isfinite(v) for e in events for v in e.scalars.values())
    assert {"quiet", "background"} < set(events[0].arrays)  # what the untrained network leaves of the scene
    np.testing.assert_array_equal(events[0].arrays["auc_k_untrained"], outcome.result.auc_k_untrained)
    for e in (*events[3:7:3], *events[7:]):
        assert set(e.arrays) == {"score", "quiet", "background"}
        assert e.arrays["score"].dims == ("y", "x")
        assert e.arrays["quiet"].dims == e.arrays["background"].dims == ("quiet_band", "y", "x")
    assert events[6].scalars["auc"] == events[10].scalars["auc_pass"] == float(outcome.result.auc)
    assert events[0].scalars["auc_rx"] == pytest.approx(events[7].scalars["auc_pass"])


def test_background_is_what_the_next_pass_takes_away(whole):
    signal, _ = bsdm.mix(SMALL)
    result = whole[1].result
    before, after, background = result.quiet_k[:-1], result.quiet_k[1:], result.background_k[:-1]
    np.testing.assert_allclose(after.values * signal, before.values - background.values, rtol=1e-4, atol=1e-4)


def test_result(whole):
    result = whole[1].result
    assert list(result.k.values) == [0, 1, 2, 3]
    for name in ("score", "score_untrained", "score_rx", "score_ridge_rx", "score_pca_rx", "score_rp_rx", "score_oracle"):
        assert result[name].dims == ("y", "x")
        assert result[name].dtype == np.float64
        assert float(result[name.replace("score", "auc")]) == auc(result[name], SCENE.truth)
        alone = measured(result[name], SCENE.truth)
        assert all(float(result[name.replace("score", metric)]) == alone[metric][0] for metric in COMPARED)
    assert result.score_k.shape == (4, 16, 16)
    np.testing.assert_allclose(result.score_k[-1], result.score, rtol=1e-6)
    assert float(result.auc_k[0]) == pytest.approx(float(result.auc_rx))
    assert float(result.auc_k_untrained[-1]) == float(result.auc_untrained)
    assert result.suppressed.shape == result.suppressed_first.shape == SCENE.hsi.shape
    np.testing.assert_array_equal(result.suppressed[result.quiet_band.values].values, result.quiet_k[-1].values)
    np.testing.assert_array_equal(result.suppressed_first[result.quiet_band.values].values, result.quiet_k[1].values)
    assert result.offset_mean.values.ravel() == pytest.approx(table().mean(1).numpy())
    assert int(result.parameters) == sum(v.numel() for v in whole[1].weights["denoiser"].values())
    assert result.attrs["id"] == "sim"
    assert all(result[n].attrs["long_name"] for n in result.data_vars)


def test_oracle_in_the_result_is_plain_rx(whole):
    assert float(whole[1].result.auc_oracle) == float(whole[1].result.auc_rx)


def test_training_changes_the_weights_and_the_score(whole):
    result = whole[1].result
    start = weights_of(bsdm.Training(table(), SMALL).network)
    assert all(not torch.equal(start[n], w) for n, w in whole[1].weights["denoiser"].items() if "norm" not in n)
    assert (result.score != result.score_untrained).any()


def test_a_silent_network_scores_as_rx_through_the_whole_run(monkeypatch):
    monkeypatch.setattr("workbench.methods.bsdm.running.predictor", lambda *_: torch.zeros_like)
    result = drain(bsdm.run(SCENE, SMALL)).result
    assert float(result.auc) == float(result.auc_untrained) == float(result.auc_rx)


def test_scores_do_not_know_the_truth(whole):
    shuffled = SCENE.copy(deep=True)
    shuffled["truth"].values[:] = np.random.default_rng(0).permutation(shuffled.truth.values.ravel()).reshape(16, 16)
    for scene in (shuffled, SCENE.drop_vars("truth")):
        outcome = drain(bsdm.run(scene, SMALL))
        for name in [n for n in whole[1].result if n.startswith(("score", "quiet", "suppressed"))]:
            np.testing.assert_array_equal(outcome.result[name], whole[1].result[name])
        for name, weights in outcome.weights["denoiser"].items():
            assert torch.equal(weights, whole[1].weights["denoiser"][name])
    assert not [n for n in outcome.result if str(n).startswith("auc")]


def test_a_truth_without_anomalies_gives_no_auc():
    scene = SCENE.assign(truth=xr.zeros_like(SCENE.truth))
    events, outcome = played(bsdm.run(scene, SMALL))
    assert not [n for n in outcome.result if str(n).startswith("auc")]
    assert not [n for e in events for n in e.scalars if n.startswith("auc")]


def test_same_events_whatever_the_listener_does(whole):
    seen = []
    for event in bsdm.run(SCENE, SMALL):
        torch.manual_seed(event.step)
        np.random.seed(event.step)
        assert torch.is_grad_enabled()
        seen.append(event)
    assert len(seen) == len(whole[0])
    assert all(same(a, b) for a, b in zip(seen, whole[0], strict=True))


def test_the_run_draws_nothing_from_the_listener():
    torch.manual_seed(7)
    before = torch.get_rng_state()
    for _ in bsdm.run(SCENE, override(SMALL, {"frozen": False, "pixels": 40})):
        assert torch.equal(torch.get_rng_state(), before)


def test_lazy_scene_gives_the_same_and_stays_as_it_is(whole):
    lazy = SCENE.chunk({"y": 5})
    before = SCENE.copy(deep=True)
    outcome = drain(bsdm.run(lazy, SMALL))
    xr.testing.assert_identical(outcome.result.drop_attrs(), whole[1].result.drop_attrs())
    xr.testing.assert_identical(SCENE, before)


def test_missing_pixels_stay_missing():
    holed = SCENE.copy(deep=True)
    holed["hsi"].values[3, 2, 5] = np.nan
    result = drain(bsdm.run(holed, SMALL)).result
    for name in ("score", "score_untrained", "score_rx", "offset_mean"):
        assert np.isnan(result[name].values[2, 5])
        assert np.isfinite(np.delete(result[name].values.ravel(), 2 * 16 + 5)).all()
    assert np.isnan(result.suppressed.values[:, 2, 5]).all()
    assert 0 <= float(result.auc) <= 1


def test_bad_bands_are_as_good_as_absent():
    wide = simulated(26)
    wide["hsi"].values[[4, 20]] = np.nan
    bad = np.isin(np.arange(26), [4, 20])
    marked = drain(bsdm.run(wide.assign_coords(good=("band", ~bad)), SMALL)).result
    absent = drain(bsdm.run(wide.isel(band=~bad), SMALL)).result
    np.testing.assert_array_equal(marked.score, absent.score)
    assert np.isnan(marked.suppressed.values[bad]).all()
    assert np.isfinite(marked.suppressed.values[~bad]).all()
    assert int(marked.bands) == 24


@pytest.mark.long
@pytest.mark.parametrize("changes", [{}, {"frozen": False, "pixels": 40}])
@pytest.mark.parametrize("at", [0, 4, 6, 8, 10])
def test_continued_run_is_the_uninterrupted_one(at, changes):
    config = override(SMALL, changes)
    events, outcome = played(bsdm.run(SCENE, config))
    trace = bsdm.run(SCENE, config)
    event = next(itertools.islice(trace, at, None))
    file = io.BytesIO()
    torch.save(event.state(), file)
    trace.close()
    file.seek(0)
    later, resumed = played(bsdm.run(SCENE, config, state=torch.load(file, weights_only=True)))
    assert len(later) == len(events) - at - 1
    assert all(same(a, b) for a, b in zip(later, events[at + 1 :], strict=True))
    xr.testing.assert_identical(resumed.result, outcome.result)
    for name, weights in outcome.weights["denoiser"].items():
        assert torch.equal(weights, resumed.weights["denoiser"][name])


def test_state_does_not_move_on_with_the_run():
    trace = bsdm.run(SCENE, SMALL)
    state = next(itertools.islice(trace, 2, None)).state()
    kept = {n: w.clone() for n, w in state["network"].items()}
    next(itertools.islice(trace, 2, None))
    assert all(torch.equal(kept[n], w) for n, w in state["network"].items())


def test_state_of_another_run_is_refused():
    state = next(itertools.islice(bsdm.run(SCENE, SMALL), 2, None)).state()
    with pytest.raises(InputError, match="t=500 there and 400 here"):
        next(bsdm.run(SCENE, override(SMALL, {"t": 400}), state=state))
    with pytest.raises(InputError, match="bands=24 there and 20 here"):
        next(bsdm.run(simulated(20), SMALL, state=state))
    with pytest.raises(InputError, match="mean="):
        next(bsdm.run(simulated(seed=9), SMALL, state=state))


@pytest.mark.parametrize(
    "changes",
    [
        {"gamma": "official"},
        {"mixing": "alpha"},
        {"offset": "image"},
        {"offset": "off"},
        {"scaling": "band"},
        {"renorm": True},
        {"t": 100},
        {"T": 600},
    ],
)
def test_every_choice_runs_and_makes_a_difference(whole, changes):
    result = drain(bsdm.run(SCENE, override(SMALL, changes))).result
    assert np.isfinite(result.score).all()
    assert not np.allclose(result.score, whole[1].result.score, rtol=1e-9)
    assert float(result.auc_oracle) == float(result.auc_rx)


def test_steps_beyond_the_schedule_and_one_pass():
    result = drain(bsdm.run(SCENE, override(SMALL, {"schedule_steps": 2, "passes": 1}))).result
    np.testing.assert_array_equal(result.suppressed, result.suppressed_first)


# --- what cannot be used ----------------------------------------------------------------------------------------------


def _changed(**variables):
    return SCENE.drop_vars("hsi").assign(**variables)


@pytest.mark.parametrize(
    ("scene", "message"),
    [
        (SCENE.drop_vars("hsi"), "bsdm needs 'hsi'"),
        (SCENE.expand_dims(sample=2), "has .*sample.* Choose one"),
        (_changed(hsi=SCENE.hsi.astype(np.complex64)), "complex"),
        (SCENE.isel(band=[0, 1]), "at least 3 bands; this scene has 2"),
        (SCENE.assign_coords(good=("band", np.arange(24) < 2)), "2 of 24 marked good"),
        (
            _changed(
                hsi=SCENE.hsi.where(
                    SCENE.hsi.band if "band" in SCENE.hsi.coords else xr.DataArray(np.arange(24) != 7, dims="band")
                )
            ),
            "band 7 has none",
        ),
        (_changed(hsi=xr.full_like(SCENE.hsi, 2.5)), "constant cube; every value is 2.5"),
        (
            _changed(
                hsi=SCENE.hsi.where(xr.DataArray((np.arange(24)[:, None] + np.arange(16)) % 2 == 0, dims=("band", "y")))
            ),
            "only 0 of 256",
        ),
    ],
)
def test_unusable_scenes_are_refused_with_the_reason(scene, message):
    with pytest.raises(InputError, match=message):
        next(bsdm.run(scene, SMALL))


def test_more_pixels_than_there_are():
    with pytest.raises(InputError, match="300 pixels a step; this scene has 256"):
        next(bsdm.run(SCENE, override(SMALL, {"pixels": 300})))


def test_divergence_is_told(monkeypatch):
    monkeypatch.setattr("workbench.methods.bsdm.training.squared_error", lambda *_: float("inf"))
    with pytest.raises(InputError, match=r"the loss of step 1 is inf\. Lower lr, now 0\.01"):
        drain(bsdm.run(SCENE, SMALL))


def test_config():
    assert Config.model_validate_json(Config(t=77).model_dump_json()) == Config(t=77)
    assert all(f.description for f in Config.model_fields.values())
    with pytest.raises(InputError, match=r"setting t='1001': .*at most 1000"):
        override(Config(), {"t": "1001"})
    with pytest.raises(InputError, match="at most 999"):
        override(Config(), {"t": 1000, "gamma": "official"})
    assert override(Config(), {"t": 1000}).t == 1000
    with pytest.raises(InputError, match="Did you mean 'passes'"):
        override(Config(), {"pases": 3})
