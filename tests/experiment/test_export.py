"""An export job leaves a file that loads as a model."""

import json
import shutil
import zipfile

import pytest
import torch
from diffusers import AutoencoderKL

from dit_core.cli.arguments import parser, spec_of
from dit_core.cli.commands import COMMANDS
from dit_core.errors import BadRequest
from dit_core.experiment import export
from dit_core.jobs import runner
from dit_core.jobs.queue import Queue
from dit_core.models.sources import load_model
from dit_core.models.sources.folder import save_model
from dit_core.recipes.recipe import canonical
from dit_core.records.spec import RunSpec

pytestmark = pytest.mark.slow


def test_an_export_job_leaves_a_zip_whose_folder_loads_and_no_record(tmp_path, monkeypatch, tiny_model):
    monkeypatch.setenv("DIT_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("DIT_QUEUE", str(tmp_path / "queue"))
    monkeypatch.setattr("dit_core.experiment.prepare.load_model", lambda name, device: tiny_model)
    queue = Queue()
    recipe = canonical([{"name": "quantization", "bits": 8, "group_size": 32}])
    job_id = queue.submit(RunSpec(techniques=recipe), kind="export")
    queue.claim()
    assert runner.run_job(job_id) == (("done", "", ""), None)
    job = queue.get(job_id)
    assert job is not None
    zipfile.ZipFile(queue.archive(job)).extractall(tmp_path / "unpacked")
    (folder,) = (tmp_path / "unpacked").iterdir()
    t, y = torch.tensor([1, 900]), torch.tensor([0, 1])
    size = tiny_model.config.dit
    x = torch.randn(2, size.in_channels, size.input_size, size.input_size)
    with torch.no_grad():
        exported, plain = load_model(str(folder)).dit(x, t, y), tiny_model.dit(x, t, y)
    assert not torch.equal(exported, plain)
    assert torch.nn.functional.mse_loss(exported, plain) < 0.01 * plain.var()
    assert not list((tmp_path / "results").glob("**/*.json"))


def test_a_job_of_pictures_only_leaves_both_sheets_and_no_record(tmp_path, monkeypatch, tiny_model):
    monkeypatch.setenv("DIT_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("DIT_QUEUE", str(tmp_path / "queue"))
    monkeypatch.setattr("dit_core.experiment.prepare.load_model", lambda name, device: tiny_model)
    queue = Queue()
    recipe = canonical([{"name": "quantization", "bits": 2, "group_size": 32}])
    job_id = queue.submit(RunSpec(techniques=recipe, steps=2), kind="pictures")
    queue.claim()
    assert runner.run_job(job_id) == (("done", "", ""), None)
    before, after = ((queue.folder(job_id) / f"{side}.png").read_bytes() for side in ("baseline", "candidate"))
    assert before.startswith(b"\x89PNG")
    assert after.startswith(b"\x89PNG")
    assert before != after
    assert not list((tmp_path / "results").glob("**/*.json"))


@pytest.mark.parametrize("recipe", [(), ({"name": "quantization", "bits": 8, "group_size": 32},)])
def test_an_exported_folder_tells_no_path_and_loads_where_nothing_else_is(tmp_path, tiny_model, recipe):
    save_model(tiny_model, tmp_path / "here" / "mine")
    export.export(RunSpec(model=str(tmp_path / "here" / "mine"), techniques=canonical(recipe)), tmp_path / "out")
    texts = [path.read_text() for path in (tmp_path / "out").rglob("*.json")]
    assert len(texts) == 2
    assert not [text for text in texts if '"/' in text or str(tmp_path) in text or "_name_or_path" in text]
    assert '"from": "mine"' in "".join(texts)
    shutil.rmtree(tmp_path / "here")
    moved = load_model(str((tmp_path / "out").rename(tmp_path / "elsewhere")))
    latents = torch.randn(1, *moved.latent_shape)
    assert torch.equal(moved.decode(latents), load_model(str(tmp_path / "elsewhere")).decode(latents))


def test_an_exported_model_samples_as_its_recipe_did_unless_told_otherwise(tmp_path, tiny_model):
    def spec(folder, *options):
        return spec_of(parser("", COMMANDS).parse_args(["generate", "--model", str(folder), *options]))

    save_model(tiny_model, tmp_path / "mine")
    few = canonical([{"name": "step_distillation", "steps": 2, "recover": "none"}])
    export.export(RunSpec(model=str(tmp_path / "mine"), techniques=few), tmp_path / "few")
    export.export(spec(tmp_path / "few"), tmp_path / "again")
    for folder in ("few", "again"):
        assert (spec(tmp_path / folder).scheduler, spec(tmp_path / folder).steps) == ("ddim", 2)
    told = spec(tmp_path / "few", "--steps", "4", "--scheduler", "unipc")
    assert (told.scheduler, told.steps) == ("unipc", 4)
    assert spec(tmp_path / "mine").steps == RunSpec().steps
    config = tmp_path / "few" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "sampler": {"steps": 2}}))
    with pytest.raises(BadRequest, match="has an invalid sampler"):
        spec(tmp_path / "few")


def test_a_checkpoint_file_gives_its_name_and_not_its_folder(tmp_path, tiny_model, monkeypatch):
    checkpoint = tmp_path / "mine.pt"
    torch.save(tiny_model.dit.state_dict(), checkpoint)
    monkeypatch.setattr(AutoencoderKL, "from_pretrained", lambda *args, **options: tiny_model.vae)
    assert load_model(str(checkpoint)).config.name == "mine.pt"
