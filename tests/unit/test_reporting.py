"""Verdicts from mean and spread, the page without requests, and refusals before anything is written."""

from __future__ import annotations

import errno
import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_rel

from workbench import cli, execution, runs
from workbench.errors import InputError
from workbench.event import drain
from workbench.execution import pending
from workbench.methods import METHODS
from workbench.methods import notebook as notebook_of
from workbench.reports import notebook as reporting
from workbench.reports.claims import Claim, corrected, holm, student, summary
from workbench.reports.html import html
from workbench.reports.notebook import NotebookFailed, report, run_notebook
from workbench.resources import folder as resource
from workbench.views.tables import spread


def notebook(path: Path, *sources: str, parameters: str = "steps: int = 3  # how many") -> Path:
    """A notebook with a parameters cell and one code cell per source, named cell-0, cell-1, ..."""
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    import nbformat

    made = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
    made.cells = [nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})]
    made.cells += [nbformat.v4.new_code_cell(s, metadata={"name": f"cell-{n}"}) for n, s in enumerate(sources)]
    nbformat.write(made, path)
    return path


class TestClaim:
    def test_interval_is_students(self) -> None:
        # gains 0.01 0.02 0.03: mean 0.02, std 0.01, t(0.975, 2) = 4.302653; 4.302653 * 0.01 / sqrt(3) = 0.0248414
        claim = Claim("", [0.91, 0.92, 0.93], [0.90])
        assert claim.interval == pytest.approx((0.02 - 0.0248414, 0.02 + 0.0248414), abs=1e-7)
        assert claim.verdict == "undecided"

    def test_compares_seed_by_seed(self) -> None:
        # both sides wander by 0.1 together, ours always 0.010 to 0.012 higher: mean 0.011, half width 0.0025
        claim = Claim("", [0.810, 0.911, 0.712], [0.80, 0.90, 0.70])
        assert claim.interval == pytest.approx((0.011 - 0.0024841, 0.011 + 0.0024841), abs=1e-6)
        assert claim.verdict == "holds"

    def test_lower_does_not_hold(self) -> None:
        assert Claim("", [0.89, 0.88, 0.885], [0.95]).verdict == "does not hold here"

    def test_one_seed_decides_nothing(self) -> None:
        claim = Claim("", [0.99], [0.5])
        assert claim.interval == (-math.inf, math.inf)
        assert claim.verdict == "undecided"
        assert "one seed" in claim.row()[3]

    @pytest.mark.parametrize(
        ("ours", "verdict"), [(0.91, "on this scene"), (0.90, "not on this scene"), (0.89, "not on this scene")]
    )
    def test_without_randomness_one_scene_is_a_fact_and_no_test(self, ours: float, verdict: str) -> None:
        claim = Claim("", [ours], [0.90], random=False)
        assert claim.verdict == verdict
        assert math.isnan(claim.p)
        assert claim.interval == (-math.inf, math.inf)
        assert "[" not in claim.row()[3]

    def test_seeds_without_any_spread_decide_nothing(self) -> None:
        assert Claim("", [0.91, 0.91, 0.91], [0.90]).verdict == "on this scene"  # the interval would have no width
        claim = Claim("", [0.8, 0.3], [0.7, 0.2])  # gains .1 and .1, apart by rounding
        assert claim.gains[0] != claim.gains[1]
        assert claim.verdict == "on this scene"
        assert math.isnan(claim.p)

    def test_over_scenes(self) -> None:
        # gains .01 .02 .03 -.01: mean .0125, std .017078, t = 1.4639, two-sided p with 3 degrees of freedom 0.2394
        claim = Claim("", [0.91, 0.82, 0.73, 0.59], [0.90, 0.80, 0.70, 0.60], over="scenes")
        assert claim.verdict == "undecided"
        assert claim.p == pytest.approx(ttest_rel(claim.ours, claim.control).pvalue, rel=1e-9)
        assert claim.p == pytest.approx(0.2394, abs=1e-4)
        assert claim.row()[3].endswith("3 wins, 1 losses of 4")
        assert Claim("", [0.9], [0.8], over="scenes").verdict == "on this scene"
        assert Claim("", [0.91, 0.82, 0.73], [0.90, 0.81, 0.721], over="scenes").verdict == "holds"
        equal = Claim("", [0.9, 0.8], [0.9, 0.8], over="scenes")
        assert equal.verdict == "undecided"  # no gain on any scene
        assert equal.row()[3] == "+0.0000; 0 wins, 0 losses of 2"

    def test_no_truth(self) -> None:
        assert Claim("x beats y", [], []).row() == ("x beats y", "–", "–", "–", "cannot be tested: no truth")

    def test_unequal_numbers_of_seeds(self) -> None:
        with pytest.raises(ValueError, match="cannot be compared"):
            _ = Claim("", [0.9, 0.9, 0.9], [0.8, 0.8]).gains

    def test_what_draws_nothing_against_what_does(self) -> None:
        # one number of ours against three seeds of the control: gains 0.04 0.05 0.06
        assert Claim("", [0.95], [0.91, 0.90, 0.89]).interval[0] == pytest.approx(0.05 - 0.0248414, abs=1e-7)


