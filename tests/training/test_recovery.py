import copy
import signal
import subprocess
import sys
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from dit_core.errors import BadRequest, Cancelled
from dit_core.models import checkpoints, recovered
from dit_core.models.sources import bundled, load_model
from dit_core.models.sources.folder import save_model
from dit_core.recipes import registry as techniques
from dit_core.recipes.context import Context
from dit_core.recipes.knobs import knobs_of, recover_knob
from dit_core.recipes.recipe import apply_recipe, canonical
from dit_core.training import recovery
from tests.training.short_recovery import KILLED_AT, STEPS, images_of, save_every_step, train

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[2]
PATIENCE_S = 120.0
TRAINED = "blocks.0.attn.proj.weight"


@dataclass(frozen=True)
class Halving:
    """Keep the first block (arXiv 0000.00000)."""

    lessons: int = field(default=1, metadata={"help": "How often the student becomes the teacher."})
    part: str = field(default="", metadata={"help": "The part of the blocks that is trained; all of them if empty."})
    recover: str = recover_knob()


def halve(model: Any, config: Halving, context: Context) -> Any:
    student = copy.deepcopy(model)
    student.blocks = student.blocks[:1]
    lessons = [partial(recovery.Distillation, goal=recovery.Goal(denoise=0))] * config.lessons
    return recovery.recover(student, model, config.recover, context, lessons, config.part or None)


@pytest.fixture(autouse=True)
def halving(monkeypatch):
    techniques.registry()
    found = techniques.Technique("halving", "Halving", "pruning", Halving, halve, knobs_of(Halving))
    monkeypatch.setitem(techniques._REGISTRY, "halving", found)


@pytest.fixture
def context(tiny_model, tmp_path, monkeypatch):
    """The tiny model as a bundled one, with sixteen images of its three classes."""
    monkeypatch.setattr(bundled, "WEIGHTS", tmp_path / "weights")
    save_model(tiny_model, tmp_path / "weights" / "tiny")
    monkeypatch.setattr(recovery, "load_images", lambda split, name: images_of(tiny_model.classes))
    return Context(torch.device("cpu"), model=tiny_model, folder=tmp_path / "training")


def apply(tiny_model, context, recover, **knobs) -> Any:
    return apply_recipe(tiny_model.dit, [{"name": "halving", "recover": recover, **knobs}], context)


def error(student, tiny_model):
    generator = torch.Generator().manual_seed(5)
    x, t = torch.randn(64, 4, 8, 8, generator=generator), torch.randint(1000, (64,), generator=generator)
    y = torch.randint(4, (64,), generator=generator)
    with torch.inference_mode():
        return (student(x, t, y) - tiny_model.dit(x, t, y)).square().mean().item()


def test_training_brings_the_student_closer_to_its_teacher(tiny_model, context):
    before = error(apply(tiny_model, context, "none"), tiny_model)
    assert error(apply(tiny_model, context, "60"), tiny_model) < 0.7 * before


@pytest.mark.parametrize(("lessons", "stop"), [(1, 4), (2, 4), (2, 10)])
def test_a_training_that_was_stopped_resumes_to_the_same_weights(tiny_model, context, tmp_path, lessons, stop):
    whole = apply(tiny_model, replace(context, folder=tmp_path / "whole"), "12", lessons=lessons)
    asked = iter(range(1000))
    with pytest.raises(Cancelled, match="Run it again to resume it"):
        apply(tiny_model, replace(context, cancelled=lambda: next(asked) > stop), "12", lessons=lessons)
    resumed = apply(tiny_model, context, "12", lessons=lessons)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_a_training_that_was_killed_while_it_saved_resumes_to_the_same_weights(tiny_model, tmp_path, monkeypatch):
    save_model(tiny_model, tmp_path / "weights" / "tiny")
    command = [sys.executable, "-m", "tests.training.short_recovery", str(tmp_path)]
    killed = subprocess.run(command, cwd=REPOSITORY, timeout=PATIENCE_S, check=False)
    assert killed.returncode == -signal.SIGKILL
    (checkpoint,) = (tmp_path / "cut").glob("*/checkpoint.pt")
    assert torch.load(checkpoint, weights_only=True)["step"] == KILLED_AT - 1
    assert list((tmp_path / "cut").glob("*/.*.tmp"))
    assert not list((tmp_path / "cut").glob("*/weights.safetensors"))

    save_every_step(monkeypatch.setattr, tmp_path)
    steps = []
    resumed = train(tmp_path / "cut", lambda: bool(steps.append(1)))
    assert len(steps) < STEPS
    whole = train(tmp_path / "whole")
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
    assert not torch.equal(whole.get_parameter(TRAINED), load_model("tiny").dit.get_parameter(TRAINED))


def test_a_training_does_not_depend_on_what_another_seed_trained_before_it(tiny_model, context):
    def guided(seed, folder):
        recipe, own = [{"name": "guidance_distillation", "recover": "1"}], replace(context, seed=seed, folder=folder)
        student: Any = apply_recipe(tiny_model.dit, recipe, own)
        return student.guidance_embedder.mlp[0].weight

    first = guided(0, context.folder)
    second = guided(1, context.folder)
    assert torch.equal(second, guided(1, context.folder / "alone"))
    assert not torch.equal(second, first)


