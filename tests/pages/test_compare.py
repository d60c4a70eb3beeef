"""The Compare page: the choice of runs, their pictures, the best value of each metric."""

import base64
import io
import json

import pytest
from PIL import Image

from dit_core.experiment import trajectories
from dit_core.models import sources
from dit_core.records.store import Store
from dit_core.ui import data as reads
from dit_core.ui import sample_images
from dit_core.ui.compare import compare_page
from tests.pages.conftest import baseline, plain, put, quantized, texts


@pytest.fixture
def runs() -> list[str]:
    """Baseline, 8 and 4 bits."""
    judged = {"distance": 1000.0, "low": 960.0, "high": 1040.0}
    return [
        put(baseline(), quality=judged),
        put(quantized(8), quality={**judged, "distance": 1010.0, "low": 970.0, "high": 1050.0}),
        put(quantized(4), quality={**judged, "distance": 1500.0, "low": 1450.0, "high": 1550.0}),
    ]


def shown(at) -> list[str]:
    """Titles of the pictures in the viewer."""
    return [picture["title"] for element in at.get("bidi_component") for picture in data(element)["pictures"]]


def data(element) -> dict:
    return json.loads(element.proto.json)


def cells(at, title: str) -> dict[str, str]:
    """Return the values of a run by title of the metric."""
    (table,) = at.table
    return {
        name.partition(",")[0].rstrip("\u00a0↑↓"): text
        for name, text in zip(table.value["Metric"], table.value[title], strict=True)
    }


def test_without_records_it_says_what_to_do(open_page):
    at = open_page("compare")
    assert "No run has been measured yet" in texts(at)
    assert [link.value for link in at.page_link] == ["Make the first run"]


def test_at_first_it_shows_the_baseline_beside_recipes_of_the_front(open_page, runs):
    assert shown(open_page("compare"))[0] == "Baseline"


def test_runs_of_the_address_are_shown_in_its_order(open_page, runs):
    at = open_page("compare", runs=[runs[2], runs[0]])
    assert shown(at) == ["Quantization, bits 4", "Baseline"]


def test_a_choice_is_in_the_address(open_page, runs):
    at = open_page("compare", runs=[runs[0], runs[1]])
    at.multiselect[0].select(runs[2]).run()
    assert at.query_params["runs"] == runs
    assert len(shown(at)) == 3


def test_one_run_alone_asks_for_another(open_page, runs):
    at = open_page("compare", runs=[runs[0]])
    assert not shown(at)
    assert "Choose at least two runs" in texts(at)


def test_runs_that_do_not_belong_together_are_left_out_with_the_reason(open_page, runs):
    other = put(quantized(4, seed=7))
    at = open_page("compare", runs=[runs[0], other, "nothing", runs[1]])
    assert shown(at) == ["Baseline", "Quantization, bits 8"]
    assert any("not comparable: seed 7 instead of 0" in plain(warning) for warning in at.warning)
    assert any("no run nothing" in plain(warning) for warning in at.warning)


def test_more_than_four_are_not_shown_at_once(open_page, runs):
    more = [put(quantized(bits)) for bits in (2, 3)]
    at = open_page("compare", runs=[*runs, *more])
    assert len(shown(at)) == compare_page.MOST
    assert "At most 4 runs" in plain(at.warning[0])


def test_the_better_value_is_marked_and_ties_are_not_broken(open_page, runs):
    at = open_page("compare", runs=runs)
    base, eight, four = (cells(at, title) for title in ("Baseline", "Quantization, bits 8", "Quantization, bits 4"))
    assert four["Weights"] == "**4.00 ✓**"
    assert base["Weights"] == "32.0"
    distance = "Distance to real images (not FID)"
    assert ("✓" in base[distance], "✓" in eight[distance], "✓" in four[distance]) == (True, True, False)
    assert not any("✓" in column["Compute"] for column in (base, eight, four))


def test_a_share_of_a_thousand_images_is_better_only_beyond_chance(open_page):
    shares = ((baseline(), 0.70), (quantized(8), 0.69), (quantized(4), 0.60))
    runs = [put(spec, quality={"class_accuracy": share}) for spec, share in shares]
    at = open_page("compare", runs=runs)
    titles = ("Baseline", "Quantization, bits 8", "Quantization, bits 4")
    marked = ["✓" in cells(at, title)["Class accuracy"] for title in titles]
    assert marked == [True, True, False]


