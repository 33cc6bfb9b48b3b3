"""A detector with a known answer, in the place of a trained one."""

import numpy as np
import torch

from workbench.parts.sarnet_network import Output


class Bright(torch.nn.Module):
    """In the place of a network: every bright cell of 8 pixels is a ship of 24 x 24 pixels."""

    def forward(self, x, shuffled=False):
        bright = torch.nn.functional.max_pool2d(x, 8)
        first = torch.cat([torch.full_like(bright, np.log(12 / 8)).expand(-1, 4, -1, -1), 20 * bright - 10], 1)
        rest = [torch.full((len(x), 5, x.shape[2] // s, x.shape[3] // s), -20.0) for s in (16, 32)]
        return Output([first, *rest], [], ())
