import pytest
import torch

from dit_core.quality.efficientnet import MAP_DIMENSIONS, extract
from dit_core.quality.features import Features


def test_features_are_finite_and_differ_between_images(held_out_features):
    assert held_out_features.pooled.shape == (160, 1280)
    assert held_out_features.spatial.shape == (160, MAP_DIMENSIONS)
    assert held_out_features.logits.shape == (160, 1000)
    assert len({tuple(row.tolist()) for row in held_out_features.pooled[:4]}) == 4


def test_features_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="not finite"):
        Features(torch.full((2, 3), torch.nan), torch.zeros(2, 3), torch.zeros(2, 3))


def test_spatial_features_depend_on_position_more_than_pooled_ones_do():
    images = torch.full((1, 3, 32, 32), 255, dtype=torch.uint8)
    images[:, :, 4:12, 4:12] = 0
    left, right = extract(images), extract(images.flip(3))
    spatial = (left.spatial - right.spatial).norm() / left.spatial.norm()
    pooled = (left.pooled - right.pooled).norm() / left.pooled.norm()
    assert spatial > 1.5 * pooled
