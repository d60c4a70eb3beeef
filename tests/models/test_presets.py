"""A size that no network can have is refused where it is written, not when a network is built or trained."""

import pytest

from dit_core.errors import BadRequest
from dit_core.models.presets import PRESETS, DiTConfig


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("depth", -1),
        ("depth", 0),
        ("num_heads", 7),
        ("num_heads", 0),
        ("patch_size", 3),
        ("patch_size", 2.0),
        ("hidden_size", 18),
        ("hidden_size", True),
        ("num_classes", 0),
        ("mlp_ratio", 0),
        ("mlp_ratio", "4"),
        ("mlp_ratio", float("inf")),
        ("mlp_ratio", float("nan")),
        ("mlp_ratio", True),
        ("velocity", "backwards"),
        ("velocity", []),
        ("learn_sigma", []),
        ("null_label", 1),
        ("block_embedders", None),
        ("frequency_shift", "1"),
    ],
)
def test_an_impossible_size_is_refused_with_the_field(name, value):
    with pytest.raises(BadRequest, match=name):
        DiTConfig(**{"hidden_size": 16, "num_heads": 2, name: value})


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_size(name):
    assert PRESETS[name].labels == PRESETS[name].num_classes + 1
