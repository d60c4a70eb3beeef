"""Sweeps from the dashboard: both ways in, their progress on any page, how they are cancelled, bad input."""

import re

import pytest

from dit_core.experiment import known
from dit_core.jobs.queue import QueueError
from dit_core.recipes.recipe import canonical
from dit_core.records.spec import RunSpec
from dit_core.ui.components import sweeps
from dit_core.ui.run_live import knob_sweep
from tests.pages.conftest import baseline, plain, put, quantized, texts

HERE = {"device": "cpu", "cpu": "Desk CPU", "threads": 2, "torch": "2.14.1", "fingerprint": "this-machine"}
THERE = "test-machine"  # that of the factory's records


@pytest.fixture(autouse=True)
def _this_machine(monkeypatch):
    stand_on(monkeypatch)


def stand_on(monkeypatch, **environment):
    """This machine has such an environment."""
    monkeypatch.setattr(known, "local_environment", {"cpu": {**HERE, **environment}}.get)


def here(spec: RunSpec, **sections) -> None:
    """A record of this machine."""
    put(spec, local=True, environment={"cpu": HERE["cpu"], "fingerprint": HERE["fingerprint"]}, **sections)


@pytest.fixture
def fronts():
    """Three bundled runs that lead, and one that they beat, of another machine."""
    put(baseline(), quality={"distance": 1000.0})
    put(quantized(8), speedup={"ratio": 1.3}, quality={"distance": 1100.0})
    put(quantized(4), speedup={"ratio": 2.0}, quality={"distance": 1500.0})
    put(quantized(2), speedup={"ratio": 1.1}, memory={"peak_memory_bytes": 900_000_000}, quality={"distance": 3000.0})


def pruned(keep: int) -> RunSpec:
    return baseline(techniques=canonical([{"name": "depth_pruning", "keep": keep}]))


def moe(size: int) -> RunSpec:
    return baseline(techniques=canonical([{"name": "moe", "expert_size": size}]))


def specs(queue, number: int = 1) -> list[RunSpec]:
    return [job.spec for job in queue.sweep(number).jobs]


def keys(at) -> set[str]:
    return {button.key for button in at.button}


def table(at) -> dict[str, str]:
    """Of the table of values, the first column and the last."""
    (shown,) = [one.value for one in at.table if "Known from" in one.value]
    return dict(zip(shown["Value"], shown["Known from"], strict=True))


# Measure the fronts here.


def test_the_fronts_of_another_machine_can_be_measured_here_the_baseline_first(open_page, queue, fronts):
    at = open_page("pareto")
    assert (
        "**These fronts were measured on another machine, Test CPU, 2 threads. This machine: Desk CPU, 2 threads.**"
        in texts(at)
    )
    assert "The fronts and their baseline are 3 runs. 3 are not measured here yet: about " in texts(at)
    at.button(key="sweep-fronts").click().run()
    assert specs(queue) == [baseline(), quantized(4), quantized(8)]
    assert at.query_params["sweep"] == "1"
    assert "3 are already in a sweep." in texts(at)
    assert "sweep-fronts" not in keys(at)


def test_what_is_known_here_is_not_measured_again(open_page, queue, fronts):
    here(baseline())
    at = open_page("pareto", machine="Test CPU, 2 threads, float32, torch 2.14.1")
    assert "1 is already measured here. 2 are not measured here yet" in texts(at)
    at.button(key="sweep-fronts").click().run()
    assert specs(queue) == [quantized(4), quantized(8)]


def test_where_all_of_the_fronts_is_known_here_nothing_is_offered_but_the_way_to_them(open_page, fronts):
    for spec in (baseline(), quantized(4), quantized(8)):
        here(spec)
    at = open_page("pareto", machine="Test CPU, 2 threads, float32, torch 2.14.1")
    assert "3 are already measured here. Nothing is left to measure." in texts(at)
    assert "sweep-fronts" not in keys(at)
    at.button(key="fronts-of-here").click().run()
    assert "Desk CPU" in at.selectbox(key="machine").value
    assert "another machine" not in texts(at)