def test_a_finished_training_is_not_repeated(tiny_model, context, monkeypatch):
    first = apply(tiny_model, context, "3")
    monkeypatch.setattr(recovery, "train", lambda *args: pytest.fail("trained again"))
    again = apply(tiny_model, context, "3")
    assert torch.equal(first.blocks[0].mlp.fc1.weight, again.blocks[0].mlp.fc1.weight)


def test_trained_weights_that_are_put_beside_the_model_are_bundled(tiny_model, context):
    trained = apply(tiny_model, context, "3")
    recipe = canonical([{"name": "halving", "recover": "bundled"}])
    with pytest.raises(BadRequest, match="no bundled weights"):
        recovered.check("tiny", recipe)
    (file,) = context.folder.glob("*/weights.safetensors")
    place = recovered.path("tiny", recipe)
    place.parent.mkdir()
    recovery.publish(file.parent, place, tiny_model.dit)
    assert place.stat().st_size < 0.7 * file.stat().st_size
    recovered.check("tiny", recipe)
    loaded = apply(tiny_model, context, "bundled")
    for found, wanted in zip(loaded.parameters(), trained.parameters(), strict=True):
        assert (found - wanted).abs().max() <= wanted.abs().max() / 200
    assert [entry["name"] for entry in recovered.listed("tiny", "halving")[0]] == ["halving"]

    place.write_bytes(place.read_bytes()[:-7])
    with pytest.raises(BadRequest, match="restore it"):
        apply(tiny_model, context, "bundled")


def test_a_part_is_trained_alone_and_its_file_holds_nothing_else(tiny_model, context):
    student = apply(tiny_model, context, "6", part="attn")
    before, after = tiny_model.dit.blocks[0], student.blocks[0]
    assert not torch.equal(before.attn.qkv.weight, after.attn.qkv.weight)
    assert torch.equal(before.mlp.fc1.weight, after.mlp.fc1.weight)
    (file,) = context.folder.glob("*/weights.safetensors")
    assert sorted(checkpoints.read_safetensors(file)) == [
        f"blocks.0.attn.{layer}.{kind}" for layer in ("proj", "qkv") for kind in ("bias", "weight")
    ]


@pytest.fixture
def other_model(tiny_model):
    """The tiny model with other weights."""
    dit: Any = copy.deepcopy(tiny_model.dit)
    dit.blocks[0].mlp.fc1.weight.data += 1
    return tiny_model.with_dit(dit)


def test_bundled_weights_that_began_from_another_model_are_refused(tiny_model, other_model, context, tmp_path):
    apply(tiny_model, context, "3")
    (file,) = context.folder.glob("*/weights.safetensors")
    place = recovered.path("tiny", canonical([{"name": "halving"}]))
    place.parent.mkdir()
    recovery.publish(file.parent, place, tiny_model.dit)
    apply(tiny_model, context, "bundled")
    save_model(other_model, tmp_path / "weights" / "tiny")
    with pytest.raises(BadRequest, match="trained from other weights"):
        apply(other_model, context, "bundled")


@pytest.mark.parametrize("name", ["tiny", "other"])
def test_a_finished_training_does_not_stand_in_the_way_of_another_models(
    tiny_model, other_model, context, tmp_path, name
):
    first = apply(tiny_model, context, "3")
    save_model(other_model, tmp_path / "weights" / name)  # beside it, or the same model trained again
    model = replace(other_model, config=replace(other_model.config, name=name))
    second = apply(model, replace(context, model=model), "3")
    assert error(second, other_model) < error(first, other_model)
    assert len(list(context.folder.glob("*/weights.safetensors"))) == 2


def test_the_feature_loss_compares_blocks_at_the_same_share_of_the_depth():
    assert [recovery.matching_block(i, 4, 8) for i in range(4)] == [1, 3, 5, 7]
    assert [recovery.matching_block(i, 8, 8) for i in range(8)] == list(range(8))
    feature = torch.randn(2, 3, 4)
    assert recovery.feature_distance([feature], [feature + 99, feature]) == 0


def test_impossible_recoveries_are_refused_before_anything_loads(context):
    for value in ("0", "-3", "soon", "2.5", ""):
        with pytest.raises(BadRequest, match="none, bundled or a number of training steps"):
            canonical([{"name": "halving", "recover": value}])
    assert canonical([{"name": "halving", "recover": 40}])[0]["recover"] == "40"
    with pytest.raises(BadRequest, match="recovery cannot train"):
        recovered.check("DiT-XL/2-256", canonical([{"name": "halving", "recover": "100"}]))


def test_a_recipe_goes_on_after_recovery_but_not_after_packing():
    canonical([{"name": "halving"}, {"name": "quantization"}])
    with pytest.raises(BadRequest, match="halving cannot follow quantization, which packs"):
        canonical([{"name": "quantization"}, {"name": "halving"}])