class TestCorrection:
    def test_holm_by_hand(self) -> None:
        # sorted .005 .01 .03 .04 times 4 3 2 1 = .02 .03 .06 .04, then never falling: .02 .03 .06 .06
        assert holm(np.array([0.01, 0.04, np.nan, 0.03, 0.005])) == pytest.approx(
            [0.03, 0.06, np.nan, 0.06, 0.02], nan_ok=True
        )
        assert holm(np.array([0.5, 0.6])).tolist() == [1.0, 1.0]
        assert holm(np.array([])).tolist() == []

    def test_a_false_claim_holds_in_at_most_one_table_in_twenty(self) -> None:
        """1000 simulated tables of 8 claims over 5 seeds: 6 false ones that share their rival's or our draws, and 2 true ones."""
        rng = np.random.default_rng(0)
        ours = rng.normal(0.90, 0.01, (1000, 1, 5))
        control = rng.normal(0.90, 0.01, (1000, 8, 5))
        control[:, 6:] -= 0.05
        gains = ours - control
        p = student(gains)
        above = gains.mean(-1) > 0
        plain, fair = above & (p <= 0.05), above & (holm(p) <= 0.05)
        wrong = fair[:, :6].any(1).mean()
        assert plain[:, :6].any(1).mean() > 0.05  # the correction is needed ...
        assert 0 < wrong <= 0.05  # ... does what it promises ...
        assert fair[:, 6:].mean() > 0.5  # ... and does not simply refuse everything
        for n in range(40):  # the claims of a table say the same
            claims = corrected([Claim("", ours[n, 0], rival) for rival in control[n]])
            assert [c.verdict == "holds" for c in claims] == fair[n].tolist()

    def test_facts_do_not_count_among_the_tests(self) -> None:
        tested = Claim("a", [0.95, 0.96, 0.97], [0.90])
        (alone, fact) = corrected([tested, Claim("b", [0.9], [0.8], random=False)])
        assert alone == tested
        assert fact.verdict == "on this scene"
        first, second = corrected([tested, tested])
        assert first.among == second.among == pytest.approx(2 * tested.p)
        assert ", Holm" in first.row()[3]
        assert corrected([]) == []


def test_spread_and_summary() -> None:
    # 0.94 0.95 0.96: mean 0.95, std with n - 1 = 0.01
    assert spread([0.94, 0.95, 0.96]) == "0.9500 ± 0.0100"
    assert spread([0.5]) == "0.5000"
    flat = summary({"auc_a": [0.94, 0.95, 0.96], "auc_b": [0.5], "none": []})
    assert flat == pytest.approx({"auc_a_mean": 0.95, "auc_a_std": 0.01, "auc_b": 0.5})


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_notebook_that_exists(method: str) -> None:
    assert (resource("notebooks") / f"{notebook_of(method)}.ipynb").exists()


