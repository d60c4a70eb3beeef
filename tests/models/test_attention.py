"""Each kind of attention against its formula, written out token by token in float64, and against softmax attention."""

import math

import pytest
import torch
from torch import Tensor, nn

from dit_core.measure import count
from dit_core.models import attention
from dit_core.models.dit import Attention

N, GRID, WIDTH, HEADS = 2, 4, 48, 6
TOKENS, SIZE = GRID**2, WIDTH // HEADS


@pytest.fixture(scope="module")
def trained() -> Attention:
    torch.manual_seed(0)
    module = Attention(WIDTH, HEADS).requires_grad_(False)
    for parameter in module.parameters():
        parameter.normal_(std=0.25)
    return module


@pytest.fixture(scope="module")
def x() -> Tensor:
    return torch.randn(N, TOKENS, WIDTH, generator=torch.Generator().manual_seed(1))


def projected(trained: Attention, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values in float64, each (N, nh, T, hs)."""
    parts = (x.double() @ trained.qkv.weight.double().T + trained.qkv.bias.double()).chunk(3, -1)
    q, k, v = (part.view(len(x), -1, HEADS, SIZE).transpose(1, 2) for part in parts)
    return q, k, v


def finished(trained: Attention, out: Tensor) -> Tensor:
    """Heads (N, nh, T, hs) joined and projected, in float32."""
    out = out.transpose(1, 2).flatten(2)
    return (out @ trained.proj.weight.double().T + trained.proj.bias.double()).float()


def shared(heads: Tensor, groups: int) -> Tensor:
    """Every head replaced by the mean of its group, (N, nh, T, hs)."""
    each = HEADS // groups
    means = [heads[:, g * each : (g + 1) * each].mean(1) for g in range(groups)]
    return torch.stack([means[head // each] for head in range(HEADS)], 1)


def phi(x: Tensor, power: int) -> Tensor:
    u = x.clamp(min=0) + 1e-6
    return u.norm(dim=-1, keepdim=True) / (u**power).norm(dim=-1, keepdim=True) * u**power


def focused_reference(q: Tensor, k: Tensor, v: Tensor, power: int) -> Tensor:
    """Every weight of every pair of tokens, then their mean: what the linear form never writes down."""
    weights = phi(q, power) @ phi(k, power).transpose(-2, -1)  # (N, nh, T, T)
    return weights / weights.sum(-1, keepdim=True) @ v


def assert_equal(out: Tensor, expected: Tensor) -> None:
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)


EXACT = {
    "mediators as many as tokens": lambda a: attention.MediatedAttention(a, TOKENS, "nearest", None),
    "all heads as groups": lambda a: attention.GroupedQueryAttention(a, HEADS),
    "a window over everything": lambda a: attention.WindowAttention(a, GRID, False, GRID),
    "a shifted window over everything": lambda a: attention.WindowAttention(a, GRID, True, GRID),
    "a pool of one": lambda a: attention.PooledAttention(a, 1),
}
KINDS = {
    "mediated": lambda a: attention.MediatedAttention(a, 4, "softmax", None),
    "nearest": lambda a: attention.MediatedAttention(a, 4, "nearest", None),
    "focused": lambda a: attention.FocusedLinearAttention(a, 3, 3),
    "grouped": lambda a: attention.GroupedQueryAttention(a, 2),
    "focused groups": lambda a: attention.FocusedLinearAttention(a, 3, 3, 2),
    "window": lambda a: attention.WindowAttention(a, 2, False, GRID),
    "shifted window": lambda a: attention.WindowAttention(a, 2, True, GRID),
    "pooled": lambda a: attention.PooledAttention(a, 2),
}


@pytest.mark.parametrize("make", EXACT.values(), ids=EXACT)
def test_nothing_left_out_is_softmax_attention(make, trained, x):
    assert_equal(make(trained)(x), trained(x))


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_something_left_out_is_not_softmax_attention(make, trained, x):
    assert (make(trained)(x) - trained(x)).norm() > 0.05 * trained(x).norm()


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_an_image_does_not_depend_on_its_batch(make, trained, x):
    module = make(trained)
    alone = torch.cat([module(image[None]) for image in x])
    assert_equal(module(x), alone)


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_all_of_its_work_is_counted(make, trained, x):
    assert not count(lambda: make(trained)(x)).uncounted


@pytest.mark.parametrize("mediators", [1, 4, 16])
def test_mediated_attention_is_its_two_softmaxes(mediators, trained, x):
    q, k, v = projected(trained, x)
    side = math.isqrt(mediators)
    cell = GRID // side
    image = q.view(N, HEADS, GRID, GRID, SIZE)
    pooled = torch.stack(
        [
            image[:, :, i * cell : (i + 1) * cell, j * cell : (j + 1) * cell].mean((2, 3))
            for i in range(side)
            for j in range(side)
        ],
        2,
    )  # (N, nh, M, hs)
    scale = SIZE**-0.5
    found = (pooled @ k.transpose(-2, -1) * scale).softmax(-1) @ v
    read = (q @ pooled.transpose(-2, -1) * scale).softmax(-1)
    module = attention.MediatedAttention(trained, mediators, "softmax", None)
    assert_equal(module(x), finished(trained, read @ found))
    own = torch.tensor([i // cell * side + j // cell for i in range(GRID) for j in range(GRID)])
    nearest = attention.MediatedAttention(trained, mediators, "nearest", None)
    assert_equal(nearest(x), finished(trained, found[:, :, own]))


@pytest.mark.parametrize("power", [1, 3, 8])
def test_focused_linear_attention_is_its_formula(power, trained, x):
    q, k, v = projected(trained, x)
    module = attention.FocusedLinearAttention(trained, power, 0)
    assert_equal(module(x), finished(trained, focused_reference(q, k, v, power)))


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_groups_share_the_mean_of_their_keys_and_values(groups, trained, x):
    q, k, v = projected(trained, x)
    k, v = shared(k, groups), shared(v, groups)
    softmax = (q @ k.transpose(-2, -1) * SIZE**-0.5).softmax(-1) @ v
    assert_equal(attention.GroupedQueryAttention(trained, groups)(x), finished(trained, softmax))
    focused = attention.FocusedLinearAttention(trained, 3, 0, groups)
    assert_equal(focused(x), finished(trained, focused_reference(q, k, v, 3)))


@pytest.mark.parametrize("groups", [2, HEADS])
def test_the_convolution_is_nothing_until_trained_and_then_sees_values_in_place(groups, trained, x):
    without = attention.FocusedLinearAttention(trained, 3, 0, groups)(x)
    module = attention.FocusedLinearAttention(trained, 3, 3, groups)
    assert torch.equal(module(x), without)
    module.local.weight[:, 0, 1, 2] = 1.0  # the neighbour to the right
    v = shared(projected(trained, x)[2], groups).view(N, HEADS, GRID, GRID, SIZE)
    moved = torch.zeros_like(v)
    moved[:, :, :, :-1] = v[:, :, :, 1:]
    added = moved.flatten(2, 3).transpose(1, 2).flatten(2) @ trained.proj.weight.double().T
    assert_equal(module(x) - without, added.float())


@pytest.mark.parametrize("shifted", [False, True])
def test_windows_attend_within_themselves(shifted, trained, x):
    q, k, v = projected(trained, x)
    shift = 1 if shifted else 0
    window = [(i + shift) // 2 * GRID + (j + shift) // 2 for i in range(GRID) for j in range(GRID)]
    together = torch.tensor([[a == b for b in window] for a in window])
    scores = (q @ k.transpose(-2, -1) * SIZE**-0.5).masked_fill(~together, -math.inf)
    module = attention.WindowAttention(trained, 2, shifted, GRID)
    assert_equal(module(x), finished(trained, scores.softmax(-1) @ v))


def test_pooled_attention_pools_keys_and_values(trained, x):
    q, k, v = projected(trained, x)
    k, v = (part.view(N, HEADS, 2, 2, 2, 2, SIZE).mean((3, 5)).flatten(2, 3) for part in (k, v))
    out = (q @ k.transpose(-2, -1) * SIZE**-0.5).softmax(-1) @ v
    assert_equal(attention.PooledAttention(trained, 2)(x), finished(trained, out))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_query_that_relu_empties_attends_evenly(dtype, trained):
    q, k = -torch.ones(1, 1, 1, SIZE, dtype=dtype), torch.ones(1, 1, 3, SIZE, dtype=dtype)
    v = torch.tensor([1.0, 2.0, 6.0], dtype=dtype).view(1, 1, 3, 1)
    features = attention.focused(q, 8), attention.focused(k, 8)
    assert attention.linear_attention(*features, v).item() == pytest.approx(3, rel=0.02)


@pytest.mark.parametrize("size", [1e-3, 1e3])
def test_half_precision_neither_overflows_nor_vanishes(size):
    q, k, v = (size * torch.randn(3, N, HEADS, GRID**2, SIZE, generator=torch.Generator().manual_seed(0))).half()

    def attend(q, k, v):
        return attention.linear_attention(attention.polar(q, 3)[1], attention.focused(k, 3), v)

    exact = attend(q.double(), k.double(), v.double())
    assert (attend(q, k, v).double() - exact).abs().max() < 0.01 * exact.abs().max()


def macs(make, tokens: int) -> int:
    with torch.device("meta"):
        module: nn.Module = make(Attention(WIDTH, HEADS))
        return count(lambda: module(torch.zeros(1, tokens, WIDTH))).macs


@pytest.mark.parametrize(
    ("make", "own"),
    [
        (lambda a: a, lambda t: 2 * t * t * WIDTH),
        (lambda a: attention.MediatedAttention(a, 4, "softmax", None), lambda t: 2 * 2 * t * 4 * WIDTH),
        (lambda a: attention.MediatedAttention(a, 4, "nearest", None), lambda t: 2 * t * 4 * WIDTH),
        (lambda a: attention.FocusedLinearAttention(a, 3, 0), lambda t: 2 * t * WIDTH * SIZE + t * WIDTH),
        (lambda a: attention.FocusedLinearAttention(a, 3, 5), lambda t: 2 * t * WIDTH * SIZE + t * WIDTH * (1 + 25)),
        (lambda a: attention.WindowAttention(a, 2, False, GRID), lambda t: 2 * t * 4 * WIDTH),
    ],
    ids=["softmax", "mediated", "nearest", "focused", "focused with convolution", "window"],
)
def test_work_counts_what_the_sizes_say(make, own):
    projections = 4 * WIDTH**2
    for tokens in (16, 256):
        assert macs(make, tokens) == tokens * projections + own(tokens)


def test_work_of_shared_and_pooled_keys_counts_what_the_sizes_say():
    grouped = 16 * (WIDTH * (WIDTH + 2 * 2 * SIZE) + WIDTH**2)
    assert macs(lambda a: attention.GroupedQueryAttention(a, 2), 16) == grouped + 2 * 16 * 16 * WIDTH
    first, second = 2 * 16 * SIZE * SIZE, 16 * WIDTH * SIZE  # keys with values once a group, queries every head
    focused = macs(lambda a: attention.FocusedLinearAttention(a, 3, 0, 2), 16)
    assert focused == grouped + first + second + 16 * WIDTH
    pooled = macs(lambda a: attention.PooledAttention(a, 2), 16)
    assert pooled == 16 * 2 * WIDTH**2 + 4 * 2 * WIDTH**2 + 2 * 16 * 4 * WIDTH
