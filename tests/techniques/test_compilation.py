"""Compilation follows any recipe, compiles each kind of block once, and leaves the saved network uncompiled.

Dynamo runs here without the C++ backend where only its decisions matter.
"""

import pytest
import torch
from torch._dynamo.utils import counters

from dit_core.errors import BadRequest
from dit_core.measure import count
from dit_core.measure.profile import is_compiled
from dit_core.models.hooks import hooked
from dit_core.models.serialization import read_network, write_network
from dit_core.models.structure import structure_of
from dit_core.recipes import registry
from dit_core.recipes.context import Context
from dit_core.recipes.recipe import Recipe, apply_recipe
from dit_core.system import compiler

CONTEXT = Context(torch.device("cpu"))
COMPILED = {"name": "compilation"}
INT8 = {"name": "quantization", "mode": "dynamic-int8"}
HALF_ROUTED = {"name": "moe", "experts": 4, "top_k": 2, "calibration": 8, "layers": "last-half"}


@pytest.fixture(autouse=True)
def _machine(monkeypatch):
    """A machine with a compiler, whose environment does not keep what a test sets."""
    monkeypatch.setattr("dit_core.techniques.compilation.missing_compiler", lambda device: None)
    for variable in compiler.CACHES:
        monkeypatch.setenv(variable, compiler.cache_folder().as_posix())
    torch._dynamo.reset()


def inputs_of(count: int = 2):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 4, 8, 8, generator=generator), torch.full((count,), 700), torch.zeros(count).long()


def graphs(network, *batches: int) -> int:
    """Number of graphs that calls with these batch sizes compile."""
    counters.clear()
    with torch.compiler.set_stance(force_backend="eager"), torch.inference_mode():
        for batch in batches:
            network(*inputs_of(batch))
    return counters["stats"]["unique_graphs"]


@pytest.mark.parametrize(
    ("recipe", "kinds"),
    [([], 1), ([INT8], 1), ([{"name": "quantization"}], 1), ([{"name": "width_pruning"}], 1)],
    ids=str,
)
def test_blocks_of_one_kind_are_compiled_once(tiny_model, recipe, kinds):
    network = apply_recipe(tiny_model.dit, [*recipe, COMPILED], CONTEXT)
    assert graphs(network, 2) == kinds


def test_several_networks_and_batch_sizes_compile_no_block_twice(tiny_model):
    first, second = (apply_recipe(tiny_model.dit, [INT8, COMPILED], CONTEXT) for _ in range(2))
    plain = apply_recipe(tiny_model.dit, [COMPILED], CONTEXT)
    assert graphs(first, 2, 3, 2) == 2  # one for each batch size
    assert graphs(plain, 2) == 1
    assert graphs(second, 3, 2) == 0
    assert graphs(first, 3, 2) == 0


def test_a_whole_network_is_one_graph(tiny_model):
    assert graphs(apply_recipe(tiny_model.dit, [{**COMPILED, "scope": "whole"}], CONTEXT), 2) == 1


def test_it_shares_the_weights_of_its_input(tiny_model):
    compiled = apply_recipe(tiny_model.dit, [COMPILED], CONTEXT)
    for own, before in zip(compiled.parameters(), tiny_model.dit.parameters(), strict=True):
        assert own is before
    assert is_compiled(compiled)
    assert not is_compiled(tiny_model.dit)


def test_a_saved_network_is_the_uncompiled_one(tiny_model, tmp_path):
    compiled = apply_recipe(tiny_model.dit, [INT8, COMPILED], CONTEXT)
    write_network(compiled, tmp_path / "network.pt")
    saved = read_network(tmp_path / "network.pt")
    assert not is_compiled(saved)
    assert structure_of(saved) == structure_of(compiled)


@pytest.mark.parametrize("name", [name for name, found in registry.registry().items() if found.terminal])
def test_it_follows_what_nothing_else_can(name):
    assert Recipe.parse([{"name": name}, COMPILED]).terminal
    with pytest.raises(BadRequest, match=f"{name} cannot follow compilation: put compilation last"):
        Recipe.parse([COMPILED, {"name": name}])


def test_compilation_twice_is_refused():
    with pytest.raises(BadRequest, match="compilation cannot follow compilation"):
        Recipe.parse([COMPILED, COMPILED])


def test_hooks_and_operation_counts_see_the_uncompiled_network(tiny_model):
    compiled = apply_recipe(tiny_model.dit, [COMPILED], CONTEXT)
    seen = []
    with hooked([block.mlp for block in compiled.blocks], pre=lambda index, args: seen.append(index)):
        compiled(*inputs_of())
    assert seen == [0, 1]
    assert count(lambda: compiled(*inputs_of())) == count(lambda: tiny_model.dit(*inputs_of()))


@pytest.mark.parametrize(
    ("device", "variable", "says"),
    [("cpu", "CXX", "needs a C.. compiler.*no no-such-compiler here: install g"), ("cuda", "CC", "needs")],
)
def test_a_machine_without_a_compiler_is_refused_in_one_line(monkeypatch, device, variable, says):
    monkeypatch.setattr("dit_core.techniques.compilation.missing_compiler", compiler.missing_compiler)
    monkeypatch.setenv(variable, "no-such-compiler")
    with pytest.raises(BadRequest, match=says) as refusal:
        Recipe.parse([COMPILED]).check(None, device)
    assert "\n" not in str(refusal.value)


def test_a_python_without_headers_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", "true")  # any program
    monkeypatch.setattr(compiler.sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    assert "install them (python3-dev)" in (compiler.missing_compiler("cpu") or "")
    (tmp_path / "Python.h").touch()
    assert compiler.missing_compiler("cpu") is None


def test_compiled_code_is_kept_in_the_cache_folder_unless_the_environment_names_another(monkeypatch):
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    monkeypatch.setenv("TRITON_CACHE_DIR", "elsewhere")
    compiler.keep_compiled_code()
    assert compiler.os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(compiler.cache_folder() / "inductor")
    assert compiler.os.environ["TRITON_CACHE_DIR"] == "elsewhere"


@pytest.mark.slow
@pytest.mark.skipif(compiler.missing_compiler("cpu") is not None, reason="this machine has no C++ compiler")
def test_compiled_dynamic_int8_computes_what_the_layers_compute(tiny_model):
    plain = apply_recipe(tiny_model.dit, [INT8], CONTEXT)
    compiled = apply_recipe(tiny_model.dit, [INT8, COMPILED], CONTEXT)
    with torch.inference_mode():
        expected = plain(*inputs_of())
        difference = (compiled(*inputs_of()) - expected).norm() / expected.norm()
    assert difference < 5e-3  # a sum in another order can move an activation by one code