WHOLE = {"config": {}, "scene": {}, "start": "2026-01-01T00:00:00+00:00", "versions": {}, "platform": "x"}


class TestRefusals:
    """Nothing is written, and no kernel is started, when the user's input cannot be used."""

    @pytest.mark.process
    @pytest.mark.parametrize(
        ("method", "scene", "overrides", "says"),
        [
            ("rxx", "sim-coast-town", {}, "Did you mean 'rx'"),
            ("rx", "sim-coast-twon", {}, "sim-coast-town"),
            ("bsdm", "sim-coast-town", {"stepz": "3"}, "Did you mean 'steps'"),
            ("bsdm", "sim-coast-town", {"steps": "0"}, "steps"),
            ("bsdm", "sim-coast-town", {"pixels": "99999"}, "pixels"),
        ],
    )
    def test_user_input(self, tmp_path: Path, method: str, scene: str, overrides: dict[str, str], says: str) -> None:
        out = tmp_path / "out"
        with pytest.raises(InputError, match=says):
            report(method, scene, overrides, out, smoke=True, progress=False)
        assert not out.exists()

    def test_a_folder_with_a_run(self, tmp_path: Path) -> None:
        (tmp_path / "run.json").write_text("{}")
        with pytest.raises(InputError, match="nothing is overwritten"):
            report("rx", "sim-coast-town", folder=tmp_path)

    @pytest.mark.parametrize(
        ("about", "says", "continued"),
        [
            ({"status": "stopped"}, r"holds a run \(stopped\)", True),
            ({"status": "finished"}, r"holds a run \(finished\)", False),
            (
                {"status": "failed", "notebook": {"name": "anomaly", "sha256": "0", "parameters": {}}},
                r"holds a report \(failed\)",
                False,
            ),
        ],
    )
    def test_only_what_can_be_done_is_offered(
        self, tmp_path: Path, about: dict[str, object], says: str, continued: bool
    ) -> None:
        (tmp_path / "run.json").write_text(json.dumps({"method": "rx", **WHOLE, **about}))
        with pytest.raises(InputError, match=says) as refused:
            report("rx", "sim-coast-town", folder=tmp_path)
        assert "choose another folder (--out)" in str(refused.value)
        assert (f"`workbench run --resume {tmp_path}`" in str(refused.value)) == continued
        assert "--resume" not in str(refused.value).replace("workbench run --resume", "")  # `report` has no such option

    def test_a_report_is_not_continued(self, tmp_path: Path) -> None:
        notebook = {"name": "anomaly", "sha256": "0", "parameters": {}}
        about = {"method": "report-rx", "status": "killed", "notebook": notebook, **WHOLE}
        (tmp_path / "run.json").write_text(json.dumps(about))
        with pytest.raises(InputError, match=r"holds a report.* Make a new one: `workbench report rx SCENE`"):
            execution.resume(tmp_path)