def test_fronts_of_this_machine_are_not_offered(open_page, fronts, monkeypatch):
    stand_on(monkeypatch, fingerprint=THERE)
    at = open_page("pareto")
    assert "sweep-fronts" not in keys(at)
    assert "another machine" not in texts(at)


def test_on_the_same_processor_it_says_what_else_differs(open_page, fronts, monkeypatch):
    stand_on(monkeypatch, cpu="Test CPU", torch="2.15.0")
    at = open_page("pareto")
    assert "These fronts were measured on this machine with torch 2.14.1. This machine: torch 2.15.0." in texts(at)
    assert "another machine" not in texts(at)


def test_a_front_that_needs_a_device_which_is_not_here_is_not_offered(open_page):
    put(baseline(device="cuda"), environment={"gpu": "NVIDIA Test"})
    assert "sweep-fronts" not in keys(open_page("pareto"))


def test_what_cannot_run_on_this_network_is_refused_with_its_reason_and_the_others_go_on(open_page, queue, fronts):
    put(pruned(9), speedup={"ratio": 4.0}, quality={"distance": 2000.0})
    at = open_page("pareto")
    assert "Depth pruning: depth_pruning does not fit this network: it has 8 blocks" in texts(at)
    at.button(key="sweep-fronts").click().run()
    assert specs(queue) == [baseline(), quantized(4), quantized(8)]


def test_the_pace_of_earlier_runs_here_tells_how_long_it_will_take(open_page, queue, fronts, monkeypatch):
    job = queue.submit(quantized(5))
    queue.claim()
    started = queue.get(job).started_at
    monkeypatch.setattr("time.time", lambda: started + 100)
    queue.finish(job, "done", run_id=quantized(5).run_id)
    here(quantized(5))
    told = texts(open_page("pareto"))
    assert re.search(r"3 are not measured here yet: about .+, judging by earlier runs on this machine\.", told)


# Sweep a knob.


def open_knob(open_page, **query):
    return open_page("run_live", **{"technique": "quantization", "knob-sweep": "true", **query})


def test_the_panel_is_closed_at_first_and_there_is_none_for_the_baseline(open_page):
    assert "sweep-knob" not in keys(open_page("run_live"))
    closed, none = ([one.label for one in open_page("run_live", technique=name).expander] for name in ("moe", "none"))
    assert any(label.startswith("Sweep a knob") for label in closed)
    assert not any(label.startswith("Sweep a knob") for label in none)


def test_values_go_from_one_end_of_a_knob_to_the_other_with_what_is_known_of_each(open_page, fronts):
    here(quantized(6))
    rows = table(open_knob(open_page, quantization_bits="6"))
    assert rows == {
        "Baseline": ":gray-badge[bundled] Test CPU, 2 threads",
        "Bits 2": ":gray-badge[bundled] Test CPU, 2 threads",
        "Bits 4": ":gray-badge[bundled] Test CPU, 2 threads",
        "Bits 5": ":gray[not measured yet]",
        "Bits 6": ":blue-badge[measured here]",
        "Bits 8": ":gray-badge[bundled] Test CPU, 2 threads",
    }


def test_what_is_not_known_here_is_queued_with_the_baseline_and_all_other_knobs_of_the_form(open_page, queue):
    here(quantized(4, steps=7))
    at = open_knob(open_page, steps="7")
    at.multiselect(key="values-quantization-bits").set_value(["4", "2"]).run()
    assert list(table(at)) == ["Baseline", "Bits 2", "Bits 4"]
    at.button(key="sweep-knob").click().run()
    assert specs(queue) == [baseline(steps=7), quantized(2, steps=7)]
    assert table(at)["Bits 2"] == ":gray[not measured yet] · in sweep 1"
    assert "Nothing to queue: every value that can run is in a sweep already." in texts(at)


