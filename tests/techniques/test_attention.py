"""The attention techniques on a whole network; what each computes is tested in `tests/models/test_attention.py`."""

import copy

import pytest
import torch

from dit_core.errors import BadRequest
from dit_core.experiment import prepare, run
from dit_core.measure import count
from dit_core.models.dit import Attention, DiTConfig
from dit_core.models.layers import chosen_blocks
from dit_core.models.model import build_dit
from dit_core.recipes import registry as techniques
from dit_core.recipes.context import Context
from dit_core.recipes.recipe import apply_recipe
from dit_core.records.spec import RunSpec

CONTEXT = Context(torch.device("cpu"))
FAMILY = [name for name, found in techniques.registry().items() if found.family == "attention"]
EXACT = [
    {"name": "mediated_attention", "mediators": 16, "assignment": "nearest"},
    {"name": "mediated_attention", "steps": 0.0},
    {"name": "grouped_query_attention", "kv_heads": 4},
    {"name": "window_attention", "window": 4},
    {"name": "pooled_attention", "pool": 1},
]
SEED = torch.Generator().manual_seed(0)
X, Y = torch.randn(4, 4, 8, 8, generator=SEED), torch.tensor([0, 1, 2, 3])
NOISY, CLEAN = torch.tensor([999, 800, 700, 600]), torch.tensor([0, 100, 300, 599])


def apply(model, *recipe):
    return apply_recipe(model.dit, recipe, CONTEXT)


def test_the_family_is_complete():
    assert FAMILY == [
        "focused_group_query_attention",
        "focused_linear_attention",
        "grouped_query_attention",
        "mediated_attention",
        "pooled_attention",
        "window_attention",
    ]


@pytest.mark.parametrize("entry", EXACT, ids=lambda entry: entry["name"])
def test_nothing_left_out_changes_nothing(entry, tiny_model):
    with torch.inference_mode():
        out, expected = apply(tiny_model, entry)(X, NOISY, Y), tiny_model.dit(X, NOISY, Y)
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", FAMILY)
def test_by_default_every_block_changes_and_the_output_with_it(name, tiny_model):
    student = apply(tiny_model, {"name": name})
    assert not any(isinstance(block.attn, Attention) for block in student.blocks)
    with torch.inference_mode():
        out, expected = student(X, NOISY, Y), tiny_model.dit(X, NOISY, Y)
    assert 0.001 < (out - expected).norm() / expected.norm() < 1


@pytest.mark.parametrize("name", FAMILY)
def test_an_image_does_not_depend_on_its_batch(name, tiny_model):
    t = torch.tensor([999, 10, 640, 599])
    student = apply(tiny_model, {"name": name, **({"steps": 0.4} if name == "mediated_attention" else {})})
    with torch.inference_mode():
        alone = torch.cat([student(X[i : i + 1], t[i : i + 1], Y[i : i + 1]) for i in range(4)])
        torch.testing.assert_close(student(X, t, Y), alone, atol=1e-5, rtol=1e-5)


def test_steps_mediate_the_noisiest_timesteps_and_leave_the_others():
    dit = build_dit(DiTConfig(16, 2, 4, 64, 3, 4, 4.0, 3, learn_sigma=False)).requires_grad_(False)
    for parameter in dit.parameters():
        parameter.add_(0.05 * torch.randn(parameter.shape, generator=SEED))
    x = torch.randn(4, 4, 16, 16, generator=SEED)
    entry = {"name": "mediated_attention", "mediators": 4}
    some = apply_recipe(dit, [{**entry, "steps": 0.4}], CONTEXT)
    every = apply_recipe(dit, [entry], CONTEXT)
    assert torch.equal(some(x, NOISY, Y), every(x, NOISY, Y))
    assert torch.equal(some(x, t=CLEAN, y=Y), dit(x, CLEAN, Y))
    assert not torch.equal(some(x, CLEAN, Y), every(x, CLEAN, Y))
    assert count(lambda: some(x, NOISY, Y)).macs < count(lambda: some(x, CLEAN, Y)).macs
    assert count(lambda: some(x, CLEAN, Y)).macs == count(lambda: dit(x, CLEAN, Y)).macs


def test_a_copy_of_a_stepwise_network_follows_its_own_timesteps(tiny_model):
    student = apply(tiny_model, {"name": "mediated_attention", "steps": 0.4})
    twin = copy.deepcopy(student)
    with torch.inference_mode():
        expected = student(X, NOISY, Y)
        twin(X, CLEAN, Y)
        assert torch.equal(student.blocks[0].attn(torch.ones(1, 16, 64)), twin_reference(student))
        assert torch.equal(twin(X, NOISY, Y), expected)


def twin_reference(student):
    """What the first block's attention gives while it is mediated."""
    attn = student.blocks[0].attn
    q, k, v = attn.heads(torch.ones(1, 16, 64))
    return attn.join(attn.mediated(q, k, v), 16)


def test_blocks_of_a_stepwise_network_refuse_to_guess_the_timestep(tiny_model):
    student = apply(tiny_model, {"name": "mediated_attention", "steps": 0.4})
    with pytest.raises(RuntimeError, match="call the whole network"):
        student.blocks[0](torch.zeros(1, 16, 64), torch.zeros(1, 64))


