"""Operations are counted as by hand, and every operator that multiplies matrices is counted or listed."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dit_core.compression.packing import packed_linear
from dit_core.measure import count
from dit_core.measure.flops import FORMULAS, INT8, matrix_like
from dit_core.models.dit import PRESETS, DiT
from dit_core.techniques.quantization import dynamic_int8

aten = torch.ops.aten
M, K, N, B = 5, 32, 48, 3


def matrix(*shape: int) -> torch.Tensor:
    return torch.ones(shape)


@pytest.mark.parametrize(
    ("call", "macs"),
    [
        (lambda: torch._addmm_activation(matrix(N), matrix(M, K), matrix(K, N)), M * K * N),
        (lambda: matrix(M, N).addmm_(matrix(M, K), matrix(K, N)), M * K * N),
        (lambda: torch.addbmm(matrix(M, N), matrix(B, M, K), matrix(B, K, N)), B * M * K * N),
        (lambda: matrix(M, N).addbmm_(matrix(B, M, K), matrix(B, K, N)), B * M * K * N),
        (lambda: matrix(B, M, N).baddbmm_(matrix(B, M, K), matrix(B, K, N)), B * M * K * N),
    ],
    ids=["addmm_activation", "addmm_", "addbmm", "addbmm_", "baddbmm_"],
)
def test_products_with_an_addition_count(call, macs):
    counted = count(call)
    assert (counted.macs, counted.uncounted) == (macs, {})


def test_a_dynamically_quantized_linear_counts_like_its_float_origin():
    if "fbgemm" not in torch.backends.quantized.supported_engines:
        pytest.skip("this build has no quantized kernels")
    layer = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(K, N)), {nn.Linear})
    counted = count(lambda: layer(matrix(M, K)))
    assert (counted.macs, counted.int8_ops, counted.uncounted) == (M * K * N, 2 * M * K * N, {})


@pytest.mark.parametrize("operator", [op for op in FORMULAS if "linear" in op.__name__ and "semi" not in op.__name__])
def test_a_linear_of_packed_weights_counts_by_what_goes_in_and_comes_out(operator):
    assert FORMULAS[operator]((2, M, K), object(), 1.0, out_shape=torch.Size((2, M, N))) == 2 * 2 * M * K * N


@pytest.mark.parametrize("operator", [aten._dyn_quant_matmul_4bit, aten._weight_int8pack_mm, aten._weight_int4pack_mm])
def test_a_product_of_packed_weights_counts_by_what_goes_in_and_comes_out(operator):
    assert FORMULAS[operator]((M, K), (N, K), out_shape=torch.Size((M, N))) == 2 * M * K * N


@pytest.mark.parametrize(
    ("operator", "shapes"),
    [
        (aten._sparse_semi_structured_linear, [(M, K), (N, K // 2), (N, K // 16)]),
        (aten._sparse_semi_structured_mm, [(M, K // 2), (M, K // 16), (K, N)]),
        (aten._sparse_semi_structured_addmm, [(N,), (M, K // 2), (M, K // 16), (K, N)]),
        (aten._cslt_sparse_mm, [(M * K * 9 // 16,), (K, N)]),
    ],
)
def test_a_2_4_sparse_product_counts_half(operator, shapes):
    assert FORMULAS[operator](*shapes, out_shape=torch.Size((M, N))) == 2 * M * K * N // 2


def test_weight_only_int8_does_not_count_as_int8_products():
    assert {torch.ops.quantized.linear_dynamic, aten._int_mm} <= INT8
    assert aten._weight_int8pack_mm not in INT8  # only its weights are int8


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_a_recurrent_layer_counts_the_products_of_input_and_state(kind):
    layer, gates = kind(6, 8), 4 if kind is nn.LSTM else 3
    with torch.no_grad():
        counted = count(lambda: layer(matrix(7, 2, 6)))
    assert (counted.macs, counted.uncounted) == (7 * 2 * gates * 8 * (6 + 8), {})


MULTIPLY = (
    "quantized.linear_dynamic quantized.linear_dynamic_fp16_unpacked_weight aten._addmm_activation aten.addmm_ "
    "aten.addbmm_ aten.baddbmm_ aten._dyn_quant_matmul_4bit onednn.qlinear_pointwise torchao.da8w4_linear_cpu "
    "sparse.qlinear_dynamic aten.fbgemm_linear_int8_weight aten.fbgemm_linear_fp16_weight_fp32_activation aten.mv "
    "aten.lstm aten.gru aten._cudnn_rnn aten.mkldnn_rnn_layer aten._sparse_semi_structured_mm aten._cslt_sparse_mm "
    "aten._convolution aten.cudnn_convolution_relu aten._trilinear_linear aten.einsum aten._scaled_grouped_mm_v2"
)
OTHERS = (
    "aten.lgamma aten.digamma aten.mvlgamma aten.cummax aten._cummin_helper aten.upsample_bilinear2d aten.gelu "
    "aten._softmax prims.convert_element_type quantized.linear_prepack sparse.qlinear_unpack aten.linspace "
    "mkldnn._reorder_linear_weight aten._thnn_fused_lstm_cell aten._cudnn_rnn_flatten_weight "
    "quantized_decomposed.choose_qparams_symmetric"
)


@pytest.mark.parametrize("name", MULTIPLY.split())
def test_an_operator_that_multiplies_matrices_is_recognized_by_its_name(name):
    assert matrix_like(name.split(".")[1])


@pytest.mark.parametrize("name", OTHERS.split())
def test_an_operator_with_a_similar_name_is_not_listed(name):
    assert not matrix_like(name.split(".")[1])


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


def test_bytes_are_read_and_written_by_every_operator_and_views_move_none():
    a, b = torch.zeros(4, 8), torch.zeros(8, 16)
    assert count(lambda: a @ b).moved_bytes == 4 * (4 * 8 + 8 * 16 + 4 * 16)
    assert count(lambda: a.t().view(8, 4)).moved_bytes == 0


def test_int8_products_are_counted_separately():
    x, y = (torch.zeros(32, 32, dtype=torch.int8) for _ in range(2))
    counted = count(lambda: torch._int_mm(x, y))
    assert counted.int8_ops == counted.flops == 2 * 32**3
    assert count(lambda: torch.zeros(4, 4) @ torch.zeros(4, 4)).int8_ops == 0