def test_a_stack_offers_the_knobs_of_all_its_techniques(open_page, queue):
    at = open_knob(open_page, technique=["depth_pruning", "quantization"])
    knob = at.selectbox(key="sweep-of-depth_pruning-quantization")
    assert {"Depth pruning: keep", "Quantization: bits"} <= set(knob.options)
    knob.select("Quantization: bits").run()
    at.multiselect(key="values-quantization-bits").set_value(["3"]).run()
    at.button(key="sweep-knob").click().run()
    changed = [[entry["name"] for entry in spec.techniques] for spec in specs(queue)]
    assert changed == [[], ["depth_pruning", "quantization"]]
    assert specs(queue)[1].techniques[1]["bits"] == 3


def test_without_a_value_there_is_nothing_to_queue(open_page):
    at = open_knob(open_page)
    at.multiselect(key="values-quantization-bits").set_value([]).run()
    assert "Choose at least one value." in texts(at)
    assert "sweep-knob" not in keys(at)


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("9", "quantization: bits must be between 2 and 8, got 9."),
        ("many", "quantization: bits must be a whole number, got 'many'."),
    ],
)
def test_a_typed_value_that_no_run_can_have_is_one_line_and_the_others_stay(open_page, typed, told):
    at = open_page(
        "run_live", **{"technique": "quantization", "knob-sweep": "true", "values-quantization-bits": [typed, "4"]}
    )
    assert [plain(error) for error in at.error] == [told]
    assert list(table(at)) == ["Baseline", "Bits 4"]
    assert "sweep-knob" in keys(at)


def test_a_value_that_the_network_cannot_take_is_refused_with_its_reason(open_page, queue):
    query = {"technique": "depth_pruning", "knob-sweep": "true", "values-depth_pruning-keep": ["4", "9"]}
    at = open_page("run_live", **query)
    assert "it has 8 blocks, so keep cannot be 9" in table(at)["Keep 9"]
    at.button(key="sweep-knob").click().run()
    assert specs(queue) == [baseline(), pruned(4)]


def test_values_that_the_network_cannot_take_are_not_chosen_at_first(open_page):
    at = open_knob(open_page, technique="depth_pruning")
    assert list(table(at)) == ["Baseline", "Keep 1", "Keep 3", "Keep 4", "Keep 6", "Keep 8"]


# Their progress, on any page.


@pytest.mark.parametrize("page", ["run_live", "pareto"])
def test_a_sweep_is_found_again_by_its_link_and_by_any_browser(open_page, queue, page):
    put(baseline())
    number = queue.submit_sweep([quantized(bits) for bits in (2, 3, 4)])
    queue.claim()
    queue.finish(number, "done", run_id=quantized(2).run_id)
    own, other = open_page(page, sweep=str(number)), open_page(page)
    assert f"**Sweep {number} · Quantization: bits 2, 3, 4**" in texts(own)
    assert own.get("progress")[0].text.startswith("1 of 3 done, about 0 s left · next in the queue")
    assert "Sweep in progress: **Quantization: bits 2, 3, 4**" in texts(other)
    other.button(key=f"follow-{number}").click().run()
    assert f"**Sweep {number} · Quantization: bits 2, 3, 4**" in texts(other)


@pytest.mark.parametrize(
    ("runs", "title"),
    [
        ([baseline()], "Baseline"),
        ([baseline(), quantized(4)], "Quantization"),
        ([baseline(), pruned(4), quantized(4)], "2 recipes of emoji"),
        ([quantized(4), quantized(2)], "Quantization: bits 4, 2"),
        ([moe(0), moe(96)], "Mixture of experts: expert size 0, 96"),
    ],
)
def test_a_sweep_is_named_by_what_it_goes_through(queue, runs, title):
    assert sweeps.title(queue.sweep(queue.submit_sweep(runs))) == title


def test_a_second_click_queues_nothing_twice(open_page, queue, fronts):
    at, other = open_page("pareto"), open_page("pareto")
    for each in (at, other):
        each.button(key="sweep-fronts").click().run()
    assert len(queue.list()) == 3


def test_a_queue_that_cannot_be_written_is_one_line(open_page, queue, fronts, monkeypatch):
    at = open_page("pareto")

    def refuse(*rest, **options):
        raise QueueError("The job queue cannot be used: disk full.")

    monkeypatch.setattr("dit_core.jobs.queue.Queue.submit_sweep", refuse)
    at.button(key="sweep-fronts").click().run()
    assert [plain(error) for error in at.error] == ["The job queue cannot be used: disk full."]
    assert "sweep" not in at.query_params


