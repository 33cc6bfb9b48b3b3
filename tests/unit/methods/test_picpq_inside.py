"""The float network of a run of PIC-PQ, opened again: maps of a filter, and the accuracy without some."""

import numpy as np
import pytest
import torch

from tests.unit.methods.test_picpq import chips
from workbench.errors import InputError
from workbench.execution import execute
from workbench.methods.picpq import SMOKE, open_float
from workbench.methods.picpq.training import judged
from workbench.parts.filter_properties import feature_ranks
from workbench.parts.pruning import sliced

pytest.importorskip("torch_pruning")


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    folder = tmp_path_factory.mktemp("picpq") / "run"
    execute("picpq", chips(), {**SMOKE, "rivals": []}, folder)
    return open_float(folder, chips())


def test_the_maps_of_a_filter_have_the_ranks_of_the_run(opened):
    rows = opened.chips.train[:8].cpu().numpy()
    layer = opened.plan.groups[2].root
    ranks = feature_ranks(opened.network, opened.chips.values[opened.chips.train[:8]], [layer])[layer]
    for number in (0, len(ranks) - 1):
        maps = torch.from_numpy(opened.maps(2, number, rows))
        assert float(torch.linalg.matrix_rank(maps).double().mean()) == pytest.approx(ranks[number])


def test_the_accuracy_without_filters_is_that_of_the_network_cut_there(opened):
    gone = [(0, 1), (2, 0)]
    kept = [np.setdiff1d(np.arange(g.count), [n for at, n in gone if at == k]) for k, g in enumerate(opened.plan.groups)]
    cut = sliced(opened.network, opened.plan, kept, opened.chips.values[:2]).eval()
    assert opened.without(gone).validation == judged(cut, opened.chips, opened.chips.val)[1]
    assert opened.without(gone).test == judged(cut, opened.chips, opened.chips.test)[1]


def test_samples_to_look_at_are_of_all_classes_and_for_validation(opened):
    rows = opened.shown(4)
    assert set(rows) <= set(opened.chips.val.tolist())
    label = opened.chips.label.numpy()
    assert len(set(label[rows])) == min(4, len(set(label[opened.chips.val.numpy()])))


def test_filters_and_data_that_do_not_fit_are_told(opened, tmp_path):
    with pytest.raises(InputError, match="Filter 999 of group 0 does not exist"):
        opened.without([(0, 999)])
    with pytest.raises(InputError, match="has not finished, or its method saves no weights"):
        open_float(tmp_path, chips())