def test_no_better_value_is_marked_where_a_quality_has_no_interval(open_page):
    runs = [put(baseline(), quality={"classifier_score": 9.0}), put(quantized(4), quality={"classifier_score": 7.0})]
    at = open_page("compare", runs=runs)
    (score,) = [name for name in cells(at, "Baseline") if name.startswith("Classifier score")]
    assert [cells(at, title)[score] for title in ("Baseline", "Quantization")] == ["9.00", "7.00"]


def test_random_weights_have_figures_and_no_pictures(open_page):
    specs = (baseline(model="random:DiT-S/2@256", samples=0), quantized(4, model="random:DiT-S/2@256", samples=0))
    at = open_page("compare", runs=[put(spec) for spec in specs])
    assert "Random weights generate no images" in at.info[0].value
    assert not shown(at)
    assert at.table


def test_the_images_of_one_class_can_be_compared_alone(open_page, runs):
    at = open_page("compare", runs=runs[:2], images="heart")
    (viewer,) = at.get("bidi_component")
    assert [label.partition(",")[0] for label in data(viewer)["labels"]] == ["heart"]


def test_a_damaged_sheet_costs_its_picture_only(open_page, runs):
    name = Store().get(runs[2]).record.samples["sheet"]
    (Store().root / "sheets" / name).write_bytes(b"not a picture")
    at = open_page("compare", runs=runs)
    assert shown(at) == ["Baseline", "Quantization, bits 8"]
    assert "Quantization, bits 4: the sample sheet is missing" in texts(at)
    assert at.table


def test_an_earlier_measurement_can_be_compared_with_the_newest(open_page, runs):
    put(quantized(4), again=True, created_at="2026-02-01T12:00:00+00:00")
    at = open_page("compare", runs=[runs[2], f"{runs[2]}.2"])
    assert shown(at) == ["Quantization, bits 4 (2)", "Quantization, bits 4"]
    assert len(at.table[0].value.columns) == 3


@pytest.fixture
def recognized() -> list[str]:
    """Baseline and 4 bits with the figure, 8 bits from before it was there."""
    shares = dict.fromkeys(sources.find("emoji").class_names, 0.5)
    return [
        put(baseline(), quality={"class_accuracy_by_class": shares}),
        put(quantized(4), quality={"class_accuracy_by_class": {**shares, "heart": 0.25}}),
        put(quantized(8)),
    ]


def by_class(at) -> dict[str, list[str]]:
    return next(table.value.to_dict("list") for table in at.table if "Class" in table.value)


def test_each_class_tells_how_often_it_is_recognized_and_of_how_many_images(open_page, recognized):
    columns = by_class(open_page("compare", runs=recognized[:2]))
    assert columns["Class"] == list(sources.find("emoji").class_names)
    assert columns["Images"] == ["56"] * 10 + ["55"] * 8  # a thousand images of eighteen classes in turn
    heart = columns["Class"].index("heart")
    assert (columns["Baseline"][heart], columns["Quantization, bits 4"][heart]) == ("50 %", "25 %")


def test_the_shown_class_has_its_row_alone_and_chance_is_told(open_page, recognized):
    at = open_page("compare", runs=recognized[:2], images="heart")
    assert by_class(at)["Class"] == ["heart"]
    assert "up to 19 points by chance" in texts(at)


def test_a_run_from_before_the_figure_by_class_says_so(open_page, recognized):
    at = open_page("compare", runs=recognized)
    assert set(by_class(at)) == {"Class", "Images", "Baseline", "Quantization, bits 4"}
    assert "No values by class for Quantization, bits 8: measured before this" in texts(at)


def test_a_run_without_judged_images_says_why_nothing_is_known_by_class(open_page):
    reason = {"class_accuracy_by_class": None, "reason": "no samples were judged"}
    runs = [put(spec, quality=reason) for spec in (baseline(samples=0), quantized(4, samples=0))]
    assert "No values by class for Baseline; Quantization: no samples were judged." in texts(
        open_page("compare", runs=runs)
    )


