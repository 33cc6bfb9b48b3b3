"""The recorder: whole epochs or none, the log, and continuing; with scorers whose numbers can be worked out by hand."""

import io

import numpy as np
import pytest
import torch
import xarray as xr

from workbench.baselines.coresets import AUM, EL2N, Forgetting
from workbench.errors import InputError
from workbench.methods.tdds.scoring import TDDS
from workbench.parts import dynamics as dyn
from workbench.parts.dynamics import Recorder, dynamics, open_log, score, scores

N, C = 7, 3
LABEL = np.array([0, 1, 2, 0, 1, 2, 0])


def logits_of(epoch: int, n: int = N, c: int = C) -> torch.Tensor:
    return torch.randn(n, c, generator=torch.Generator().manual_seed(epoch)) * 3


def record(recorder: Recorder, epochs, batches=((0, 3, 5), (6, 1), (2, 4))) -> Recorder:
    for epoch in epochs:
        for batch in batches:
            index = torch.tensor(batch)
            recorder(index, logits_of(epoch)[index])
        recorder.end_epoch()
    return recorder


def all_scorers():
    return {"tdds": TDDS(3), "aum": AUM(), "el2n": EL2N(0, 2), "forgetting": Forgetting()}


def test_order_of_rows_and_batches_changes_nothing():
    one = record(Recorder(LABEL, C, all_scorers()), range(5))
    other = record(Recorder(LABEL, C, all_scorers()), range(5), ((4, 2, 0), (1, 3, 6, 5)))
    xr.testing.assert_identical(one.scores(), other.scores())
    assert one.score("tdds").std() > 0


def test_scores_carry_the_identifiers():
    names = [f"chip/{i}.png" for i in range(N)]
    recorder = record(Recorder(LABEL, C, {"aum": AUM()}, sample=names), range(2))
    assert recorder.score("aum").sample.values.tolist() == names


def test_blocks_do_not_show(monkeypatch):
    whole = record(Recorder(LABEL, C, all_scorers()), range(5)).scores()
    monkeypatch.setattr(dyn, "BLOCK", 6)  # two rows at a time
    xr.testing.assert_identical(record(Recorder(LABEL, C, all_scorers()), range(5)).scores(), whole)


def test_loss_is_cross_entropy(tmp_path):
    # logits (ln 3, 0), label 0: p = 3/4, loss = ln(4/3) = 0.287682
    recorder = Recorder([0, 1], 2, log=tmp_path / "log")
    recorder(torch.tensor([0, 1]), torch.tensor([[np.log(3.0), 0.0], [np.log(3.0), 0.0]]))
    recorder.end_epoch()
    np.testing.assert_allclose(open_log(tmp_path / "log")["loss"].values, [[0.287682, 1.386294]], rtol=1e-5)


@pytest.mark.parametrize(
    ("index", "words"),
    [([0, 1, 2, 3, 4, 5, 5], "sample b5 was seen more than once"), ([0, 1, 2, 3, 4, 5], "sample b6 was seen never")],
)
def test_an_epoch_is_whole_or_not_taken(index, words):
    recorder = Recorder(LABEL, C, {"aum": AUM()}, sample=[f"b{i}" for i in range(N)])
    record(recorder, [0])
    before = recorder.score("aum")
    rows = torch.tensor(index)
    recorder(rows, logits_of(1)[rows])
    with pytest.raises(InputError, match=words):
        recorder.end_epoch()
    assert recorder.epochs == 1
    xr.testing.assert_identical(recorder.score("aum"), before)
    record(recorder, [1])  # and it can be done again
    again = record(Recorder(LABEL, C, {"aum": AUM()}, sample=[f"b{i}" for i in range(N)]), [0, 1])
    xr.testing.assert_identical(recorder.score("aum"), again.score("aum"))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_logits_must_be_finite(bad):
    recorder = Recorder(LABEL, C, {"aum": AUM()})
    logits = logits_of(0).index_fill(0, torch.tensor([4]), bad)
    recorder(torch.arange(N), logits)
    with pytest.raises(InputError, match=r"finite.*sample 4 was not"):
        recorder.end_epoch()
    with pytest.raises(InputError, match="finite"):
        score(dynamics(logits[None], LABEL), AUM())


