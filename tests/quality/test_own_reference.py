"""Images that a person names as reference: judged against, cached by content, and refused before a run if they must."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from dit_core import quality
from dit_core.cli.commands import main
from dit_core.errors import BadRequest
from dit_core.experiment.checks import check
from dit_core.experiment.known import is_current
from dit_core.models import sources
from dit_core.models.model import build_dit
from dit_core.models.sources.folder import save_model
from dit_core.quality import adm, efficientnet, inception, judgement, references
from dit_core.quality.frechet import RunningStatistics, frechet_distance, statistics
from dit_core.records.spec import RunSpec
from tests.factory import make_record
from tests.quality.samples import random_features, random_images

pytestmark = pytest.mark.slow

COUNT = 24


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("dit_core.data.own_images.LISTED_FOR_S", 1e-9)
    references._read_own.cache_clear()


@pytest.fixture
def real() -> torch.Tensor:
    return random_images(COUNT, 3)


@pytest.fixture
def folder(tmp_path, real):
    (tmp_path / "photos").mkdir()
    for index, image in enumerate(real):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / "photos" / f"{index:02}.png")
    return tmp_path / "photos"


@pytest.fixture
def samples(tmp_path, real):
    (tmp_path / "real.npz").write_bytes(adm.samples_bytes(real, [0] * COUNT))
    return tmp_path / "real.npz"


def test_statistics_of_parts_are_those_of_the_whole():
    features = random_features(50, 6, 0, shift=3.0)
    running = RunningStatistics()
    for part in features.split(7):
        running.add(part)
    whole, parts = statistics(features), running.result()
    assert parts.count == whole.count
    torch.testing.assert_close(parts.mean, whole.mean)
    torch.testing.assert_close(parts.covariance, whole.covariance)


@pytest.mark.parametrize("kind", ["folder", "samples"])
def test_images_are_judged_against_a_folder_or_a_sample_file(kind, request, real, small_sets):
    path = request.getfixturevalue(kind)
    generated = random_images(20, 8)
    section = quality.evaluate_images(generated, "DiT-XL/2-256", [0] * 20, reference=str(path))
    expected = statistics(efficientnet.extract(real).pooled)
    own = frechet_distance(efficientnet.extract(generated).pooled, expected)
    assert section["distance"] == pytest.approx(own, rel=1e-3)
    assert section["kid"] is not None
    assert section["recall"] is not None
    digest = judgement.own_reference(str(path)).digest
    assert section["reference"] == f"{path.name}, {COUNT} images, {digest}"
    assert section["reference_digest"] == digest
    assert digest in section["metric"]
    assert section["class_accuracy"] is None
    assert "are not those of the model" in section["reasons"]["class_accuracy"]
    make_record(RunSpec(model="DiT-XL/2-256", samples=20, reference=str(path)), quality=section)


def test_features_are_extracted_once_for_the_same_content(folder, tmp_path, monkeypatch, small_sets):
    section = quality.evaluate_images(random_images(20, 8), "emoji", reference=str(folder))
    moved = folder.rename(tmp_path / "moved")
    references._read_own.cache_clear()
    monkeypatch.setattr(references, "_own_features", lambda *rest: pytest.fail("extracted again"))
    again = quality.evaluate_images(random_images(20, 8), "emoji", reference=str(moved))
    assert again["distance"] == section["distance"]


def test_a_large_reference_keeps_the_statistics_of_all_and_the_features_of_some(folder, monkeypatch):
    whole = references.reference_of("emoji", str(folder))
    monkeypatch.setattr(references, "KEPT", 15)
    monkeypatch.setenv("DIT_CACHE", str(folder.parent / "other"))
    part = references.reference_of("emoji", str(folder))
    assert len(part.features) == 15
    assert part.pooled.count == whole.pooled.count == COUNT
    torch.testing.assert_close(part.pooled.covariance, whole.pooled.covariance)


def test_fid_is_computed_against_the_same_images(folder, samples, real, tiny, monkeypatch, small_sets):
    monkeypatch.setattr(inception, "load", lambda: tiny)
    generated = random_images(20, 8)
    expected = frechet_distance(tiny.extract(generated).pooled, statistics(tiny.extract(real).pooled))
    for path in (folder, samples):
        section = quality.evaluate_images(generated, "DiT-XL/2-256", reference=str(path))
        assert section["fid"] == pytest.approx(expected, rel=1e-3)
        assert section["reference_digest"] in section["fid_metric"]


def test_statistics_serve_fid_only_and_images_beside_them_the_rest(reference_file, real, tiny, monkeypatch, small_sets):
    monkeypatch.setattr(inception, "load", lambda: tiny)
    only = quality.evaluate_images(random_images(20, 8), "DiT-XL/2-256", reference=str(reference_file()))
    assert only["fid"] > 0
    assert only["distance"] is None
    assert "has only statistics" in only["reason"]
    both = reference_file(arr_0=real.permute(0, 2, 3, 1).numpy())
    section = quality.evaluate_images(random_images(20, 8), "DiT-XL/2-256", reference=str(both))
    assert section["fid"] == pytest.approx(only["fid"])
    assert section["distance"] > 0


def test_a_record_is_current_until_the_reference_changes(folder):
    digest = judgement.reference_digest(str(folder))
    spec = RunSpec(samples=20, reference=str(folder))
    record = make_record(spec, quality={"reference_digest": digest})
    assert is_current(record)
    Image.new("RGB", (32, 32)).save(folder / "00.png")
    assert not is_current(record)
    assert is_current(replace(record, spec=RunSpec(samples=20).to_dict()))


def test_a_reference_is_part_of_a_run_only_where_it_is_not_the_models_own(folder):
    assert "reference" not in RunSpec().to_dict()
    named = RunSpec(reference=str(folder))
    assert named.run_id != RunSpec().run_id
    assert RunSpec.from_dict(named.to_dict()) == named
    assert f"--reference {folder}" in named.command()
    assert judgement.own_choice(sources.find("emoji"), "emoji") == ""
    assert judgement.own_choice(sources.find("emoji"), str(folder)) == str(folder)


def test_a_model_without_reference_is_refused_before_a_run_and_judged_with_one(tiny_model, folder, tmp_path):
    save_model(tiny_model, tmp_path / "model")
    spec = RunSpec(model=str(tmp_path / "model"), samples=20)
    with pytest.raises(BadRequest, match="has no reference images to judge against: set reference to a folder"):
        check(spec)
    check(replace(spec, samples=0))
    check(replace(spec, reference=str(folder)))
    check(replace(spec, reference="emoji"))


def test_statistics_without_inception_are_refused_before_a_run(reference_file):
    with pytest.raises(BadRequest, match=r"only statistics for FID, and FID is off .*: set reference to a folder"):
        check(RunSpec(samples=20, reference=str(reference_file())))


def test_images_of_another_size_or_too_few_or_none_are_refused_before_a_run(folder, tmp_path):
    for file in sorted(folder.iterdir())[judgement.FEWEST - 1 :]:
        file.unlink()
    spec = RunSpec(samples=20, reference=str(folder))
    with pytest.raises(BadRequest, match="has 9 images: a reference needs 10 or more"):
        check(spec)
    Image.new("RGB", (64, 64)).save(folder / "large.png")
    with pytest.raises(BadRequest, match="not 32 x 32 pixels"):
        check(spec)
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadRequest, match="has no images"):
        check(replace(spec, reference=str(tmp_path / "empty")))
    with pytest.raises(BadRequest, match="is no reference: name a folder"):
        check(replace(spec, reference="nowhere"))
    with pytest.raises(BadRequest, match="32 pixels along a side, and those of DiT-XL/2-256 256"):
        check(RunSpec(model="DiT-XL/2-256", samples=20, reference="emoji"))


def test_a_damaged_image_ends_a_run_before_anything_is_generated(folder):
    path = folder / "03.png"
    path.write_bytes(path.read_bytes()[:-500])
    check(RunSpec(samples=20, reference=str(folder)))
    with pytest.raises(BadRequest, match=r"1 of 24 files in .* \(03.png\) are damaged"):
        quality.build_reference("emoji", str(folder), lambda done, of: None)


def test_the_command_line_takes_a_reference_and_refuses_a_bad_one_in_one_line(tmp_path, capsys):
    assert main(["run", "--samples", "20", "--reference", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "has no images" in line
    assert main(["run", "--model", "DiT-XL/2-256", "--samples", "20"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "DiT-XL/2-256 has no reference images to judge against" in line


def test_an_exported_model_is_judged_as_the_model_that_it_was_exported_from(tiny_model, tmp_path):
    emoji = sources.find("emoji")
    size = replace(tiny_model.config.dit, num_classes=len(emoji.class_names))
    config = replace(tiny_model.config, classes=emoji.class_names, dit=size)
    exported = replace(tiny_model, dit=build_dit(size, 1), config=config)
    save_model(exported, tmp_path / "exported", {"from": "emoji"})
    source = sources.find(str(tmp_path / "exported"))
    assert (source.reference_images, source.origin) == ("emoji", "emoji")
    check(RunSpec(model=source.name, samples=20))
    save_model(tiny_model, tmp_path / "other", {"from": "emoji"})  # other classes
    assert isinstance(sources.find(str(tmp_path / "other")).reference_images, sources.Missing)


def test_the_bundled_set_judges_other_classes_without_their_accuracy(tiny_model, tmp_path, small_sets):
    save_model(tiny_model, tmp_path / "model")
    section = quality.evaluate_images(random_images(20, 1), str(tmp_path / "model"), [0] * 20, reference="emoji")
    assert section["distance"] > 0
    assert section["class_accuracy"] is None
    assert np.isfinite(section["kid"])
