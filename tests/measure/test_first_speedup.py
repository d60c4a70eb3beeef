"""The first estimate of a speed-up, with a clock that only the calls move."""

import pytest

from dit_core.measure import Calls, first_speedup, latency


class Clock:
    """Stands for the module `time`; `call(seconds)` is a call that takes so long."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[float] = []

    def perf_counter(self) -> float:
        return self.now

    monotonic = perf_counter

    def call(self, seconds: float):
        def run() -> None:
            self.now += seconds
            self.calls.append(seconds)

        return run


@pytest.fixture
def clock(monkeypatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(latency, "time", made)
    return made


def test_both_sides_alternate_until_the_time_is_over(clock):
    ratio = first_speedup(Calls(clock.call(0.6), clock.call(0.4)), lambda: None, most_s=3.0)
    assert ratio == pytest.approx(1.5)
    assert clock.calls == [0.6, 0.4] * len(clock.calls[::2])
    assert clock.now <= 3.0


def test_slow_calls_run_once_each(clock):
    assert first_speedup(Calls(clock.call(40.0), clock.call(10.0)), lambda: None, most_s=3.0) == pytest.approx(4.0)
    assert clock.calls == [40.0, 10.0]


def test_a_baseline_has_no_speed_up(clock):
    assert first_speedup(Calls(clock.call(1.0), None), lambda: None) is None
    assert clock.calls == []
