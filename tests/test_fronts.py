"""Pareto fronts and hypervolumes, against counts by hand and against the definition."""

import random

import pytest

from dit_core.fronts import coverage, front, hypervolume


def test_in_two_dimensions_the_volume_is_the_area_of_the_staircase():
    #  reference (4, 4): 3 x 1 of the first, then 2 x 1 and 1 x 1 that the others add
    assert hypervolume([(1, 3), (2, 2), (3, 1)], (4, 4)) == 3 + 2 + 1


def test_in_three_dimensions_the_volume_is_that_of_the_stacked_boxes():
    # boxes of 1 x 2 x 2 and 2 x 1 x 1 that share 1 x 1 x 1
    assert hypervolume([(1, 0, 0), (0, 1, 1)], (2, 2, 2)) == 4 + 2 - 1


@pytest.mark.parametrize("costs", [[], [(4, 1)], [(1, 4)], [(9, 9)]])
def test_nothing_within_the_reference_covers_nothing(costs):
    assert hypervolume(costs, (4, 4)) == 0


def test_a_beaten_or_repeated_point_adds_nothing():
    assert hypervolume([(1, 1), (2, 2), (1, 1)], (4, 4)) == hypervolume([(1, 1)], (4, 4)) == 9


def test_the_baseline_alone_covers_one():
    assert coverage([(50.0, 700.0)], (50.0, 700.0)) == 1
    assert coverage([(25.0, 700.0), (50.0, 700.0)], (50.0, 700.0)) == 1.5
    assert coverage([(50.0, 1400.0)], (50.0, 700.0)) == 0


@pytest.mark.parametrize("dimensions", [2, 3])
def test_front_and_volume_agree_with_their_definitions_on_random_points(dimensions):
    generator, size = random.Random(0), 8
    costs = [tuple(generator.randrange(size) for _ in range(dimensions)) for _ in range(12)]

    def reached(cell):
        return any(all(own <= at for own, at in zip(cost, cell, strict=True)) for cost in costs)

    cells = [()]
    for _ in range(dimensions):
        cells = [(*cell, at) for cell in cells for at in range(size)]
    assert hypervolume(costs, (size,) * dimensions) == sum(map(reached, cells))

    def beaten(one):
        return any(other != one and all(a <= b for a, b in zip(other, one, strict=True)) for other in costs)

    assert sorted(front(costs)) == [i for i, one in enumerate(costs) if not beaten(one)]
