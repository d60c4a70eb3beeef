import torch

from dit_core.experiment.prepare import prepare
from dit_core.recipes.context import Context
from dit_core.recipes.recipe import apply_recipe
from dit_core.records.spec import RunSpec


def test_the_candidate_alone_takes_fewer_steps(tiny_model, monkeypatch):
    monkeypatch.setattr("dit_core.experiment.prepare.load_model", lambda name, device: tiny_model)
    spec = RunSpec(techniques=({"name": "solver", "scheduler": "ddim", "steps": 3},), steps=6, classes=())
    prepared = prepare(spec)
    seen = []
    for model in (prepared.baseline, prepared.candidate):
        prepared.decoded(model, 1, on_step=lambda step: seen.append((step.index, step.of)))
    assert seen == [(i, 6) for i in range(1, 7)] + [(i, 3) for i in range(1, 4)]
    assert prepared.candidate_sampling.scheduler == "ddim"


def test_the_weights_are_shared(tiny_model):
    same = apply_recipe(tiny_model.dit, [{"name": "solver"}], Context(torch.device("cpu")))
    assert next(same.parameters()) is next(tiny_model.dit.parameters())
