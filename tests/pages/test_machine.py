"""This machine: techniques, what they can do here, the queue."""

from dit_core.techniques import registry
from tests.pages.conftest import quantized, texts


def test_every_technique_is_explained_under_its_family(open_page):
    at = open_page("machine")
    for technique in registry().values():
        assert technique.summary in texts(at)
    assert {found.family.capitalize() for found in registry().values()} < {head.value for head in at.subheader}


def test_the_queue_lists_jobs_and_lets_a_waiting_one_be_cancelled(open_page, queue):
    job = queue.submit(quantized(4))
    at = open_page("machine")
    assert any(f"Job {job}" in link.value for link in at.page_link)
    at.button(key=f"cancel-{job}").click().run()
    assert queue.get(job).state == "cancelled"
    assert "cancelled" in texts(at)
