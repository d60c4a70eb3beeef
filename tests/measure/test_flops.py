"""Work is counted as by hand, and no operator that multiplies matrices is silent."""

import pytest
import torch
from torch import nn

from dit_core.measure import count
from dit_core.measure.flops import FORMULAS, INT8, matrix_like

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
def test_products_that_are_added_to_something_count(call, macs):
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
def test_of_a_2_4_sparse_product_half_is_done(operator, shapes):
    assert FORMULAS[operator](*shapes, out_shape=torch.Size((M, N))) == 2 * M * K * N // 2


def test_int8_work_is_told_apart():
    assert {torch.ops.quantized.linear_dynamic, aten._int_mm} <= INT8
    assert aten._weight_int8pack_mm not in INT8  # its weights are, its products are not


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
def test_an_operator_that_multiplies_matrices_is_not_silent(name):
    assert matrix_like(name.split(".")[1])


@pytest.mark.parametrize("name", OTHERS.split())
def test_an_operator_that_only_sounds_like_it_is_not_listed(name):
    assert not matrix_like(name.split(".")[1])