def keep_trajectory(run: str, steps: int) -> None:
    """How the images of a run formed: every step a grey of its own."""
    stored = reads.find(run)
    assert stored is not None
    tile, rows = stored.record.samples["tile"], len(trajectories.places(len(stored.record.samples["labels"])))
    picture, data = Image.new("RGB", (steps * tile, rows * tile)), io.BytesIO()
    for step in range(steps):
        picture.paste((step, step, step), (step * tile, 0, (step + 1) * tile, rows * tile))
    picture.save(data, "WEBP", lossless=True)
    trajectories.write(stored, data.getvalue())


def shades(picture: dict) -> list[int]:
    """The grey of each frame of a picture in the viewer."""
    frames = [base64.b64decode(frame.partition(",")[2]) for frame in picture["frames"]]
    return [Image.open(io.BytesIO(frame)).getpixel((0, 0))[0] for frame in frames]


def test_the_viewer_has_a_frame_for_each_step_of_every_run(open_page, runs):
    keep_trajectory(runs[0], 12)
    keep_trajectory(runs[1], 4)
    at = open_page("compare", runs=runs, pictures="How they form")
    assert shown(at) == ["Baseline", "Quantization, bits 8"]
    assert "bits 4: no intermediate images" in texts(at)
    (viewer,) = at.get("bidi_component")
    assert [shades(picture) for picture in data(viewer)["pictures"]] == [list(range(12)), list(range(4))]
    assert data(viewer)["steps"] == 12
    assert not at.slider  # it is in the viewer, so that a step needs no answer of the server


@pytest.mark.parametrize(
    ("query", "start"),
    [
        ({"view": "divider", "zoom": "4", "step": "3"}, {"mode": "divider", "zoom": 4, "step": 3}),
        ({"view": "nothing", "zoom": "3", "step": "-1"}, {"mode": "side", "zoom": 1, "step": 0}),
    ],
)
def test_the_viewer_begins_with_the_view_of_the_link(open_page, runs, query, start):
    (viewer,) = open_page("compare", runs=runs[:2], **query).get("bidi_component")
    assert data(viewer)["start"] == start


def test_each_run_says_where_it_was_measured(open_page, runs):
    put(quantized(3), local=True)
    at = open_page("compare", runs=[runs[0], quantized(3).run_id])
    badges = [element.value for element in at.markdown if "badge[" in element.value]
    assert ["bundled" in badges[0], "measured here" in badges[1]] == [True, True]


def test_a_small_sample_is_told_in_words(open_page):
    flag = {"flag": "small sample: 1000 images for 1280 features bias the distance upward"}
    at = open_page("compare", runs=[put(spec, quality=flag) for spec in (baseline(), quantized(4))])
    assert "Small sample: 1000 images for 1280 features bias the distance upward: compare it only with" in texts(at)


def test_verdicts_of_pairs_are_told_where_intervals_overlap(open_page):
    pairs = {"difference": -40.0, "difference_low": -60.0, "difference_high": -20.0, "difference_detectable": 30.0}
    at = open_page("compare", runs=[put(baseline()), put(quantized(4), quality=pairs), put(quantized(3))])
    assert "on the same seeds, which decides where intervals overlap: Quantization, bits 4: better." in texts(at)


def test_without_any_trajectory_it_says_how_to_get_one(open_page, runs):
    at = open_page("compare", runs=runs, pictures="How they form")
    assert "These runs have no intermediate images" in texts(at)
    assert not shown(at)


def test_a_class_that_was_not_kept_is_told(open_page, runs):
    keep_trajectory(runs[0], 12)
    labels = sample_images.labels(reads.find(runs[0]).record)
    lacking = next(label for i, label in enumerate(labels) if i not in trajectories.places(len(labels)))
    at = open_page("compare", runs=runs, pictures="How they form", images=lacking)
    assert "exist only for these classes" in texts(at)


def test_runs_of_one_origin_share_their_badge_which_names_another_machine(open_page, runs):
    at = open_page("compare", runs=runs)
    badges = [element.value for element in at.markdown if "badge[" in element.value]
    assert badges == [":gray-badge[bundled]", ":orange-badge[:material/computer: Test CPU, 2 threads]"]
    assert "All of these runs" in texts(at)
