import math
import random
import statistics
import time
from functools import partial

import numpy as np
import pytest

from dit_core.errors import Cancelled
from dit_core.experiment.prepare import Workload
from dit_core.listener import Listener
from dit_core.measure import Calls, latency, measure_pair, speed
from dit_core.measure.interleaved import MOST_CALLS, PairTiming, Plan, turn_calls
from dit_core.measure.interval import interval, ratio, turn_spread
from dit_core.measure.latency import FEW_TURNS, UNSETTLED, disturbance
from dit_core.measure.timing_process import Timed, time_pair_in_new_process
from dit_core.records.schema import problem
from dit_core.records.spec import RunSpec
from dit_core.system import isolation
from tests.factory import make_record
from tests.fake_workload import Failing, Sleeping
from tests.workers import lives

pytestmark = pytest.mark.slow

QUANTIZED = RunSpec(
    model="random:DiT-XS/8@256", techniques=({"name": "quantization"},), steps=1, batch_size=1, samples=0
)
SHORT = Plan(least=2, turns=2, enough_s=0.0, most_s=0.0)
IDLE = Calls(lambda: None, lambda: None)


class Clock:
    """Time passes only in `work`, slower and slower by `drift` a second, with a tenth of noise."""

    def __init__(self, seed: int = 0, drift: float = 0.05) -> None:
        self.now, self.noise, self.drift = 0.0, random.Random(seed), drift

    def __call__(self) -> float:
        return self.now

    def work(self, seconds: float) -> None:
        self.now += seconds * (1 + self.drift * self.now) * self.noise.uniform(0.9, 1.1)


def noise(kind: str, turns: int, draw: np.random.Generator) -> np.ndarray:
    """Log times of both sides in their turns: (turns, 2)."""
    if kind == "independent":
        return 0.05 * draw.standard_normal((turns, 2))
    if kind == "heavy":
        hiccup = (draw.random((turns, 2)) < 0.1) * np.log(draw.uniform(1, 3, (turns, 2)))
        return 0.03 * draw.standard_normal((turns, 2)) + hiccup
    if kind == "steady":
        return 0.005 * draw.standard_normal((turns, 2))
    states = [draw.standard_normal()]  # lasting: autoregressive from call to call, as of a machine busy for a while
    while len(states) < 2 * turns:
        states.append(0.9 * states[-1] + math.sqrt(1 - 0.81) * draw.standard_normal())
    return draw.permuted(0.1 * np.array(states).reshape(turns, 2), axis=1)


def same_twice(kind: str, turns: int, seed: int, processes: int = 3, offset: float = 0.02) -> list[PairTiming]:
    """A/A in processes that are alike but for `offset`, the deviation of their log ratios, and a common one."""
    draw = np.random.default_rng(seed)
    timings = []
    for _ in range(processes):
        own = 0.03 * draw.standard_normal() + offset / math.sqrt(2) * draw.standard_normal(2)
        times = np.exp(noise(kind, turns, draw) + own)
        timings.append(PairTiming(times[:, 0].tolist(), times[:, 1].tolist()))
    return timings


def different(timings: list[PairTiming]) -> bool:
    low, high = interval(timings, draws=40)
    return not low <= 1 <= high


@pytest.mark.parametrize("turns", [2, 5, 10])
@pytest.mark.parametrize("kind", ["steady", "independent", "heavy", "lasting"])
def test_a_run_against_itself_is_called_different_in_three_of_a_hundred_at_most(kind, turns):
    """Each process is off by 2 %, as memory and clocks happen to lie."""
    tries = 400
    assert sum(different(same_twice(kind, turns, seed)) for seed in range(tries)) <= 0.03 * tries


def test_processes_that_differ_more_than_usual_still_stay_within_one_of_twenty():
    tries = 600
    missed = sum(different(same_twice("steady", 10, seed, offset=0.06)) for seed in range(tries))
    assert missed <= 0.05 * tries + 2 * math.sqrt(0.05 * 0.95 * tries)


def test_the_interval_is_narrow_enough_to_tell_a_tenth():
    missed = sum(
        different([PairTiming([1.1 * s for s in one.baseline_s], one.candidate_s) for one in timings])
        for timings in (same_twice("steady", 10, seed, offset=0.01) for seed in range(50))
    )
    assert missed >= 48


@pytest.mark.parametrize("processes", [1, 2])
def test_fewer_processes_are_taken_to_differ_as_they_usually_do(processes):
    tries = 200
    assert sum(different(same_twice("steady", 10, seed, processes)) for seed in range(tries)) <= 0.03 * tries
    widths = [np.diff(interval(same_twice("steady", 10, 1, count, offset=0)))[0] for count in (1, 2, 3)]
    assert widths == sorted(widths, reverse=True)


