"""Pareto fronts and hypervolumes, against counts by hand and against the definition."""

import random

import pytest

from dit_core.records.pareto import DRAWS, coverage, front, hypervolume, membership


def test_in_two_dimensions_the_volume_is_the_area_of_the_staircase():
    #  reference (4, 4): 3 x 1 of the first, then 2 x 1 and 1 x 1 that the others add
    assert hypervolume([(1, 3), (2, 2), (3, 1)], (4, 4)) == 3 + 2 + 1


def test_in_three_dimensions_the_volume_is_that_of_the_stacked_boxes():
    # boxes of 1 x 2 x 2 and 2 x 1 x 1 that share 1 x 1 x 1
    assert hypervolume([(1, 0, 0), (0, 1, 1)], (2, 2, 2)) == 4 + 2 - 1


@pytest.mark.parametrize("costs", [[], [(4, 1)], [(1, 4)], [(9, 9)]])
def test_without_a_cost_inside_the_reference_the_volume_is_zero(costs):
    assert hypervolume(costs, (4, 4)) == 0


def test_a_dominated_or_repeated_cost_adds_no_volume():
    assert hypervolume([(1, 1), (2, 2), (1, 1)], (4, 4)) == hypervolume([(1, 1)], (4, 4)) == 9


def test_the_coverage_of_the_baseline_alone_is_one():
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

    def dominated(cost):
        return any(other != cost and all(a <= b for a, b in zip(other, cost, strict=True)) for other in costs)

    assert sorted(front(costs)) == [i for i, cost in enumerate(costs) if not dominated(cost)]


def exact(costs):
    return [[(x, x), (y, y)] for x, y in costs]


def test_without_intervals_the_membership_is_the_front():
    generator = random.Random(1)
    costs = [(float(generator.randrange(6)), float(generator.randrange(6))) for _ in range(60)]
    on_front = set(front(costs))
    assert membership(costs, exact(costs)) == [float(i in on_front) for i in range(len(costs))]
    assert membership([], []) == []


def test_two_figures_that_cannot_be_told_apart_share_the_front():
    costs = [(1.0, 714.0), (1.0, 729.0), (1.0, 900.0)]
    shares = membership(costs, [[(1, 1), (679, 749)], [(1, 1), (700, 758)], [(1, 1), (880, 920)]])
    assert shares[0] + shares[1] == pytest.approx(1)
    # The difference of 15 has a standard deviation of hypot(35, 29) / 1.96 = 23.2: it has its sign in 74 % of draws.
    assert shares[0] == pytest.approx(0.74, abs=3 * 0.44 / DRAWS**0.5)
    assert shares[2] == 0
    assert membership(costs[:1], exact(costs[:1])) == [1]