class TestRunNotebook:
    def test_unknown_parameter(self, tmp_path: Path) -> None:
        path = notebook(tmp_path / "n.ipynb", "print(steps)")
        with pytest.raises(InputError, match="no parameter 'stepz'; its parameters are steps"):
            run_notebook(path, {"stepz": 3}, tmp_path / "out" / "report.ipynb", progress=False)
        assert not (tmp_path / "out").exists()

    def test_parameter_of_another_type(self, tmp_path: Path) -> None:
        path = notebook(tmp_path / "n.ipynb", "print(steps)")
        with pytest.raises(InputError, match="takes steps as int; got 'three'"):
            run_notebook(path, {"steps": "three"}, tmp_path / "out" / "report.ipynb", progress=False)

    @pytest.mark.process
    def test_broken_cell_keeps_the_rest_and_is_named(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = notebook(tmp_path / "n.ipynb", "print('before', steps)", "1 / 0", "print('after')")
        out = tmp_path / "out" / "report.ipynb"
        with pytest.raises(NotebookFailed, match=r"(?s)ZeroDivisionError.*cell 'cell-1' of n.ipynb"):
            run_notebook(path, {"steps": 5}, out)
        import nbformat

        kept = {c.metadata.get("name"): c for c in nbformat.read(out, as_version=4).cells}
        assert kept["cell-0"].outputs[0].text == "before 5\n"
        assert kept["cell-1"].metadata.papermill.status == "failed"
        assert not kept["cell-2"].outputs
        assert "cell 1" in capsys.readouterr().err

    @pytest.mark.process
    def test_input_error_inside_stays_one(self, tmp_path: Path) -> None:
        path = notebook(tmp_path / "n.ipynb", "import workbench as wb; raise wb.InputError('no such band')")
        with pytest.raises(InputError, match="^no such band .*cell-0"):
            run_notebook(path, {}, tmp_path / "report.ipynb", progress=False)

    @pytest.mark.process
    def test_kernel_is_this_interpreter(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import sys

        spec = tmp_path / "share" / "kernels" / "python3"  # a kernelspec of that name that leads elsewhere
        spec.mkdir(parents=True)
        (spec / "kernel.json").write_text(
            json.dumps({"argv": ["/nowhere/python"], "display_name": "x", "language": "python"})
        )
        monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share"))
        path = notebook(tmp_path / "n.ipynb", "import sys; print(sys.executable)")
        done = run_notebook(path, {}, tmp_path / "out" / "report.ipynb", progress=False)
        assert done.cells[-1].outputs[0].text.strip() == sys.executable


@pytest.mark.long
def test_page_leaves_out_code_and_foreign_cells() -> None:
    import nbformat

    made = nbformat.v4.new_notebook()
    made.cells = [
        nbformat.v4.new_markdown_cell("# Shown"),
        nbformat.v4.new_code_cell("secret = 1", outputs=[nbformat.v4.new_output("stream", text="told\n")]),
        nbformat.v4.new_markdown_cell("hidden A", metadata={"tags": ["lab-only"]}),
        nbformat.v4.new_markdown_cell("hidden B", metadata={"tags": ["only-bsdm"]}),
        nbformat.v4.new_markdown_cell("for rx", metadata={"tags": ["only-rx"]}),
    ]
    page = html(made, "rx on <scene>", "rx")
    assert "<title>rx on &lt;scene&gt;</title>" in page
    assert "default-src 'none'" in page
    assert "Shown" in page
    assert "told" in page
    assert "for rx" in page
    assert "secret" not in page
    assert "hidden" not in page
    assert len(made.cells) == 5


class TestPending:
    def test_nothing_is_left_of_a_finished_run(self, tmp_path: Path) -> None:
        trace = pending("rx", "sim-coast-town", {}, tmp_path / "rx")
        assert trace is not None
        drain(trace)
        assert pending("rx", "sim-coast-town", {}, tmp_path / "rx") is None

    def test_other_settings_are_refused(self, tmp_path: Path) -> None:
        drain(pending("rp-rx", "sim-coast-town", {"seed": 1}, tmp_path / "rp"))
        with pytest.raises(InputError, match="other settings"):
            pending("rp-rx", "sim-coast-town", {"seed": 2}, tmp_path / "rp")

    @pytest.mark.long
    def test_unfinished_is_continued(self, tmp_path: Path) -> None:
        small = {"steps": 3, "passes": 1, "embed": 8, "inner": 8, "width": 8, "code": 4, "time_width": 8}
        begun = pending("bsdm", "sim-coast-town", small, tmp_path / "b")
        next(begun)
        begun.close()
        assert runs.read(tmp_path / "b")["status"] == "stopped"
        drain(pending("bsdm", "sim-coast-town", small, tmp_path / "b"))
        assert runs.read(tmp_path / "b")["status"] == "finished"
        assert [line["step"] for line in runs.events(tmp_path / "b")] == list(range(6))


class TestDeath:
    """What ends a notebook from outside is told as what it was, and the notebook is kept as far as it came."""

    def kept(self, out: Path) -> list:
        import nbformat

        named = [c for c in nbformat.read(out, as_version=4).cells if "name" in c.metadata]
        assert named[1].outputs[-1].ename == "NotebookFailed"  # the page shows why it ends here
        return [c.metadata.papermill.status for c in named]

    @pytest.mark.process
    def test_a_cell_may_take_so_long_and_no_longer(self, tmp_path: Path) -> None:
        path = notebook(tmp_path / "n.ipynb", "print('before')", "import time; time.sleep(60)", "print('after')")
        out = tmp_path / "out" / "report.ipynb"
        with pytest.raises(NotebookFailed, match=r"Cell 'cell-1' of n.ipynb took longer than the 1 s"):
            run_notebook(path, {}, out, cell_timeout=1, progress=False)
        assert self.kept(out) == ["completed", "failed", "pending"]

    @pytest.mark.process
    def test_a_killed_kernel_is_told_by_its_signal(self, tmp_path: Path) -> None:
        path = notebook(tmp_path / "n.ipynb", "print('before')", "import os; os.kill(os.getpid(), 9)", "print('after')")
        out = tmp_path / "out" / "report.ipynb"
        with pytest.raises(NotebookFailed, match=r"killed by signal 9 \(SIGKILL\).* in cell 'cell-1' of n.ipynb"):
            run_notebook(path, {}, out, progress=False)
        assert self.kept(out) == ["completed", "failed", "pending"]

    def test_the_systems_count_tells_lack_of_memory(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Ended:
            def poll(self) -> int:
                return -9

        monkeypatch.setattr(reporting, "_killed_for_memory", lambda: 4)
        assert reporting._cause_of_death([Ended()], 3) == "was killed by the system for lack of memory"
        assert "perhaps by the system for lack of memory" in reporting._cause_of_death([Ended()], 4)
        Ended.poll = lambda self: 7
        assert reporting._cause_of_death([Ended()], 3) == "exited without an error message (exit code 7)"

    def test_a_full_disk_is_one_clear_error(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Papermill's own write of the notebook refused as a full disk does, behind everything of ours."""
        import papermill.iorw

        def full(self: object, buf: str, path: str) -> None:
            raise OSError(errno.ENOSPC, "No space left on device", path)

        path = notebook(tmp_path / "n.ipynb", "1")
        folder = runs.create(tmp_path / "out", {"method": "report-x", "config": {}, "scene": {}})
        monkeypatch.setattr(papermill.iorw.LocalHandler, "write", full)
        with pytest.raises(InputError, match="the disk is full"):
            drain(runs.record(reporting.execution(path, {}, folder, "t", progress=False), folder))
        assert runs.read(folder)["status"] == "failed"
        assert "the disk is full" in runs.read(folder)["error"]

    def test_a_read_only_place_is_refused_and_a_broken_cell_ends_with_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def refuse(*args: object, **kwargs: object) -> None:
            raise OSError(errno.EROFS, "Read-only file system", str(tmp_path / "out"))

        with monkeypatch.context() as patched:
            patched.setattr(Path, "mkdir", refuse)
            with pytest.raises(InputError, match="read-only; choose another folder"):
                runs.create(tmp_path / "out", {})

        def broken(*args: object, **kwargs: object) -> None:
            raise NotebookFailed("ZeroDivisionError: division by zero\nin cell 'metrics' of anomaly.ipynb")

        monkeypatch.setattr(reporting, "report", broken)
        monkeypatch.setattr("sys.argv", ["workbench", "report", "rx", "digits", "--out", str(tmp_path / "x")])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert end.value.code == 1
        assert capsys.readouterr().err.startswith("workbench: ZeroDivisionError: division by zero\nin cell 'metrics'")


def test_a_notebook_is_read_without_grammars_of_addresses(importing) -> None:  # noqa: ANN001
    """They take a second, in every report and in every cell of a sweep."""
    asked = "from workbench.reports.notebook import parameters_of, shipped; parameters_of(shipped()['anomaly'])"
    (modules,) = importing(asked)
    assert "papermill" in modules
    assert not {"lark", "rfc3987_syntax"} & modules
