"""How images form is drawn with a run, ends in its images, can be drawn again, and is read with suspicion."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from dit_core.analysis import verify
from dit_core.cli.commands import main
from dit_core.data.sheets import webp
from dit_core.experiment import export, run, trajectories
from dit_core.experiment.prepare import SHEET_COLUMNS
from dit_core.models.sources.folder import save_model
from dit_core.records.spec import RunSpec
from dit_core.records.store import Store
from tests.factory import make_record, make_sheets

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("untimed")]

EIGHT_BITS = RunSpec(techniques=({"name": "quantization", "bits": 8},))
HALF = ({"name": "depth_pruning", "keep": 1, "importance": "even"},)


@pytest.fixture
def stored(tiny_model, tmp_path, monkeypatch):
    """A measured run of three steps, in the store."""
    monkeypatch.setenv("DIT_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("DIT_CACHE", str(tmp_path / "cache"))
    save_model(tiny_model, tmp_path / "model")
    spec = RunSpec(model=str(tmp_path / "model"), techniques=HALF, steps=3, batch_size=2, samples=0)
    run.run(spec, store=Store())
    return Store().get(spec.run_id)


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_the_last_step_is_the_image_and_the_first_is_not(stored):
    kept, sheet = trajectories.read(stored), Store().sheet(stored, "candidate")
    assert kept is not None
    assert sheet is not None
    assert (kept.steps, kept.places) == (3, (0, 3, 6, 9))
    formed, final, tile = pixels(kept.webp), pixels(sheet), kept.tile
    for row, place in enumerate(kept.places):
        top, left = place // SHEET_COLUMNS * tile, place % SHEET_COLUMNS * tile
        image = final[top : top + tile, left : left + tile]
        first, *_, last = np.split(formed[row * tile : (row + 1) * tile], kept.steps, axis=1)
        np.testing.assert_allclose(last.astype(int), image.astype(int), atol=1)
        assert np.abs(first.astype(int) - image).mean() > 2


def test_what_is_missing_is_drawn_again_and_the_same(stored, capsys):
    path = trajectories.path_of(stored)
    was = path.read_bytes()
    path.unlink()
    assert main(["trajectories", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"drawn": 1}
    assert path.read_bytes() == was
    assert main(["trajectories", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"drawn": 0}


def test_a_full_disk_costs_the_picture_and_not_the_run(tiny_model, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setenv("DIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(trajectories, "write_bytes", full)
    save_model(tiny_model, tmp_path / "model")
    spec = RunSpec(model=str(tmp_path / "model"), steps=1, batch_size=1, samples=0)
    assert run.run(spec, store=Store(tmp_path / "results")).run_id == spec.run_id


def test_random_weights_have_no_trajectory():
    assert not trajectories.is_drawable(make_record(RunSpec(model="random:DiT-S/2@256")))


@pytest.mark.parametrize("data", [b"", b"no picture", None])
def test_a_file_that_is_no_such_picture_is_not_shown_and_named(tmp_path, data):
    store = Store(tmp_path)
    record = make_record(EIGHT_BITS)
    store.put(record, make_sheets(record), local=False)
    found = store.get(record.run_id)
    assert found is not None
    assert trajectories.read(found) is None
    assert verify.check(store) == []
    if data is None:
        flat = io.BytesIO()
        Image.new("RGB", (64, 16)).save(flat, "WEBP", lossless=True)
        data = flat.getvalue()
    trajectories.write(found, data)
    assert trajectories.read(found) is None
    assert ["the picture does not match its record" in one.problem for one in verify.check(store)] == [True]


@pytest.mark.parametrize(("tile", "most"), [(32, 25), (1024, 15)])
def test_many_steps_and_those_that_do_not_fit_into_a_picture_are_thinned_out_evenly(tile, most):
    assert trajectories.kept_steps(most, tile) == tuple(range(1, most + 1))
    for steps in (most + 1, 2 * most, 1000):
        kept = trajectories.kept_steps(steps, tile)
        assert (len(kept), kept[0], kept[-1]) == (most, 1, steps)
        apart = np.diff(kept)
        assert 1 <= apart.min() <= apart.max() <= apart.min() + 1


@pytest.mark.parametrize(("tile", "steps"), [(32, 25), (32, 26), (32, 1000), (1024, 15), (1024, 16)])
def test_a_trajectory_of_any_length_is_kept_and_tells_its_steps(tmp_path, tile, steps):
    store, record = Store(tmp_path), make_record(EIGHT_BITS)
    record = make_record(EIGHT_BITS, samples={**record.samples, "tile": tile})
    store.put(record, make_sheets(record), local=False)
    found = store.get(record.run_id)
    assert found is not None
    after = trajectories.kept_steps(steps, tile)
    rows = len(trajectories.places(len(record.samples["labels"])))
    canvas = np.zeros((rows * tile, len(after) * tile, 3), np.uint8)
    trajectories.write(found, webp(canvas, trajectories.description(after)))
    kept = trajectories.read(found)
    assert kept is not None
    assert (kept.after, kept.steps, kept.after[-1]) == (after, len(after), steps)


def test_a_run_of_more_steps_than_fit_keeps_its_first_and_its_last(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(trajectories, "MAX_WIDTH", 3 * 32 + 1)
    save_model(tiny_model, tmp_path / "model")
    spec = RunSpec(model=str(tmp_path / "model"), steps=6)
    thinned = pixels(export.trajectory(spec))
    monkeypatch.undo()
    whole = pixels(export.trajectory(spec))
    assert (thinned.shape[1], whole.shape[1]) == (3 * 32, 6 * 32)
    columns = np.split(whole, 6, axis=1)
    np.testing.assert_array_equal(thinned, np.concatenate([columns[step - 1] for step in (1, 3, 6)], axis=1))


def test_a_trajectory_of_no_record_is_named(tmp_path):
    store = Store(tmp_path)
    record = make_record(EIGHT_BITS)
    store.put(record, make_sheets(record), local=False)
    (tmp_path / trajectories.FOLDER).mkdir()
    (tmp_path / trajectories.FOLDER / f"{'0' * 12}-{'1' * 12}.webp").write_bytes(b"")
    assert [one.problem for one in verify.check(store)] == ["no record has this trajectory"]


def test_runs_of_the_same_images_share_a_picture(stored):
    def named(**change) -> str:
        spec = RunSpec.from_dict({**stored.record.spec, **change})
        return trajectories.path_of(replace(stored, record=replace(stored.record, spec=spec.to_dict()))).name

    assert named() == named(batch_size=8) == named(samples=500, replicates=3)
    assert len({named(), named(steps=4), named(seed=1), named(guidance=4.0), named(techniques=[])}) == 5