@pytest.mark.parametrize(
    ("labels", "classes", "words"),
    [
        ([0, 0, 0], 1, "at least two classes"),
        ([1, 1, 1], 2, "all 3 samples have label 1"),
        (5, 1, "at least two classes"),
        ([0, 3], 3, "between 0 and 2"),
        ([-1, 1], 3, "between 0 and 2"),
        ([], 3, "at least one sample"),
        (0, 3, "at least one sample"),
    ],
)
def test_labels_that_cannot_be_used(labels, classes, words):
    with pytest.raises(InputError, match=words):
        Recorder(labels, classes)


def test_wrong_shapes_and_positions():
    recorder = Recorder(LABEL, C)
    with pytest.raises(InputError, match=r"logits \(B, 3\)"):
        recorder(torch.arange(2), torch.zeros(2, 4))
    with pytest.raises(InputError, match=r"logits \(B, 3\)"):
        recorder(torch.arange(3), torch.zeros(2, 3))
    for index in ([0, 7], [-1, 2]):
        with pytest.raises(InputError, match="positions 0 to 6"):
            recorder(torch.tensor(index), torch.zeros(2, 3))
    with pytest.raises(InputError, match="identifier of its own"):
        Recorder(LABEL, C, sample=["a"] * N)
    with pytest.raises(InputError, match="Did you mean 'aum'"):
        Recorder(LABEL, C, {"aum": AUM()}).score("aumm")


def test_scores_without_labels():
    recorder = record(Recorder(N, C, {"tdds": TDDS(3)}), range(4))
    labelled = record(Recorder(LABEL, C, {"tdds": TDDS(3)}), range(4))
    xr.testing.assert_identical(recorder.score("tdds"), labelled.score("tdds"))
    with pytest.raises(InputError, match="labels"):
        record(Recorder(N, C, {"aum": AUM()}), range(1))


def test_gradients_and_half_precision_are_left_alone():
    logits = torch.zeros(N, C, dtype=torch.float16, requires_grad=True)
    recorder = Recorder(LABEL, C, {"el2n": EL2N(0, 1)})
    recorder(torch.arange(N), logits)
    recorder.end_epoch()
    # p = 1/3 each: sqrt(4/9 + 1/9 + 1/9) = sqrt(2/3)
    np.testing.assert_allclose(recorder.score("el2n"), np.full(N, np.sqrt(2 / 3)), rtol=1e-12)


# --- the log ----------------------------------------------------------------------------------------------------------


