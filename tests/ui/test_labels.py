"""Labels next to the points of a plot."""

from dit_core.ui.charts.labels import place_labels

RANGE = [0.0, 10.0]


def texts(points, line=()):
    return [a["text"] for a in place_labels(points, line, RANGE, RANGE, empty=(False, True), height=400)]


def test_labels_of_points_far_apart_are_all_shown():
    assert texts([(2, 8, "one"), (8, 2, "two")]) == ["one", "two"]


def test_labels_that_would_cover_each_other_are_omitted():
    crowd = [(5 + i / 100, 5, f"a long label {i}") for i in range(40)]
    assert 0 < len(texts(crowd)) < 40


def test_a_label_at_the_edge_is_placed_inwards():
    (annotation,) = place_labels([(0.1, 5, "a long label")], [], RANGE, RANGE, empty=(False, True), height=400)
    assert annotation["xanchor"] == "left"


def test_a_label_does_not_cover_the_front():
    points = [(5, 8, "a long label"), (6, 2, "")]
    (annotation,) = place_labels(points, [(5, 8), (6, 2)], RANGE, RANGE, empty=(True, True), height=400)
    assert annotation["xanchor"] == "right"


def test_a_label_that_fits_only_a_wide_plot_is_omitted():
    assert texts([(5, 5, "x" * 30)]) == []
    assert texts([(5, 5, "x" * 15)]) != []


def test_a_label_has_a_line_for_each_technique_and_a_line_break_before_the_knobs_of_a_long_one():
    (text,) = texts([(2, 8, "Depth pruning, keep 6 + Solver")])
    assert text == "Depth pruning,<br>keep 6 +<br>Solver"


def test_a_label_without_room_next_to_its_point_is_further_away_with_a_line_to_it():
    around = [(5 + dx, 5 + dy, "") for dx in (-1, -0.5, 0.5, 1) for dy in (-0.4, 0.4)]
    (annotation,) = place_labels([(5, 5, "a label"), *around], [], RANGE, RANGE, empty=(False, True), height=400)
    assert annotation["ay"] > 20
    assert annotation["arrowcolor"].startswith("#")


def test_the_line_to_a_label_crosses_no_other_label():
    crowd = [(5 + i / 100, 5, f"a long label {i}") for i in range(40)]
    annotations = place_labels(crowd, [], RANGE, RANGE, empty=(False, True), height=400)
    far = {a["text"] for a in annotations if a["ax"] > 0 and a["ay"] > 20}
    near = {a["text"] for a in annotations if a["ax"] > 0 and 0 < a["ay"] < 20}
    assert not (far and near)  # below to the right, a far label's line would cross the near one


def test_a_name_that_a_person_gave_is_no_markup():
    (text,) = texts([(2, 8, "<b>me</b> & I")])
    assert text == "&lt;b&gt;me&lt;/b&gt; &amp; I"
