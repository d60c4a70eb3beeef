"""An export job leaves a file that loads as a model."""

import sys
import zipfile

import torch

from dit_core import child, zygote
from dit_core.jobs import Queue
from dit_core.models.model import load_model
from dit_core.spec import RunSpec
from dit_core.techniques import canonical


def test_an_export_job_leaves_a_zip_whose_folder_loads_and_no_record(tmp_path, monkeypatch, tiny_model):
    monkeypatch.setenv("DIT_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("DIT_QUEUE", str(tmp_path / "queue"))
    monkeypatch.setattr("dit_core.experiment.load_model", lambda name, device: tiny_model)
    monkeypatch.setattr(child, "die_before_others", lambda: None)  # here it is the test's process
    monkeypatch.setattr(zygote, "keep", lambda: False)
    queue = Queue()
    recipe = canonical([{"name": "quantization", "bits": 8, "group_size": 32}])
    job_id = queue.submit(RunSpec(techniques=recipe), kind="export")
    queue.claim()
    monkeypatch.setattr(sys, "argv", ["child", str(job_id)])
    child.main()
    job = queue.get(job_id)
    assert job is not None
    assert (job.state, job.run_id, job.reason) == ("done", None, "")
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
