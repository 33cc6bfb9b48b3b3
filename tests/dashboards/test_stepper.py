"""The slider through steps, and what keeps it at the newest one."""

import param

from workbench.views.stepper import Stepper


def made() -> tuple[Stepper, list[int]]:
    drawn: list[int] = []
    stepper = Stepper(lambda: drawn.append(stepper.at))
    return stepper, drawn


def test_the_newest_step_is_drawn_once_for_each_that_comes():
    stepper, drawn = made()
    for count in (1, 2, 5):
        stepper.fit(count)
    assert drawn == [0, 1, 4]
    assert (stepper.slider.start, stepper.slider.end, stepper.slider.value) == (1, 5, 5)


def test_whoever_drags_back_stays_there_until_told_to_follow():
    stepper, drawn = made()
    stepper.fit(4)
    stepper.slider.value = 2
    assert not stepper.follow.value
    assert drawn == [3, 1]
    stepper.fit(6)
    assert stepper.at == 1
    stepper.follow.value = True
    assert stepper.at == 5
    assert drawn == [3, 1, 1, 5]


def test_dragging_to_the_newest_goes_on_following():
    stepper, drawn = made()
    stepper.fit(3)
    stepper.follow.value = False
    stepper.slider.value = 2
    stepper.slider.value = 3
    assert drawn == [2, 2, 1, 2]


def test_without_steps_and_with_one_there_is_nothing_to_drag():
    stepper, _ = made()
    assert stepper.at == 0
    for count in (0, 1):
        stepper.fit(count)
        assert stepper.slider.disabled
        assert stepper.at == 0
    stepper.fit(2)
    assert not stepper.slider.disabled
    stepper.fit(1)  # another run, with fewer
    assert stepper.at == 0


def test_a_position_that_comes_back_late_is_no_drag(monkeypatch):
    stepper, drawn = made()
    for count in (3, 4, 5):
        stepper.fit(count)
    stepper.slider.value = 4
    assert stepper.follow.value
    assert stepper.slider.value == 5
    assert drawn == [2, 3, 4]
    monkeypatch.setattr("workbench.views.stepper.ECHO", 0.0)  # much later it is one
    stepper.slider.value = 4
    assert not stepper.follow.value
    assert stepper.at == 3


def test_where_the_slider_is_released_is_no_echo():
    stepper, drawn = made()
    for count in (3, 4, 5):
        stepper.fit(count)
    stepper.slider.value = 4  # a drag, or an echo: nobody knows before the release
    with param.edit_constant(stepper.slider):
        stepper.slider.value_throttled = 4
    assert not stepper.follow.value
    assert stepper.at == 3
    stepper.fit(6)
    assert drawn == [2, 3, 4, 3, 3]
