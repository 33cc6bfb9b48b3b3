"""The network of GHOST's authors, recounted from its description: parameters, bit operations, megabytes; and what their counter says."""

from __future__ import annotations

import pytest

from workbench.parts.bops import FLOAT, bill

# a convolution: (inputs, outputs, side of the kernel, side of its output)


def c3(inputs, outputs, repeats, side):
    """A C3 block in the order of execution, which is that of their list: first branch, its bottlenecks, second branch, the join."""
    half = outputs // 2
    inner = [(half, half, 1, side), (half, half, 3, side)] * repeats
    return [(inputs, half, 1, side), *inner, (inputs, half, 1, side), (2 * half, outputs, 1, side)]


def superyolo(heads=3, classes=10, bands=3, side=512):
    """(convolutions that are quantised, convolutions of the heads): SuperYOLO without Focus, width 0.5, depth 0.33."""
    a, b, c, d = side // 2, side // 4, side // 8, side // 16
    body = [(bands, 32, 3, side), (32, 64, 3, a), *c3(64, 64, 1, a), (64, 128, 3, b), *c3(128, 128, 3, b)]
    body += [(128, 256, 3, c), *c3(256, 256, 3, c), (256, 512, 3, d)]
    body += [(512, 256, 1, d), (1024, 512, 1, d), *c3(512, 512, 1, d)]  # SPP, C3
    body += [(512, 256, 1, d), *c3(512, 256, 1, c), (256, 128, 1, c), *c3(256, 128, 1, b)]
    if heads == 3:
        body += [(128, 128, 3, c), *c3(256, 256, 1, c), (256, 256, 3, d), *c3(512, 512, 1, d)]
    places = [(128, b), (256, c), (512, d)][:heads]
    return body, [(n, 3 * (5 + classes), 1, at) for n, at in places]


def weights(convolutions):
    return [i * o * k * k for i, o, k, _ in convolutions]


def rows(convolutions):
    return [
        (str(n), w * c[3] ** 2, 9, False) for n, (w, c) in enumerate(zip(weights(convolutions), convolutions, strict=True))
    ]


def counted(body, head, bits=8):
    """(bit operations, megabytes): each layer once, the image and the heads in float."""
    plan = {str(n): bits for n in range(len(body))}
    count = bill(rows(body + head), plan, "input-act", {**plan, "0": FLOAT})
    return count.bops, (sum(weights(body)) * bits + sum(weights(head)) * FLOAT) / 8e6


@pytest.mark.parametrize(
    ("which", "quantised", "parameters", "gmacs", "gbops", "megabytes"),
    [
        ({}, 59, 7_085_223, 20.256, 1498, 7.19),
        ({"heads": 1, "classes": 8, "bands": 4}, 47, 4_832_871, 16.624, 1200, 4.83),  # RGB and infrared
    ],
)
def test_their_networks_have_the_stated_numbers(which, quantised, parameters, gmacs, gbops, megabytes):
    body, head = superyolo(**which)
    assert len(body) == quantised
    norms = sum(2 * o for _, o, *_ in body)
    assert sum(weights(body + head)) + norms + sum(o for _, o, *_ in head) == parameters
    whole = bill(rows(body + head))
    assert whole.macs / 1e9 == pytest.approx(gmacs, abs=5e-4)
    bops, size = counted(body, head)
    assert bops / 1e9 == pytest.approx(gbops, abs=0.5)
    assert size == pytest.approx(megabytes, abs=5e-3)


def test_their_counter_counts_two_convolutions_twice_and_forgets_two_heads():
    """It adds the entries 57 to 59 of the list in float instead of the heads, 59 to 61: two convolutions once more, and one head."""
    body, head = superyolo()
    whole = [*body, *head]
    plan = {str(n): 8 for n in range(len(body))}
    listed = bill(rows(body), plan, "list-order").bops
    added, wanted = rows(whole)[57:60], rows(whole)[59:62]
    assert [name for name, *_ in added if name in plan] == ["57", "58"]  # already counted, with 8 bits
    theirs = listed + sum(macs for _, macs, *_ in added) * FLOAT**2
    assert theirs / 1e9 == pytest.approx(1838, abs=0.5)
    size = sum(weights(body)) / 1e6 + 4 * sum(weights(whole)[57:60]) / 1e6
    assert size == pytest.approx(8.62, abs=5e-3)
    right = listed + sum(macs for _, macs, *_ in wanted) * FLOAT**2
    assert right == counted(body, head)[0]  # with one width everywhere the order of the list changes nothing


def test_the_bounds_of_the_abstract_are_above_all_that_the_code_can_need():
    """8 bits are the most that the code gives: no plan reaches 2158 G bit operations or 9.7 MB, by either count."""
    bops, size = counted(*superyolo())
    assert bops / 1e9 < 1838 < 2158
    assert size < 8.62 < 9.7