@pytest.mark.parametrize(
    ("which", "expected"),
    [("all", [0, 1, 2, 3, 4]), ("first-half", [0, 1, 2]), ("last-half", [3, 4]), ("alternate", [0, 2, 4])],
)
def test_layers_name_blocks(which, expected):
    assert list(chosen_blocks(which, 5)) == expected


@pytest.mark.parametrize("name", FAMILY)
def test_other_blocks_keep_their_attention(name, tiny_model):
    student = apply(tiny_model, {"name": name, "layers": "last-half"})
    assert isinstance(student.blocks[0].attn, Attention)
    assert not isinstance(student.blocks[1].attn, Attention)


def test_windows_shift_in_every_other_block(tiny_model):
    def shifts(**knobs):
        return [block.attn.shift for block in apply(tiny_model, {"name": "window_attention", **knobs}).blocks]

    assert shifts() == [0, 1]
    assert shifts(shift=False) == [0, 0]
    assert shifts(window=4) == [0, 0]


def test_halves_may_have_attention_of_two_kinds(tiny_model):
    halves = {"name": "window_attention", "layers": "first-half"}, {"name": "pooled_attention", "layers": "last-half"}
    student = apply(tiny_model, *halves)
    assert [type(block.attn).__name__ for block in student.blocks] == ["WindowAttention", "PooledAttention"]


def test_a_block_takes_one_technique_only(tiny_model):
    with pytest.raises(BadRequest, match="one attention technique for a block"):
        apply(tiny_model, {"name": "window_attention"}, {"name": "pooled_attention"})


@pytest.mark.parametrize("name", FAMILY)
def test_the_result_can_be_quantized(name, tiny_model):
    first = {"name": name, **({"kernel_size": 0} if "focused" in name else {})}
    student = apply(tiny_model, first, {"name": "quantization", "group_size": 32})
    with torch.inference_mode():
        out, expected = student(X, NOISY, Y), apply(tiny_model, first)(X, NOISY, Y)
    assert 0 < (out - expected).norm() / expected.norm() < 0.05


@pytest.mark.parametrize("name", FAMILY)
def test_its_weights_follow_from_the_recipe_and_load_into_it_again(name, tiny_model):
    first, second = apply(tiny_model, {"name": name}), apply(tiny_model, {"name": name})
    state = {key: value + 0.01 for key, value in first.state_dict().items()}
    second.load_state_dict(state, strict=True)
    with torch.inference_mode():
        assert not torch.equal(first(X, NOISY, Y), second(X, NOISY, Y))


def test_heads_that_pruning_left_are_counted(tiny_model):
    pruned = {"name": "width_pruning", "heads": 0.25, "ffn": 0.0, "importance": "magnitude"}
    with pytest.raises(BadRequest, match="kv_heads 2 does not divide the 3 heads: use 1, 3"):
        apply(tiny_model, pruned, {"name": "grouped_query_attention"})
    student = apply(tiny_model, pruned, {"name": "focused_group_query_attention", "kv_heads": 1})
    assert student(X, NOISY, Y).shape == X.shape


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (
            {"name": "mediated_attention", "mediators": 512},
            "mediators 512 does not fit 16 x 16 tokens: use 1",
        ),
        ({"name": "mediated_attention", "mediators": 1024}, "mediators 1024 does not fit"),
        ({"name": "mediated_attention", "mediators": 9}, "use 1, 4, 16, 64, 256"),
        ({"name": "window_attention", "window": 32}, "window 32 does not divide the 16 tokens along a side: use 1, 2"),
        ({"name": "window_attention", "window": 3}, "window 3 does not divide"),
        ({"name": "grouped_query_attention", "kv_heads": 4}, "kv_heads 4 does not divide the 6 heads: use 1, 2, 3, 6"),
        ({"name": "focused_group_query_attention", "kv_heads": 8}, "kv_heads 8 does not divide the 6 heads"),
        ({"name": "pooled_attention", "pool": 3}, "pool 3 does not divide the 16 tokens along a side"),
    ],
    ids=lambda value: value if isinstance(value, str) else value["name"],
)
def test_what_does_not_fit_is_refused_before_anything_loads(entry, reason, monkeypatch):
    monkeypatch.setattr(prepare, "load_model", lambda *_: pytest.fail("loaded"))
    with pytest.raises(BadRequest, match=reason) as error:
        run.run(RunSpec(model="random:DiT-S/2@256", techniques=(entry,)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("pixels", [256, 512])
def test_linear_kinds_do_linear_work(pixels):
    """Twice the side is four times the tokens and, without the projections, exactly four times the work."""
    for entry in ({"name": "mediated_attention"}, {"name": "focused_linear_attention"}, {"name": "window_attention"}):
        assert attention_macs(2 * pixels, entry) == 4 * attention_macs(pixels, entry)
    assert attention_macs(2 * pixels) == 16 * attention_macs(pixels)


def attention_macs(pixels: int, *recipe) -> int:
    """MACs of one block's attention, less the projections of queries, keys, values and output."""
    with torch.device("meta"):
        config = DiTConfig(pixels // 8, 2, 4, 384, 1, 6)
        student = apply_recipe(build_dit(config), recipe, CONTEXT)
        tokens = torch.zeros(1, config.tokens, 384)
        return count(lambda: student.blocks[0].attn(tokens)).macs - config.tokens * 4 * 384**2