def test_log_gives_the_same_scores_as_the_run(tmp_path):
    names = [f"é/{i}" for i in range(N)]
    recorder = record(Recorder(LABEL, C, all_scorers(), log=tmp_path / "log", sample=names), range(5))
    log = open_log(tmp_path / "log")
    assert log["logits"].chunks is not None  # nothing is read until asked for
    assert log["logits"].dims == ("epoch", "sample", "class")
    xr.testing.assert_allclose(scores(log, all_scorers()), recorder.scores(), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(log["logits"][2].values, logits_of(2).numpy())


def test_log_is_read_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(dyn, "BLOCK", 3)
    monkeypatch.setattr(dyn, "CHUNK", 6)  # two samples
    recorder = record(Recorder(LABEL, C, all_scorers(), log=tmp_path / "log"), range(4))
    log = open_log(tmp_path / "log")
    assert log["logits"].chunks[1] == (2, 2, 2, 1)
    xr.testing.assert_allclose(
        scores(log, all_scorers()).drop_vars("sample"), recorder.scores().drop_vars("sample"), rtol=0, atol=1e-12
    )


def test_log_at_several_lengths(tmp_path):
    recorder = Recorder(LABEL, C, {"tdds": TDDS(3)}, log=tmp_path / "log")
    after = {T: record(recorder, [T - 1]).score("tdds") if T >= 3 else record(recorder, [T - 1]) for T in range(1, 7)}
    found = scores(open_log(tmp_path / "log"), {"tdds": TDDS(3)}, at=[3, 6])["tdds"]
    for T in (3, 6):
        np.testing.assert_allclose(found.sel(T=T), after[T], rtol=0, atol=1e-12)
    with pytest.raises(InputError, match="6 are recorded"):
        scores(open_log(tmp_path / "log"), {"tdds": TDDS(3)}, at=[7])


def test_nothing_is_overwritten(tmp_path):
    record(Recorder(LABEL, C, log=tmp_path / "log"), [0])
    with pytest.raises(InputError, match="exists already"):
        record(Recorder(LABEL, C, log=tmp_path / "log"), [0])
    (tmp_path / "file").write_text("no log")
    for path in ("file", "nothing", "."):
        with pytest.raises(InputError, match="not a log"):
            open_log(tmp_path / path)


def test_half_written_epoch_is_not_shown(tmp_path):
    import zarr

    record(Recorder(LABEL, C, log=tmp_path / "log"), range(2))
    zarr.open_group(str(tmp_path / "log"), mode="r+")["logits"].resize((3, N, C))  # killed here
    assert open_log(tmp_path / "log").sizes["epoch"] == 2


# --- continuing -------------------------------------------------------------------------------------------------------


def through_file(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


@pytest.mark.parametrize("cut", [1, 3, 4])
def test_interrupted_is_uninterrupted(tmp_path, cut):
    straight = record(Recorder(LABEL, C, all_scorers(), log=tmp_path / "a"), range(6))
    first = record(Recorder(LABEL, C, all_scorers(), log=tmp_path / "b"), range(cut))
    state = through_file(first.state())
    record(first, [cut])  # the run went on a little after its last checkpoint
    first(torch.tensor([0]), logits_of(9)[:1])
    second = Recorder(LABEL, C, all_scorers(), log=tmp_path / "b")
    second.load(state)
    record(second, range(cut, 6))
    xr.testing.assert_identical(second.scores(), straight.scores())
    xr.testing.assert_identical(open_log(tmp_path / "b").load(), open_log(tmp_path / "a").load())


def test_state_is_that_of_the_last_whole_epoch():
    recorder = record(Recorder(LABEL, C, all_scorers()), range(3))
    state = recorder.state()
    recorder(torch.tensor([0, 1]), logits_of(5)[:2])
    torch.testing.assert_close(recorder.state()["previous"], state["previous"], rtol=0, atol=0)
    record(Recorder(LABEL, C, all_scorers()), range(3))


@pytest.mark.parametrize(
    ("labels", "options", "words"),
    [
        (LABEL[::-1].copy(), {}, "changed between the runs"),
        (LABEL, {"fingerprint": "other pixels"}, "changed between the runs"),
        (LABEL, {"sample": list("abcdefg")}, "changed between the runs"),
        (np.append(LABEL, 1), {}, "changed between the runs"),
        (LABEL, {"scorers": {"tdds": TDDS(4)}}, "scorers"),
    ],
)
def test_changed_data_is_noticed(tmp_path, labels, options, words):
    state = record(Recorder(LABEL, C, {"tdds": TDDS(3)}), range(3)).state()
    other = Recorder(labels, C, **{"scorers": {"tdds": TDDS(3)}, **options})
    with pytest.raises(InputError, match=words):
        other.load(state)


def test_log_of_other_data_is_not_continued(tmp_path):
    state = record(Recorder(LABEL, C, log=tmp_path / "a"), range(2)).state()
    record(Recorder(LABEL[::-1].copy(), C, log=tmp_path / "b"), range(2))
    other = Recorder(LABEL, C, log=tmp_path / "b")
    other.load(state)
    with pytest.raises(InputError, match="other data"):
        record(other, [2])


def test_memory_does_not_grow_with_epochs():
    recorder = Recorder(200, 50, {"tdds": TDDS(10)})

    def held(r):
        own = [v for v in vars(r).values() if isinstance(v, torch.Tensor)]
        return sum(t.numel() * t.element_size() for t in [*own, *(t for m in r._memory.values() for t in m.values())])

    sizes = []
    for epoch in range(30):
        recorder(torch.arange(200), logits_of(epoch, 200, 50))
        recorder.end_epoch()
        sizes.append(held(recorder))
    # two (N, C) float32, a ring of 9 and two more float64, the counts in int32
    assert sizes[-1] == sizes[0] == 200 * (2 * 50 * 4 + 11 * 8 + 4)
