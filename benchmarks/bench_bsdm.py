"""BSDM: our full-image training step against a straightforward network of the same description.

    python -m benchmarks.bench_bsdm [--bands 189 205] [--steps 8] [--threads 2] [--chunk 2500]

Both networks train in one process, in turns, from the same weights on the same simulated 100 x 100 cube. The straightforward
one repeats each pixel's mean and spread over all bands and sends the whole image through at once; ours adds up those columns
first, computes what never changes once, goes through the image in chunks, and takes the faster tanh. Prints the median
seconds of a step of each, the median of the step-by-step ratios, and the largest difference of their losses. Ends with exit
code 1 when a ratio is below 1.5 or losses differ by more than 1e-6.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time

import torch
from torch import Tensor, nn

from workbench.methods.bsdm.settings import Config
from workbench.methods.bsdm.training import Training


class StraightBlock(nn.Module):
    def __init__(self, i: int, hidden: int, o: int, time_width: int) -> None:
        super().__init__()
        self.norm_in, self.first, self.second = nn.LayerNorm(i), nn.Linear(i, hidden), nn.Linear(hidden, o)
        self.time, self.norm_out, self.last = nn.Linear(time_width, o), nn.LayerNorm(o), nn.Linear(o, o)
        self.skip = nn.Identity() if i == o else nn.Linear(i, o)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        h = self.second(torch.tanh(self.first(torch.tanh(self.norm_in(x)))))
        h = h + self.time(torch.tanh(time))[:, None]
        return self.last(torch.tanh(self.norm_out(h))) + self.skip(x)


class Straightforward(nn.Module):
    """Images (B, C, M, N) -> (B, C, M, N), written down as the description reads; parameters named as in `Denoiser`."""

    def __init__(self, bands: int, config: Config) -> None:
        super().__init__()
        e, i, w, c, t = config.embed, config.inner, config.width, config.code, config.time_width
        self.time = nn.ModuleDict({"first": nn.Linear(e, t), "second": nn.Linear(t, t)})
        self.offset = nn.ModuleDict({"wide": nn.Linear(2 * bands, t), "narrow": nn.Linear(t, e)})
        self.embed = nn.Linear(bands, e)
        shapes = ((e, i, w), (w, i, c), (c, w, c), (c, w, c), (c, i, w), (w, i, e))
        self.blocks = nn.ModuleList(StraightBlock(*shape, t) for shape in shapes)
        self.out = nn.Linear(e, bands)

    def forward(self, image: Tensor, t: Tensor) -> Tensor:
        b, bands, rows, columns = image.shape
        x = image.permute(0, 2, 3, 1).reshape(b, rows * columns, bands)
        half = self.embed.out_features // 2
        angles = t[:, None] * torch.exp(-math.log(1e4) * torch.arange(half) / half).to(image.dtype)
        time = self.time["first"](torch.cat([angles.sin(), angles.cos()], -1))
        time = self.time["second"](torch.tanh(time))
        mean = x.mean(-1, keepdim=True).repeat(1, 1, bands)
        std = x.std(-1, keepdim=True).repeat(1, 1, bands)
        offset = self.offset["narrow"](torch.tanh(self.offset["wide"](torch.cat([mean, std], -1))))
        h = self.embed(x) + offset
        for block in self.blocks:
            h = block(h, time)
        return self.out(torch.tanh(h)).reshape(b, rows, columns, bands).permute(0, 3, 1, 2)


class StraightTraining:
    """The same steps as `Training` (fixed learning rate) on images; starts from its weights and its noise."""

    def __init__(self, ours: Training, rows: int, dtype: torch.dtype = torch.float32) -> None:
        pixels, bands = ours.clean.shape
        self.network = Straightforward(bands, ours.config).to(dtype)
        self.network.load_state_dict(ours.network.state_dict())
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=ours.config.lr, weight_decay=ours.config.weight_decay
        )
        self.t = torch.tensor([ours.config.t])
        signal, noise = ours.coefficients
        shape = (1, rows, pixels // rows, bands)
        clean, self.eps = (x.reshape(shape).permute(0, 3, 1, 2).contiguous().to(dtype) for x in (ours.clean, ours.eps))
        self.x_t = signal * clean + noise * self.eps

    def step(self, lr: float) -> float:
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        self.optimiser.zero_grad()
        loss = nn.functional.mse_loss(self.network(self.x_t, self.t), self.eps)
        loss.backward()
        self.optimiser.step()
        return loss.item()


def simulated(pixels: int, bands: int) -> Tensor:
    """Scaled spectra (P, C): random mixtures of six smooth simulated endmembers."""
    generator = torch.Generator().manual_seed(0)
    axis = torch.linspace(0, 3, bands, dtype=torch.float64)
    phase = torch.rand(6, 1, generator=generator, dtype=torch.float64)
    endmembers = 0.5 + 0.4 * torch.sin(axis * (1 + 2 * phase) + 6 * phase)
    shares = torch.rand(pixels, 6, generator=generator, dtype=torch.float64)
    return shares / shares.sum(1, keepdim=True) @ endmembers


def compare(bands: int, steps: int, chunk: int) -> tuple[float, float]:
    """(median ratio, largest difference of losses) over `steps` steps after one to warm up."""
    ours = Training(simulated(100 * 100, bands), Config(chunk=chunk))
    straight = StraightTraining(ours, rows=100)
    seconds: list[tuple[float, float]] = []
    differences = []
    for _ in range(steps + 1):
        begin = time.perf_counter()
        step = ours.step()
        between = time.perf_counter()
        loss = straight.step(step["lr"])
        seconds.append((time.perf_counter() - between, between - begin))
        differences.append(abs(loss - step["loss"]))
    ratio, difference = statistics.median(s / o for s, o in seconds[1:]), max(differences)
    print(
        f"100 x 100 x {bands}, {steps} steps, {torch.get_num_threads()} threads: "
        f"straightforward {statistics.median(s for s, _ in seconds[1:]):.3f} s, "
        f"ours {statistics.median(o for _, o in seconds[1:]):.3f} s, ratio {ratio:.2f}, "
        f"largest difference of losses {difference:.1e} (last loss {loss:.4f})"
    )
    return ratio, difference


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bands", type=int, nargs="+", default=[189, 205])
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--chunk", type=int, default=Config().chunk)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    results = [compare(bands, args.steps, args.chunk) for bands in args.bands]
    return int(any(ratio < 1.5 or difference > 1e-6 for ratio, difference in results))


if __name__ == "__main__":
    raise SystemExit(main())
