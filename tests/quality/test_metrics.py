"""Every metric follows one contract: a figure with its interval, or a reason."""

import pytest
import torch

from dit_core.quality import intervals, references
from dit_core.quality.efficientnet import extract
from dit_core.quality.evaluation_set import EvaluationSet
from dit_core.quality.judgement import Unavailable
from dit_core.quality.metrics import EFFICIENTNET, INCEPTION
from dit_core.records.metrics import METRICS, by_name


@pytest.fixture(scope="module")
def images(held_out_features):
    labels = torch.arange(len(held_out_features)) % 18
    return EvaluationSet(held_out_features, references.bundled(), labels)


def test_every_quality_metric_of_the_table_has_a_function_and_every_function_an_entry():
    table = {metric.name for metric in METRICS if metric.section == "quality"}
    other = {"count", "difference"}  # the number of images, and what is computed from the images of both sides
    assert {*EFFICIENTNET, *INCEPTION} == table - other
    assert not set(EFFICIENTNET) & set(INCEPTION)


@pytest.mark.parametrize("name", [*EFFICIENTNET, *INCEPTION])
def test_the_extractor_of_a_metric_is_that_of_its_method_in_the_table(name):
    assert (by_name(name).method_field == "fid_metric") == (name in INCEPTION)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*EFFICIENTNET, *INCEPTION])
def test_a_metric_of_enough_images_has_a_value_within_its_interval(images, name):
    """Inception's metrics need statistics of features, whichever network they come from."""
    figure = {**EFFICIENTNET, **INCEPTION}[name](images)
    assert figure.value >= 0
    assert figure.interval.low < figure.value < figure.interval.high
    assert figure.interval.method
    assert set(figure.companions) <= {companion.name for companion in by_name(name).companions}


@pytest.mark.parametrize("name", ["distance", "distance_infinity", "spatial_distance", "fid", "sfid"])
def test_a_frechet_distance_of_few_images_is_unavailable(images, name):
    with pytest.raises(Unavailable, match=f"40 images are too few .* use {intervals.ENOUGH} or more"):
        {**EFFICIENTNET, **INCEPTION}[name](images[:40])


def test_recall_of_three_images_and_class_accuracy_without_labels_are_unavailable(held_out):
    images = EvaluationSet(extract(held_out[:3]), references.bundled())
    with pytest.raises(Unavailable, match="more than 3 images"):
        EFFICIENTNET["recall"](images)
    with pytest.raises(Unavailable, match="requested classes"):
        EFFICIENTNET["class_accuracy"](images)
