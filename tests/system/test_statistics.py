import pytest
import scipy.stats

from dit_core.system.statistics import student_quantile


@pytest.mark.parametrize("freedom", [1, 2, 9, 35, 400])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_the_quantile_of_students_t_is_that_of_scipy(freedom, confidence):
    assert student_quantile(freedom, confidence) == pytest.approx(scipy.stats.t.interval(confidence, freedom)[1])