def test_the_interval_contains_the_ratio_even_where_processes_disagree():
    timings = [PairTiming([2.0] * 9, [1.0] * 9), PairTiming([3.0] * 5, [1.0] * 5), PairTiming([9.0] * 5, [5.0] * 5)]
    low, high = interval(timings)
    assert low <= ratio(timings) <= high
    assert ratio(timings) == 3.0 / 1.0


def test_the_ratio_is_of_medians_so_that_one_hiccup_does_not_count():
    assert PairTiming([2.0, 2.0, 50.0], [1.0, 1.0, 1.0]).ratio() == 2
    assert ratio([PairTiming([2.0, 50.0], [1.0, 1.0]), PairTiming([2.0], [1.0])]) == 2


def test_what_hits_both_sides_of_a_turn_is_no_noise_of_their_ratio():
    together = PairTiming([1.0, 2.0, 3.0] * 3, [1.0, 2.0, 3.0] * 3)
    assert turn_spread(together) < 1e-9 < turn_spread(PairTiming([1.0, 2.0, 3.0] * 3, [3.0, 1.0, 2.0] * 3))


def test_a_drifting_machine_does_not_tell_a_run_from_itself():
    missed = 0
    for seed in range(40):
        clock = Clock(seed)
        timing = measure_pair(partial(clock.work, 0.1), partial(clock.work, 0.1), clock=clock, seed=seed)
        missed += different([timing])
    assert missed <= 2


def test_a_candidate_twice_as_fast_is_found_and_timed_for_as_long():
    clock = Clock(1, drift=0)
    timing = measure_pair(partial(clock.work, 0.2), partial(clock.work, 0.1), clock=clock)
    low, high = interval([timing])
    assert low < 2 < high < low + 0.6
    assert timing.turn_calls == (1, 2)
    assert len(timing.candidate_s) == 2 * len(timing.baseline_s)
    assert all((len(base), len(own)) == (1, 2) for base, own in timing.turns())
    assert min(sum(timing.baseline_s), sum(timing.candidate_s)) >= Plan().enough_s


def test_a_faster_side_is_called_more_often_in_its_turn_up_to_a_bound():
    assert turn_calls([1.0, 1.1]) == (1, 1)
    assert turn_calls([0.3, 1.0]) == (3, 1)
    assert turn_calls([1.0, 0.001]) == (1, MOST_CALLS)
    assert turn_calls([1.0]) == (1, 1)


@pytest.mark.parametrize(("seconds", "turns"), [(4.0, Plan().least), (600.0, 2)])
def test_a_slow_pair_stops_at_its_time_limit_with_the_least_turns_and_after_a_minute_with_two(seconds, turns):
    clock = Clock(drift=0)
    timing = measure_pair(partial(clock.work, seconds), partial(clock.work, seconds), clock=clock)
    assert len(timing.baseline_s) == len(timing.candidate_s) == timing.turn_count == turns


def test_a_slow_pair_that_never_settles_is_warmed_up_for_half_a_minute_and_then_twice():
    clock, seconds = Clock(drift=0), iter(range(600, 0, -20))
    timing = measure_pair(lambda: clock.work(next(seconds)), lambda: clock.work(next(seconds)), clock=clock)
    assert (timing.warmup_calls, timing.turn_count) == (4, 2)


