"""The run: train the float teacher, choose the bits, train the quantised copy that it teaches, then the rivals; score all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from workbench.data.boxed_images import images_of
from workbench.event import Event, Outcome, Trace
from workbench.methods.ghost.deploy import Trained, packed
from workbench.methods.ghost.detecting import watched
from workbench.methods.ghost.files import check, measured
from workbench.methods.ghost.plans import Plans
from workbench.methods.ghost.result import result_of
from workbench.methods.ghost.settings import Config
from workbench.methods.ghost.training import Student, Teacher, calibration, quantised, quantizer_of
from workbench.parts.training import about, same_run, weights

OURS = "ghost"


def run(scene: xr.Dataset, config: Config, state: Mapping[str, Any] | None = None) -> Trace:
    """Train on the training images and score on the test images.

    One event for each step: `loss/teacher`; then of our copy `loss`, `attention`, `open`; then the same with `/NAME` of each rival. At the
    first, every `show_every` and the last step of each also `val_ap50`; of the teacher and of our copy boxes and attention of one
    validation image. docs/methods/ghost.md lists the result.
    """
    images = images_of(scene, config, who="ghost", every=config.bands == "all")
    if config.files:
        check(images, config)
    view = watched(images)
    identity = about(images.fingerprint, config)
    arms = [OURS, *config.rivals, *(f"lsq{bits}" for bits in config.uniform_bits)]
    total = config.steps + config.student_steps * len(arms)
    finished: dict[str, Any] = {}
    unfinished = None
    if state is not None:
        same_run("ghost", state["about"], identity)
        finished, unfinished = dict(state["finished"]), state["going"]
    start = calibration(images, config)
    teacher = Teacher(images, config)
    plans: Plans | None = None
    for n, name in enumerate(["teacher", *arms]):
        if name in finished:
            if name == "teacher":
                teacher.network.load_state_dict(finished[name]["weights"])
            continue
        if name == "teacher":
            learner: Teacher | Student = teacher
        else:
            plans = plans or Plans(teacher.network.eval(), images, config, start)
            learner = Student(name, teacher.network, plans.of(name), images, config, start)
        if unfinished is not None:
            learner.load(unfinished)
            unfinished = None
        before = 0 if n == 0 else config.steps + (n - 1) * config.student_steps

        def saved(learner: Teacher | Student = learner) -> dict[str, Any]:
            return {"about": identity, "finished": dict(finished), "going": learner.state()}

        while learner.done < learner.total:
            numbers, arrays = learner.step(), {}
            if learner.done % config.show_every == 0 or learner.done in (1, learner.total):
                score = view.score(learner.network, images, config)
                numbers |= {"val_ap50": float(score)} if np.isfinite(score) else {}
                if name in ("teacher", OURS):
                    who = "teacher" if name == "teacher" else "student"
                    arrays = view.drawn(learner.network, images, config, who)
                    if name == OURS:
                        arrays |= {"teacher": view.drawn(teacher.network, images, config, "teacher")["teacher"]}
            if name != OURS:
                numbers = {f"{quantity}/{name}": value for quantity, value in numbers.items()}
            yield Event(before + learner.done, numbers, arrays, total, saved)
        finished[name] = {"weights": weights(learner.network)}
        if isinstance(learner, Student):
            finished[name] |= {"bits": learner.bits, "opened": learner.opened, "logits": learner.logits}
    plans = plans or Plans(teacher.network.eval(), images, config, start)
    networks = {}
    for name in arms:
        networks[name] = quantised(teacher.network, finished[name]["bits"], quantizer_of(name, config), start[:2])
        networks[name].load_state_dict(finished[name]["weights"])
    bits = {name: finished[name]["bits"] for name in arms}
    result, operating = result_of(scene, images, config, plans, networks, bits, finished[OURS])
    if config.files:
        trained = Trained(networks[OURS].cpu(), config, images.names, bits[OURS], operating)
        result = result.assign(measured(trained, teacher.network, images))
    saved_weights = packed(networks[OURS], bits[OURS], config, images.names, operating)
    return Outcome(result, saved_weights | {"teacher": finished["teacher"]["weights"]})
