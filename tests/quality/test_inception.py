"""Inception's features through a weights file, compared with pytorch-fid on the same random weights."""

import io
from pathlib import Path

import pytest
import pytorch_fid.inception
import torch
from torch import nn
from torch_fidelity import FeatureExtractorInceptionV3
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x
from torchmetrics.image.fid import NoTrainInceptionV3

from dit_core.cli.commands import main
from dit_core.errors import BadRequest
from dit_core.quality import inception
from dit_core.quality.judgement import INCEPTION_FILES, Unavailable
from tests.quality.samples import random_images

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file in the format of the published weights, with random weights under which two images differ."""
    empty = io.BytesIO()
    torch.save({}, empty)
    empty.seek(0)
    with torch.random.fork_rng(), pytest.MonkeyPatch.context() as patch:
        torch.manual_seed(0)
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda network, state: None)
        network = FeatureExtractorInceptionV3("random", ["2048"], empty)
        for module in network.modules():
            if isinstance(module, nn.Conv2d):  # so that differences between images survive 94 layers
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.running_var, 0.8, 1.2)
                nn.init.normal_(module.running_mean, std=0.1)
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture
def loaded(weights, monkeypatch):
    monkeypatch.setenv("DIT_INCEPTION", str(weights))
    return inception.load()


@torch.inference_mode()
def test_features_are_those_of_pytorch_fid_with_the_same_weights(loaded, weights, monkeypatch):
    state = torch.load(weights, weights_only=True)
    monkeypatch.setattr(pytorch_fid.inception, "load_state_dict_from_url", lambda *args, **rest: state)
    network = pytorch_fid.inception.InceptionV3([3], resize_input=False, normalize_input=False).eval()
    images = random_images(2, 4)
    resized = interpolate_bilinear_2d_like_tensorflow1x(images.float(), size=(299, 299), align_corners=False)
    (expected,) = network((resized - 128) / 128)
    features = loaded.extract(images)
    assert features.pooled.shape == (2, 2048)
    assert features.spatial.shape == (2, 2023)
    assert features.logits.shape == (2, 1008)
    assert (features.pooled - expected.flatten(1)).norm() < 1e-4 * expected.norm()
    assert (features.pooled[0] - features.pooled[1]).norm() > 1e-2 * features.pooled.norm()


@torch.inference_mode()
def test_features_are_those_of_torchmetrics_with_the_same_weights(loaded, weights):
    network = NoTrainInceptionV3("torchmetrics", ["2048"], str(weights), antialias=False)
    images = random_images(2, 4)
    features = loaded.extract(images)
    assert (features.pooled - network(images)).norm() < 1e-4 * features.pooled.norm()
    assert torch.allclose(features.logits, features.pooled @ network.fc.weight.T, rtol=1e-4, atol=1e-4)


def test_the_network_stays_in_evaluation_mode_and_without_gradients(loaded):
    assert not any(module.training for module in loaded.network.modules())
    assert not any(parameter.requires_grad for parameter in loaded.network.parameters())


def test_spatial_features_are_in_the_order_of_the_evaluator(tiny):
    images = random_images(2, 3)
    feature_map = tiny.network.Mixed_6d((images.float() - 128) / 128)[:, :7]
    expected = torch.stack([image.permute(1, 2, 0).flatten() for image in feature_map])  # rows, columns, channels
    assert torch.allclose(tiny.extract(images).spatial, expected)


def test_images_are_resized_as_in_tensorflow_1(loaded):
    """Pixel i of the resized image comes from i * H / 299."""
    image, inputs = random_images(1, 7)[:, :, :24, :30].contiguous(), []
    hook = loaded.network.Conv2d_1a_3x3.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    loaded.extract(image)
    hook.remove()
    pixels = image[0, 0].float()
    for i, j in ((0, 0), (1, 2), (100, 201), (298, 298)):
        y, x = i * 24 / 299, j * 30 / 299
        y0, x0 = int(y), int(x)
        y1, x1 = min(y0 + 1, 23), min(x0 + 1, 29)
        top = pixels[y0, x0] * (1 - x + x0) + pixels[y0, x1] * (x - x0)
        bottom = pixels[y1, x0] * (1 - x + x0) + pixels[y1, x1] * (x - x0)
        expected = (top * (1 - y + y0) + bottom * (y - y0) - 128) / 128
        assert inputs[0][0, 0, i, j].item() == pytest.approx(expected.item(), abs=1e-4)


def test_a_file_that_is_not_inception_is_refused_in_one_line(tmp_path, monkeypatch):
    path = tmp_path / "other.pth"
    torch.save({"a": torch.zeros(1)}, path)
    monkeypatch.setenv("DIT_INCEPTION", str(path))
    with pytest.raises(BadRequest, match="does not hold the Inception weights") as refusal:
        inception.load()
    assert "\n" not in str(refusal.value)
    monkeypatch.setenv("DIT_INCEPTION", str(tmp_path / "nowhere"))
    with pytest.raises(BadRequest, match="is no file"):
        inception.load()


def test_a_file_with_code_in_it_is_refused_and_the_code_does_not_run(tmp_path, monkeypatch):
    class Code:
        def __reduce__(self):
            return (tmp_path.joinpath("executed").touch, ())

    path = tmp_path / "code.pth"
    torch.save({"fc.weight": Code()}, path)
    monkeypatch.setenv("DIT_INCEPTION", str(path))
    with pytest.raises(BadRequest, match="does not hold the Inception weights"):
        inception.load()
    assert not (tmp_path / "executed").exists()


def test_weights_that_are_not_finite_are_refused(weights, tmp_path, monkeypatch):
    state = torch.load(weights, weights_only=True)
    state["fc.weight"][0, 0] = torch.nan
    path = tmp_path / "broken.pth"
    torch.save(state, path)
    monkeypatch.setenv("DIT_INCEPTION", str(path))
    with pytest.raises(BadRequest, match="not finite"):
        inception.load()


@pytest.mark.parametrize("name", INCEPTION_FILES)
def test_weights_in_the_cache_of_torch_hub_are_used(name, tmp_path, monkeypatch):
    monkeypatch.delenv("DIT_INCEPTION")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(Unavailable, match="run `python -m dit_core inception`"):
        inception.weights_path()
    path = Path(torch.hub.get_dir(), "checkpoints", name)
    path.parent.mkdir(parents=True)
    path.touch()
    assert inception.weights_path() == path


def test_weights_are_downloaded_only_on_request_and_checked_by_their_hash(tmp_path, monkeypatch):
    requests = []

    def download(url, path, hash_prefix, progress):
        requests.append((url.rsplit("/", 1)[1], hash_prefix))
        raise OSError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    monkeypatch.setenv("DIT_INCEPTION", "download")
    with pytest.raises(Unavailable, match="could not be downloaded: no network"):
        inception.weights_path()
    monkeypatch.setenv("DIT_INCEPTION", "")
    assert main(["inception"]) == 2
    assert requests == [(INCEPTION_FILES[0], "6726825d")] * 2
