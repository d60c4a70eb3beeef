"""Guidance in an interval of timesteps and with a cached difference: passes, refusals, and exports."""

import pytest
import torch

from dit_core.cli.arguments import parser, spec_of
from dit_core.errors import BadRequest
from dit_core.experiment import prepare
from dit_core.experiment.checks import check
from dit_core.experiment.export import export
from dit_core.recipes.recipe import Recipe
from dit_core.records.spec import RunSpec
from dit_core.sampling.config import SamplingConfig
from dit_core.sampling.loop import sample_latents

INTERVAL = {"name": "guidance_interval", "low": 200, "high": 900}
KEPT = {"name": "guidance_caching", "interval": 3}


def rows(model, sampling):
    seen = []
    handle = model.dit.register_forward_pre_hook(lambda dit, args: seen.append(len(args[0])))
    try:
        sample_latents(model, torch.tensor([0]), [1], sampling)
    finally:
        handle.remove()
    return seen


def test_the_unconditional_branch_runs_in_every_third_guided_step(tiny_model):
    base = SamplingConfig("ddim", steps=6, guidance=3.0)  # timesteps 999, 832, 666, 499, 332, 166
    assert rows(tiny_model, Recipe.parse([KEPT]).sampling(base)) == [2, 1, 1, 2, 1, 1]
    assert rows(tiny_model, Recipe.parse([INTERVAL, KEPT]).sampling(base)) == [1, 2, 1, 1, 2, 1]


def test_a_kept_difference_that_does_not_change_is_exact_guidance(tiny_model, monkeypatch):
    def constant(x, t, y, guidance=None):
        return x * 0.1 + (y == len(tiny_model.classes)).float().view(-1, 1, 1, 1)

    monkeypatch.setattr(tiny_model.dit, "forward", constant)
    always, kept = SamplingConfig("ddim", 4, 3.0), SamplingConfig("ddim", 4, 3.0, guidance_every=4)
    expected, found = (sample_latents(tiny_model, torch.tensor([0, 1]), [1, 2], s) for s in (always, kept))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("recipe", "reason"),
    [
        ([{"name": "guidance_interval", "low": 800, "high": 200}], "low at most high"),
        ([{"name": "guidance_distillation"}, KEPT], "leave guidance_caching out"),
        ([KEPT, {"name": "step_distillation"}], "leave guidance_caching out"),
    ],
)
def test_what_has_no_effect_or_no_sense_is_refused(recipe, reason):
    with pytest.raises(BadRequest, match=reason) as error:
        check(RunSpec(techniques=tuple(recipe)))
    assert "\n" not in str(error.value)


def test_an_exported_model_is_guided_in_the_same_steps(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, "load_model", lambda name, device: tiny_model)
    spec = RunSpec(techniques=(INTERVAL, KEPT), scheduler="ddim", steps=4)
    export(spec, tmp_path / "model")

    def generate(options):
        pass

    options = parser("", [generate]).parse_args(["generate", "--model", str(tmp_path / "model")])
    again = SamplingConfig.of(spec_of(options))
    assert again == Recipe.of(spec).sampling(SamplingConfig.of(spec))
    assert RunSpec.from_dict(spec_of(options).to_dict()) == spec_of(options)


def test_a_spec_without_guidance_fields_keeps_its_form_and_its_command_repeats_them():
    assert not {"guidance_interval", "guidance_every"} & set(RunSpec().to_dict())
    spec = RunSpec(guidance_interval=(200, 900), guidance_every=2)
    assert "--guidance-interval 200,900 --guidance-every 2" in spec.command()
    assert RunSpec.from_dict(spec.to_dict()) == spec