def test_a_sweep_tells_how_many_jobs_come_before_its_next_run(open_page, queue):
    number = queue.submit_sweep([quantized(2), quantized(3)])
    queue.submit(quantized(8))
    queue.submit(quantized(7))
    assert (
        "0 of 2 done · 2 jobs before its next run" in open_page("run_live", sweep=str(number)).get("progress")[0].text
    )


def test_a_failed_run_tells_its_reason_and_a_skipped_one_that_it_was_known(open_page, queue):
    number = queue.submit_sweep([quantized(2), quantized(3), quantized(4)])
    queue.claim()
    queue.finish(number, "out-of-memory", reason="Memory ran out.", hint="Choose a smaller batch.")
    queue.claim(lambda spec: spec.run_id if spec == quantized(3) else None)
    at = open_page("run_live", sweep=str(number))
    assert "**Quantization, bits 2** out-of-memory: Memory ran out. Choose a smaller batch." in texts(at)
    assert at.get("progress")[0].text == "1 of 3 done (1 already measured), 1 failed · running: Quantization, bits 4"


def test_cancelling_a_sweep_leaves_every_other_job(open_page, queue):
    number = queue.submit_sweep([quantized(2), quantized(3)])
    single = queue.submit(quantized(8))
    at = open_page("run_live", sweep=str(number))
    at.button(key=f"cancel-sweep-{number}").click().run()
    assert {job.state for job in queue.sweep(number).jobs} == {"cancelled"}
    assert queue.get(single).state == "queued"
    at = open_page("run_live", sweep=str(number))
    assert "2 cancelled" in at.get("progress")[0].text
    at.button(key="close-sweep").click().run()
    assert "sweep" not in at.query_params


def test_an_ended_sweep_leads_to_its_points(open_page, queue):
    number = queue.submit_sweep([quantized(2)])
    queue.claim()
    here(quantized(2))
    queue.finish(number, "done", run_id=quantized(2).run_id)
    at = open_page("run_live", sweep=str(number))
    (link,) = [link for link in at.page_link if link.value == "Show in plots"]
    assert "Desk+CPU" in link.proto.query_string
    put(baseline())
    put(quantized(4))
    at = open_page("pareto", sweep=str(number))
    assert "Test CPU" in at.selectbox(key="machine").value
    at.button(key="points").click().run()
    assert "Desk CPU" in at.selectbox(key="machine").value


@pytest.mark.parametrize("named", ["7", "nothing", "9" * 30])
def test_a_link_to_a_sweep_of_another_queue_says_so(open_page, named):
    assert f"Sweep {named} is not in this queue." in texts(open_page("run_live", sweep=named))


def test_this_machine_lists_a_sweep_in_one_line_among_the_jobs(open_page, queue):
    queue.submit(quantized(8))
    number = queue.submit_sweep([quantized(bits) for bits in (2, 3, 4)])
    queue.submit(quantized(7))
    at = open_page("machine")
    jobs = [link.value for link in at.page_link if link.value.startswith(("Job", "Sweep"))]
    assert jobs == ["Job 5: Quantization, bits 7", "Sweep 2: Quantization: bits 2, 3, 4", "Job 1: Quantization, bits 8"]
    assert "0 of 3 done" in texts(at)
    at.button(key=f"cancel-sweep-{number}").click().run()
    assert [job.state for job in queue.list(single=True)] == ["queued", "queued"]
    assert queue.sweep(number).state == "cancelled"


def test_values_without_bundled_weights_are_swept_without_recovery():
    spec = baseline(techniques=canonical([{"name": "depth_pruning", "keep": 4, "recover": "bundled"}]))
    (knob,) = [knob for knob in knob_sweep.sweep_knobs(spec) if knob.knob.name == "keep"]
    recovery = {keep: knob.with_value(spec, keep).techniques[0]["recover"] for keep in (3, 4, 5)}
    assert recovery == {3: "none", 4: "bundled", 5: "none"}