def test_few_turns_are_told_and_flagged_and_widen_the_interval(monkeypatch):
    monkeypatch.setattr(latency, "PROCESSES", 1)
    widths = []
    for count in (10, 2):
        one = PairTiming([1.0, 1.4] * (count // 2), [1.4, 1.0] * (count // 2))
        monkeypatch.setattr(latency, "time_pair", lambda *_, one=one: Timed(one, 1.0, []))
        told, speedup = speed(IDLE, Sleeping(), Listener())
        assert told["process_turns"] == [count]
        assert told.get("flag", "") == ("" if count == 10 else FEW_TURNS.format(2))
        assert speedup["blocks"] == count
        widths.append(speedup["high"] - speedup["low"])
    assert widths[0] < widths[1]


def test_the_progress_of_timing_never_goes_back_and_moves_while_another_process_times(monkeypatch):
    def slow(workload, plan, seed, limit_s, watch):
        for _ in range(8):
            time.sleep(0.02)
            watch()
        return Timed(PairTiming([1.0] * 5, [1.0] * 5), 1.0, [])

    def first(calls, device, plan, seed, listener):
        listener.progress("speed", plan.turns, plan.turns)
        time.sleep(0.1)
        return Timed(PairTiming([1.0] * 5, [1.0] * 5), 1.0, [])

    monkeypatch.setattr(latency, "time_pair", first)
    monkeypatch.setattr(latency, "time_pair_in_new_process", slow)
    steps = []
    speed(IDLE, Sleeping(), Listener(progress=lambda _, step, of: steps.append((step, of))))
    assert {of for _, of in steps} == {30}
    assert [step for step, _ in steps] == sorted(step for step, _ in steps)
    assert len({step for step, _ in steps if 10 <= step < 20}) > 3
    assert steps[-1] == (30, 30)


def test_a_warm_up_that_never_settles_is_told_and_flagged(monkeypatch):
    clock = Clock()
    seconds = iter([8.0, 4.0, 2.0, 1.0, 0.5, *[0.1] * 1000])
    timing = measure_pair(lambda: clock.work(next(seconds)), None, clock=clock)
    assert (timing.warmed_up, timing.warmup_calls) == (False, 5)
    steady = Clock(drift=0)
    assert measure_pair(lambda: steady.work(0.1), None, clock=steady, plan=SHORT).warmed_up

    monkeypatch.setattr(latency, "PROCESSES", 1)
    monkeypatch.setattr(latency, "time_pair", lambda *_: Timed(timing, 1.0, []))
    told, _ = speed(Calls(lambda: None), Sleeping(), Listener())
    assert told["warmed_up"] is False
    assert told["flag"] == UNSETTLED


def test_what_disturbed_a_timing_is_told():
    assert not disturbance(0.99, 0)
    assert "had it 55 %" in disturbance(0.55, 0)
    assert "2 other processes" in disturbance(1.0, 2)


def test_a_timing_tells_how_much_of_the_processor_it_had(monkeypatch):
    monkeypatch.setattr(latency, "PLAN", SHORT)
    monkeypatch.setattr(latency, "PROCESSES", 1)
    told, _ = speed(Calls(lambda: time.sleep(0.01)), Sleeping(), Listener())  # waiting is not having it
    assert told["processor_share"] < 0.9
    assert "other programs used the processor" in told["flag"]


def test_both_sides_are_timed_in_three_processes_and_stored_by_process(monkeypatch):
    monkeypatch.setattr(latency, "PLAN", SHORT)
    steps = []
    listener = Listener(progress=lambda stage, step, of: steps.append((stage, step / of)))
    told, speedup = speed(Sleeping(QUANTIZED).load(), Workload(QUANTIZED), listener)
    assert told["processes"] == len(told["process_calls"]) == len(speedup["process_ratios"]) == 3
    assert sum(told["process_calls"]) == told["calls"] == len(told["raw_s"])
    assert sum(speedup["baseline_process_calls"]) == len(speedup["baseline_raw_s"])
    assert told["latency_s"] == pytest.approx(statistics.median(told["raw_s"]), rel=1e-4)
    assert speedup["low"] <= speedup["ratio"] <= speedup["high"]
    assert speedup["ratio"] == pytest.approx(speedup["baseline_latency_s"] / told["latency_s"])
    assert {look["process"] for look in told["machine"]} == {0, 1, 2}
    assert steps[-1] == ("speed", 1.0)
    assert [step for _, step in steps] == sorted(step for _, step in steps)
    record = make_record(QUANTIZED)
    assert not problem({**record.to_dict(), "latency": {**record.latency, **told}, "speedup": speedup})


def test_a_process_that_fails_costs_only_itself_and_is_a_reason(monkeypatch):
    monkeypatch.setattr(latency, "PLAN", SHORT)
    told, speedup = speed(IDLE, Failing("exit", spec=QUANTIZED), Listener())
    assert (told["processes"], len(speedup["process_ratios"])) == (1, 1)
    assert told["reasons"]["processes"] == "timed in 1 of 3 processes, since one failed: no memory is left"


@pytest.mark.parametrize(
    ("how", "reason"), [("kill", "Killed"), ("raise", "ValueError: wrong"), ("hang", "longer than its limit")]
)
def test_every_way_of_failing_has_its_reason(how, reason):
    with pytest.raises(isolation.Failed, match=reason):
        time_pair_in_new_process(Failing(how), SHORT, 0, 2.0 if how == "hang" else 60, lambda: None)


def test_cancelling_ends_the_process_that_times(tmp_path):
    note = tmp_path / "pid"

    def cancel() -> None:
        if note.exists() and note.read_text().endswith(" "):
            raise Cancelled

    with pytest.raises(Cancelled):
        time_pair_in_new_process(Failing("hang", note), SHORT, 0, 60, cancel)
    assert not lives(int(note.read_text()))
