from torch import nn
from torchao.quantization import Int8WeightOnlyConfig, quantize_

from dit_core.measure import weight_bytes


def test_shared_storages_count_once_and_packed_ones_by_their_bytes():
    layer = nn.Linear(64, 64, bias=False)
    both = nn.ModuleList([layer, layer])
    assert weight_bytes(both) == 64 * 64 * 4
    dynamic = nn.Linear(64, 64, bias=False).requires_grad_(False)
    quantize_(dynamic, Int8WeightOnlyConfig(set_inductor_config=False))
    assert 64 * 64 <= weight_bytes(dynamic) < 64 * 64 + 64 * 16
