"""Labels beside points."""

from dit_core.ui.labels import place

RANGE = [0.0, 10.0]


def texts(points, line=()):
    return [a["text"] for a in place(points, line, RANGE, RANGE, empty=(False, True), height=400)]


def test_labels_of_points_far_apart_are_all_shown():
    assert texts([(2, 8, "one"), (8, 2, "two")]) == ["one", "two"]


def test_labels_that_would_cover_each_other_are_left_out():
    crowd = [(5 + i / 100, 5, f"a long label {i}") for i in range(9)]
    assert 0 < len(texts(crowd)) < 9


def test_a_label_at_the_edge_turns_inwards():
    (annotation,) = place([(0.1, 5, "a long label")], [], RANGE, RANGE, empty=(False, True), height=400)
    assert annotation["xanchor"] == "left"


def test_a_label_stays_off_the_front():
    points = [(5, 8, "a long label"), (6, 2, "")]
    (annotation,) = place(points, [(5, 8), (6, 2)], RANGE, RANGE, empty=(True, True), height=400)
    assert annotation["xanchor"] == "right"


def test_a_label_that_fits_a_wide_plot_only_is_left_out():
    assert texts([(5, 5, "x" * 30)]) == []
    assert texts([(5, 5, "x" * 15)]) != []
