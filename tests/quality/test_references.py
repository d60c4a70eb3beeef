import torch

from dit_core.data import load_images
from dit_core.data.images import SETS
from dit_core.models import sources
from dit_core.models.sources import bundled
from dit_core.models.sources.folder import save_model
from dit_core.quality import references
from dit_core.quality.efficientnet import EXTRACTOR


def test_the_reference_is_class_balanced_and_its_statistics_are_of_the_same_images():
    reference = references.bundled()
    assert len(reference.features) == 18 * references.PER_CLASS == reference.pooled.count == reference.spatial.count


def test_the_covariance_of_spatial_features_is_symmetric_and_positive():
    covariance = references.bundled().spatial.covariance
    assert torch.equal(covariance, covariance.T)
    assert torch.linalg.eigvalsh(covariance).min() > -1e-4


def test_the_bundled_classifier_has_an_accuracy_on_images_that_it_was_not_fitted_on(held_out_features):
    classifier = references.bundled().classifier
    assert classifier.held_out_count == len(load_images("held_out"))
    labels = torch.from_numpy(load_images("held_out").labels[: len(held_out_features)])
    assert 1 / 18 < classifier.held_out_accuracy < 1
    assert classifier.accuracy(held_out_features.pooled, labels) > 3 / 18


def test_the_reference_files_are_in_the_repository_and_small():
    for path in (references.file_of(name, part) for name in SETS for part in references.BUILDERS):
        assert path.is_file()
        assert EXTRACTOR in path.name
        assert path.stat().st_size < 2.5e6


def test_each_image_set_has_a_reference_of_its_own():
    small, large = references.bundled("emoji"), references.bundled("emoji64")
    assert (small.title, large.title) == ("emoji train", "emoji64 train")
    assert small.digest != large.digest
    assert large.features.shape == small.features.shape


def test_a_model_is_judged_against_the_image_set_that_its_folder_names(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(bundled, "WEIGHTS", tmp_path)
    save_model(tiny_model, tmp_path / "sharp", {"images": "emoji64"})
    save_model(tiny_model, tmp_path / "emoji")
    assert (sources.find("sharp").reference_images, sources.find("sharp").training_images) == ("emoji64", "emoji64")
    assert sources.find("emoji").reference_images == "emoji"
    assert references.reference_of("sharp").title == "emoji64 train"
    assert references.reference_of("emoji", "emoji64").title == "emoji64 train"
