"""Run live, the choice "Pictures only"."""

from dit_core.jobs.job import Job
from tests.factory import make_sheets
from tests.pages.conftest import alts, put, quantized, run_button, texts


def draw_pictures(at, queue) -> Job:
    """Press Run with "Pictures only", and write the pictures of the job as its worker does; the job is not finished."""
    run_button(at).click().run()
    (job,) = queue.list()
    assert (job.kind, job.spec) == ("pictures", quantized(4))
    queue.claim()
    for side, png in make_sheets().items():
        (queue.folder(job.id) / f"{side}.png").write_bytes(png)
    return job


def test_pictures_only_are_drawn_without_a_measurement_which_can_follow(open_page, queue):
    at = open_page("run_live", quantization_bits="4", judged="1000")
    at.toggle(key="pictures-only").set_value(True).run()
    job = draw_pictures(at, queue)
    at = open_page("run_live", job=str(job.id), quantization_bits="4", judged="1000")
    assert alts(at) == ["Baseline, forming", "Quantization, forming"]
    queue.finish(job.id, "done")
    at = open_page("run_live", job=str(job.id), quantization_bits="4", judged="1000")
    assert alts(at) == ["Baseline, pictures only", "Quantization, pictures only"]
    assert "Pictures only: time, memory and quality were not measured." in texts(at)
    assert not at.metric
    at.button(key="measure").click().run()
    assert [(job.kind, job.spec) for job in queue.list()] == [("run", quantized(4)), ("pictures", quantized(4))]


def test_pictures_only_are_drawn_here_although_another_machine_has_measured_the_run(open_page, queue):
    put(quantized(4), environment={"cpu": "Another processor", "fingerprint": "0" * 8})
    at = open_page("run_live", quantization_bits="4")
    assert run_button(at).label == "Measure here"
    at.toggle(key="pictures-only").set_value(True).run()
    assert run_button(at).label == "Run"
    assert "Press **Run** to draw its images on this machine." in texts(at)
    job = draw_pictures(at, queue)
    queue.finish(job.id, "done")
    at = open_page("run_live", job=str(job.id), quantization_bits="4")
    assert alts(at) == ["Baseline, pictures only", "Quantization, pictures only"]
