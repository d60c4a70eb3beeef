"""The button that reproduces a record, and the comparison that follows."""

from dit_core.jobs.queue import Queue
from dit_core.records.store import Store
from tests.pages.conftest import baseline, put, put_here, quantized, texts

OTHER = {"cpu": "Elsewhere", "fingerprint": "elsewhere"}


def button(at):
    return next(button for button in at.button if button.key and button.key.startswith("reproduce-"))


def test_the_button_measures_the_run_again_even_though_it_has_a_record(open_page, queue: Queue):
    chosen = put(quantized(4), environment=OTHER)
    at = open_page("pareto", run=chosen)
    assert "Other processor (Elsewhere in the record" in button(at).help
    at = button(at).click().run()
    (job,) = queue.list()
    assert (job.spec, job.again, job.kind) == (quantized(4), True, "run")
    waiting = next(button for button in at.button if button.key and button.key.startswith("reproducing-"))
    assert waiting.disabled
    assert "Reproduce:" in waiting.label


def test_a_later_record_of_this_machine_is_compared_figure_by_figure(open_page):
    chosen = put(quantized(4), environment=OTHER)
    at = open_page("pareto", run=chosen)
    assert "Figure" not in [column for frame in at.dataframe for column in frame.value.columns]
    put_here(quantized(4), created_at="2027-01-01T00:00:00+00:00", memory={"weight_bytes": 5})
    at = open_page("pareto", run=chosen)
    (title,) = [expander.label for expander in at.expander if expander.label.startswith("Reproduced here")]
    assert "figures hold, times not compared: this is another machine" in title
    frame = next(frame.value for frame in at.dataframe if "Holds" in frame.value.columns)
    assert frame.loc[frame["Holds"] == "NO", "Figure"].tolist() == ["memory.weight_bytes"]
    assert "- Other processor (Elsewhere in the record" in texts(at)
    stored = Store().get(chosen)
    assert stored is not None
    at = open_page("pareto", run=stored.point_id)  # the later record itself has no rerun yet
    assert not [expander for expander in at.expander if expander.label.startswith("Reproduced here")]


def test_a_run_that_cannot_be_measured_here_says_why(open_page):
    chosen = put(baseline(model="nowhere.pt"))
    at = open_page("pareto", run=chosen)
    assert button(at).disabled
    assert "nowhere.pt" in button(at).help
