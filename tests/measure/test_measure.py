import importlib

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchao.quantization import Int8WeightOnlyConfig, quantize_

import dit_core
from dit_core.measure import count, environment, weight_bytes
from dit_core.models.dit import PRESETS, DiT
from dit_core.techniques.quantization import dynamic_int8, packed_linear


def test_a_linear_layer_counts_rows_by_inputs_by_outputs():
    layer = nn.Linear(32, 48)
    assert count(lambda: layer(torch.randn(5, 32))).macs == 5 * 32 * 48


def test_an_operator_without_a_formula_is_listed_with_how_often_it_ran():
    library = torch.library.Library("listed", "DEF")
    library.define("my_matmul(Tensor a, Tensor b) -> Tensor")
    library.impl("my_matmul", lambda a, b: a + b, "CPU")
    counted = count(lambda: [torch.ops.listed.my_matmul(torch.ones(2), torch.ones(2)) for _ in range(3)])
    assert counted.flops == 0
    assert counted.uncounted == {"listed.my_matmul": 3}


def test_an_int8_layer_counts_like_its_float_origin():
    layer = dynamic_int8(nn.Linear(32, 48), torch.device("cpu"))
    counted = count(lambda: layer(torch.randn(5, 32)))
    assert counted.macs == 5 * 32 * 48
    assert not counted.uncounted


def test_a_packed_layer_counts_like_its_float_origin():
    layer = packed_linear(nn.Linear(64, 48), 3, 32)
    assert count(lambda: layer(torch.randn(5, 64))).macs == 5 * 64 * 48


def test_cpu_attention_counts_both_products():
    q = torch.randn(2, 4, 16, 8)
    assert count(lambda: F.scaled_dot_product_attention(q, q, q)).macs == 2 * (2 * 4 * 16 * 16 * 8)


def test_dit_s_2_counts_what_its_sizes_say():
    width, depth, tokens = 384, 12, 256
    block = tokens * 12 * width**2 + 2 * tokens**2 * width + 6 * width**2
    outer = tokens * 16 * width + 256 * width + width**2 + 2 * width**2 + tokens * width * 32
    with torch.device("meta"):
        dit = DiT(PRESETS["DiT-S/2"])
        x, t, y = torch.zeros(1, 4, 32, 32), torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long)
        counted = count(lambda: dit(x, t, y))
    assert counted.macs == pytest.approx(depth * block + outer, rel=0.001)


def test_dit_xl_2_has_the_published_118_6_gmac():
    with torch.device("meta"):
        dit = DiT(PRESETS["DiT-XL/2"])
        x, t, y = torch.zeros(1, 4, 32, 32), torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long)
        assert count(lambda: dit(x, t, y)).macs / 1e9 == pytest.approx(118.6, abs=0.1)


def test_shared_storages_count_once_and_packed_ones_by_their_bytes():
    layer = nn.Linear(64, 64, bias=False)
    both = nn.ModuleList([layer, layer])
    assert weight_bytes(both) == 64 * 64 * 4
    dynamic = nn.Linear(64, 64, bias=False).requires_grad_(False)
    quantize_(dynamic, Int8WeightOnlyConfig(set_inductor_config=False))
    assert 64 * 64 <= weight_bytes(dynamic) < 64 * 64 + 64 * 16


def test_the_fingerprint_follows_what_decides_speed_and_not_the_load():
    assert environment("cpu")["fingerprint"] == environment("cpu")["fingerprint"]
    assert environment("cpu", threads=1)["fingerprint"] != environment("cpu", threads=64)["fingerprint"]


def test_this_program_s_version_stands_beside_the_fingerprint_and_not_in_it(monkeypatch):
    told = environment("cpu")
    assert told["dit_core"] == dit_core.__version__
    monkeypatch.setattr(importlib.import_module("dit_core.environment"), "__version__", "9.9")
    assert environment("cpu")["dit_core"] == "9.9"
    assert environment("cpu")["fingerprint"] == told["fingerprint"]
