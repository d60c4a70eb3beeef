"""What only a CUDA device can show. Skipped where there is none."""

import copy
import dataclasses

import pytest
import torch

from dit_core.errors import BadRequest
from dit_core.models.model import cast
from dit_core.models.sources import load_model
from dit_core.recipes import registry as techniques
from dit_core.recipes.context import Context
from dit_core.recipes.recipe import Recipe
from dit_core.system import devices
from dit_core.system.nvml import Gpu

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

MODES = next(knob.choices for knob in techniques.get("quantization").knobs if knob.name == "mode")
RECIPES = [{"name": "quantization", "mode": mode, "bits": 4 if mode == "int4" else 8} for mode in MODES]
RECIPES += [{"name": "semi_structured_pruning", "values": "float16"}, {"name": "semi_structured_pruning"}]


@pytest.fixture(scope="module")
def network():
    return load_model("random:DiT-S/2@256", "cuda").dit


def output(dit):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 4, 32, 32, generator=generator).cuda()
    with torch.inference_mode():
        return dit(x, torch.tensor([3, 300, 700, 900]).cuda(), torch.arange(4).cuda())


@pytest.mark.parametrize("precision", devices.PRECISIONS)
@pytest.mark.parametrize("entry", RECIPES, ids=lambda entry: "-".join(map(str, entry.values())))
def test_modes_for_tensor_cores_run_in_every_precision_or_say_why_not(entry, precision, network):
    recipe, dtype = Recipe.parse([entry]), devices.set_precision(precision)
    context = Context(torch.device("cuda"), dtype=dtype)
    try:
        recipe.check_precision(precision)
        changed = recipe.apply(network, context)
    except BadRequest:
        return
    changed = cast(copy.deepcopy(changed), dtype)
    assert torch.isfinite(output(changed)).all()
    repeated = cast(recipe.apply(network, dataclasses.replace(context)), dtype)
    torch.testing.assert_close(output(repeated), output(changed))


def test_the_driver_and_torch_name_the_same_gpu():
    found = devices.find("cuda")
    assert found is not None
    assert found.name == torch.cuda.get_device_name(0)
    assert found.capability == torch.cuda.get_device_capability(0)
    assert Gpu("cuda").state().keys() >= {"utilization", "clock_hz", "temperature_celsius"}
