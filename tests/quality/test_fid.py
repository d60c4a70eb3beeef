import io

import numpy as np
import pytest
import pytorch_fid.fid_score
import pytorch_fid.inception
import torch
import torch.nn.functional as F
from scipy.linalg import sqrtm
from torch import nn
from torchvision.models.inception import InceptionA

from dit_core import quality
from dit_core.__main__ import main
from dit_core.errors import BadRequest
from dit_core.quality import adm, fid, inception, intervals
from dit_core.quality.frechet import frechet_distance, statistics
from dit_core.spec import RunSpec
from tests.factory import make_record


class TinyInception(nn.Module):
    """Has the parts that FID reads, with 6 features and a 2 x 2 map."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.Mixed_6d = nn.Conv2d(3, 9, 100, stride=100)
            self.mix = nn.Conv2d(9, 6, 1)
            self.avgpool = nn.AdaptiveAvgPool2d(1)
            self.fc = nn.Linear(6, 5)

    def forward(self, x):
        return self.fc(self.avgpool(self.mix(torch.relu(self.Mixed_6d(x)))).flatten(1))


@pytest.fixture
def tiny():
    return inception.Inception(TinyInception().requires_grad_(False), "0badcafe")


@pytest.fixture(autouse=True)
def small_sets(monkeypatch):
    """Few images are enough, so that a test is quick."""
    monkeypatch.setattr(intervals, "ENOUGH", 2)


def pictures(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)


def reference_file(tiny, path, **changes):
    pooled, spatial, _ = tiny.extract(pictures(50, 9))
    path.write_bytes(adm.reference_bytes(statistics(pooled), statistics(spatial)))
    if changes:
        with np.load(path) as file:
            arrays = {key: file[key] for key in file.files}
        arrays = {key: value for key, value in {**arrays, **changes}.items() if value is not None}
        np.savez(path, **arrays)
    return path


def test_fid_and_sfid_are_those_of_scipy_on_the_same_features(tiny, tmp_path):
    found = fid.against(pictures(40, 1), tiny, adm.read_reference(reference_file(tiny, tmp_path / "ref.npz")))
    own, real = tiny.extract(pictures(40, 1)), tiny.extract(pictures(50, 9))
    for name, a, b in (("fid", own[0], real[0]), ("sfid", own[1], real[1])):
        x, y = a.double().numpy(), b.double().numpy()
        root = sqrtm(np.cov(x.T) @ np.cov(y.T)).real
        expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(np.cov(x.T) + np.cov(y.T) - 2 * root)
        assert found[name] == pytest.approx(expected, rel=1e-4)
    assert found["fid_metric"].startswith("FID inception-2015-12-05 0badcafe 299px TF1 bilinear, 40 images, reference ")


def test_fid_has_intervals_the_spread_of_its_score_and_a_flag_where_images_are_few(tiny, tmp_path):
    known = adm.read_reference(reference_file(tiny, tmp_path / "ref.npz"))
    found = fid.against(pictures(40, 1), tiny, known)
    for name in ("fid", "sfid", "inception_score"):
        low, high = found["intervals"][name]
        assert low < found[name] < high
        assert found["interval_method"][name]
    assert found["inception_score_spread"] > 0
    assert found["fid_flag"].startswith("small sample: 40 images for 6 features")
    several = fid.against(pictures(40, 1), tiny, known, replicates=2)
    alone = [fid.against(part, tiny, known)["fid"] for part in pictures(40, 1).split(20)]
    assert several["fid"] == pytest.approx(np.mean(alone))
    assert several["intervals"]["fid"][1] - several["fid"] == pytest.approx(12.706 * abs(alone[0] - alone[1]) / 2)


def test_too_few_images_have_no_fid_but_a_reason(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(intervals, "ENOUGH", 100)
    found = fid.against(pictures(40, 1), tiny, adm.read_reference(reference_file(tiny, tmp_path / "ref.npz")))
    assert found["fid"] is found["sfid"] is None
    assert "40 images are too few" in found["reasons"]["fid"]
    assert found["inception_score"] > 0


def test_spatial_features_are_in_the_order_of_the_evaluator(tiny):
    images = pictures(2, 3)
    _, spatial, _ = tiny.extract(images)
    scaled = (inception.resize(images.float(), 299) - 128) / 128
    whole = tiny.network.Mixed_6d(scaled)[:, :7]  # (N, C, H, W); the evaluator flattens (N, H, W, C)
    assert torch.allclose(spatial, torch.stack([one.permute(1, 2, 0).flatten() for one in whole]))


def test_images_are_resized_as_in_tensorflow_1():
    image, side = torch.arange(12.0).view(1, 1, 3, 4), 5
    got = inception.resize(image, side)[0, 0]
    for i in range(side):
        for j in range(side):
            y, x = i * 3 / side, j * 4 / side
            y0, x0 = int(y), int(x)
            y1, x1 = min(y0 + 1, 2), min(x0 + 1, 3)
            top = image[0, 0, y0, x0] * (1 - x + x0) + image[0, 0, y0, x1] * (x - x0)
            low = image[0, 0, y1, x0] * (1 - x + x0) + image[0, 0, y1, x1] * (x - x0)
            assert got[i, j].item() == pytest.approx((top * (1 - y + y0) + low * (y - y0)).item(), abs=1e-5)


@pytest.mark.parametrize("largest", [False, True])
def test_a_block_pools_like_the_graph_that_fid_is_defined_by(largest):
    block, x = InceptionA(8, 4).eval().requires_grad_(False), torch.randn(1, 8, 6, 6)
    pooled = F.max_pool2d(x, 3, 1, 1) if largest else F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
    expected = block.branch_pool(pooled)
    before = block(x)
    inception.pool_like_tensorflow(block, largest)
    after = block(x)
    assert torch.allclose(after[:, -4:], expected, atol=1e-6)
    assert torch.equal(after[:, :-4], before[:, :-4])
    assert not torch.allclose(after, before)


@pytest.fixture(scope="module")
def theirs():
    """pytorch-fid's Inception and ours, with the same weights drawn at random."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        ours = inception.build()
        for module in ours.modules():
            if isinstance(module, nn.Conv2d):  # so that what is told apart survives 94 layers
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.running_var, 0.8, 1.2)
                nn.init.normal_(module.running_mean, std=0.1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pytorch_fid.inception, "load_state_dict_from_url", lambda *args, **rest: ours.state_dict())
        network = pytorch_fid.inception.InceptionV3([3], resize_input=False, normalize_input=False)
    return ours, network.eval()


@torch.inference_mode()
def test_features_are_those_of_pytorch_fid_with_the_same_weights(theirs):
    ours, network = theirs
    images = pictures(2, 4)
    pooled, spatial, _ = inception.Inception(ours, "0badcafe").extract(images)
    (expected,) = network((inception.resize(images.float(), 299) - 128) / 128)
    assert pooled.shape == (2, 2048)
    assert spatial.shape == (2, 2023)
    assert (pooled - expected.flatten(1)).norm() < 1e-4 * expected.norm()
    assert (pooled[0] - pooled[1]).norm() > 1e-2 * pooled.norm()  # two images are told apart


def test_the_frechet_distance_is_that_of_pytorch_fid():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(60, 20, generator=generator, dtype=torch.float64) + shift for shift in (0.0, 0.4))
    moments = [moment for x in (a.numpy(), b.numpy()) for moment in (x.mean(0), np.cov(x.T))]
    expected = pytorch_fid.fid_score.calculate_frechet_distance(*moments)
    assert frechet_distance(a, statistics(b)) == pytest.approx(expected, rel=1e-4)


def test_without_weights_fid_is_null_with_the_reason_and_the_offline_distance_stands():
    section = quality.judge(pictures(8, 0), "emoji", [0] * 8)
    assert section["fid"] is section["fid_metric"] is None
    assert "FID is off" in section["reasons"]["fid"]
    assert section["distance"] > 0
    assert "FID" not in section["metric"]
    make_record(RunSpec(samples=8), quality=section)


def test_with_weights_both_stand_beside_each_other_under_their_own_names(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(fid, "load", lambda: tiny)
    monkeypatch.setattr(fid.references, "drawn_pixels", lambda: pictures(30, 5))
    monkeypatch.setenv("DIT_CACHE", str(tmp_path))
    section = quality.judge(pictures(24, 0), "emoji", [0] * 24, replicates=2)
    assert section["fid"] > 0
    assert section["fid_metric"] != section["metric"]
    assert "12 images" in section["fid_metric"]
    assert [path.suffix for path in tmp_path.iterdir()] == [".npz"]


def test_a_published_model_is_judged_against_the_file_that_is_named(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(fid, "load", lambda: tiny)
    assert "DIT_FID_REFERENCE" in quality.judge(pictures(8, 0), "DiT-XL/2-256")["reasons"]["fid"]
    monkeypatch.setenv("DIT_FID_REFERENCE", str(reference_file(tiny, tmp_path / "ref.npz")))
    section = quality.judge(pictures(8, 0), "DiT-XL/2-256")
    assert section["fid"] > 0
    assert section["distance"] is None
    make_record(RunSpec(samples=8), quality=section)


def test_weights_that_are_not_inception_are_refused_in_one_line(tmp_path, monkeypatch):
    path = tmp_path / "weights.pth"
    torch.save({"a": torch.zeros(1)}, path)
    monkeypatch.setenv("DIT_INCEPTION", str(path))
    with pytest.raises(BadRequest, match="does not hold the Inception weights") as refusal:
        inception.load()
    assert "\n" not in str(refusal.value)
    monkeypatch.setenv("DIT_INCEPTION", str(tmp_path / "nowhere"))
    with pytest.raises(BadRequest, match="is no file"):
        inception.load()


def test_a_file_that_is_wrong_costs_fid_and_not_the_run(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("DIT_INCEPTION", str(tmp_path / "nowhere"))
    section = quality.judge(pictures(8, 0), "emoji", [0] * 8)
    assert section["distance"] > 0
    assert "is no file" in section["reasons"]["fid"]
    monkeypatch.setattr(fid, "load", lambda: tiny)
    monkeypatch.setenv("DIT_FID_REFERENCE", str(tmp_path / "nowhere.npz"))
    assert "cannot be read" in quality.judge(pictures(8, 0), "DiT-XL/2-256")["reasons"]["fid"]


def test_a_reference_of_other_features_is_refused(tiny, tmp_path):
    path = reference_file(tiny, tmp_path / "ref.npz", mu=np.zeros(5), sigma=np.eye(5))
    with pytest.raises(BadRequest, match="statistics of 5 features, and Inception gives 6"):
        fid.against(pictures(8, 0), tiny, adm.read_reference(path))


def test_a_single_image_is_refused_by_the_command_line_in_one_line(tiny, tmp_path, monkeypatch, capsys):
    samples = tmp_path / "one.npz"
    samples.write_bytes(adm.samples_bytes(pictures(1, 0), [0]))
    monkeypatch.setattr(inception, "load", lambda: tiny)
    reference = reference_file(tiny, tmp_path / "ref.npz")
    assert main(["judge", str(samples), "--reference", str(reference)]) == 2
    assert capsys.readouterr().err.splitlines() == ["dit_core: FID and inception score need two images or more."]


def test_the_evaluators_own_files_are_read_as_it_reads_them(tiny, tmp_path):
    """Its statistics are `np.cov` of the features, and its reference files hold images beside them."""
    own, spatial, _ = (part.double().numpy() for part in tiny.extract(pictures(50, 9)))
    path = tmp_path / "VIRTUAL_labeled.npz"
    moments = {"mu": own.mean(0), "sigma": np.cov(own, rowvar=False)}
    moments |= {"mu_s": spatial.mean(0), "sigma_s": np.cov(spatial, rowvar=False)}
    np.savez(path, arr_0=np.zeros((2, 32, 32, 3), np.uint8), **moments)
    ours = adm.read_reference(reference_file(tiny, tmp_path / "ref.npz"))
    theirs = adm.read_reference(path)
    for a, b in ((ours.pooled, theirs.pooled), (ours.spatial, theirs.spatial)):
        assert torch.allclose(a.mean, b.mean)
        assert torch.allclose(a.covariance, b.covariance)
    assert adm.read_samples(path).shape == (2, 3, 32, 32)


def test_what_samples_were_is_what_is_read(tmp_path):
    path, images = tmp_path / "samples.npz", pictures(3, 0)
    path.write_bytes(adm.samples_bytes(images, [2, 0, 1]))
    assert torch.equal(adm.read_samples(path), images)


def test_weights_in_the_cache_of_torch_hub_are_found(tmp_path, monkeypatch):
    monkeypatch.delenv("DIT_INCEPTION")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(inception.NoInception, match="no Inception weights"):
        inception.weights_path()
    path = tmp_path / "checkpoints" / inception.NAMES[0]
    path.parent.mkdir()
    path.touch()
    assert inception.weights_path() == path


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"mu": None}, "has no mu and sigma"),
        ({"sigma": np.zeros((3, 3))}, "do not fit"),
        ({"mu": np.full(6, np.nan)}, "not finite"),
        ({"mu": np.array(["x"] * 6)}, "no numbers"),
    ],
)
def test_a_broken_reference_is_refused_with_what_is_wrong(tiny, tmp_path, changes, says):
    with pytest.raises(BadRequest, match=says):
        adm.read_reference(reference_file(tiny, tmp_path / "ref.npz", **changes))


def test_a_file_with_code_in_it_is_refused_and_a_missing_one_too(tmp_path):
    path = tmp_path / "evil.npz"
    np.savez(path, arr_0=np.array([print], dtype=object))
    with pytest.raises(BadRequest, match="cannot be read"):
        adm.read_samples(path)
    with pytest.raises(BadRequest, match="cannot be read"):
        adm.read_samples(tmp_path / "nowhere.npz")


def test_a_reference_without_spatial_statistics_gives_fid_alone(tiny, tmp_path):
    path = reference_file(tiny, tmp_path / "ref.npz", mu_s=None, sigma_s=None)
    found = fid.against(pictures(8, 0), tiny, adm.read_reference(path))
    assert found["sfid"] is None
    assert found["fid"] > 0


def test_samples_are_written_as_the_evaluator_reads_them():
    images = pictures(3, 0)
    with np.load(io.BytesIO(adm.samples_bytes(images, [2, 0, 1]))) as file:
        assert file["arr_0"].shape == (3, 32, 32, 3)
        assert file["arr_0"].dtype == np.uint8
        assert (file["arr_0"][1, 4, 5] == images[1, :, 4, 5].numpy()).all()
        assert file["arr_1"].tolist() == [2, 0, 1]


def test_generated_samples_are_judged_by_the_command_line(tiny, tmp_path, monkeypatch, capsys):
    samples = tmp_path / "samples.npz"
    assert main(["generate", "--npz", str(samples), "--count", "4", "--steps", "1", "--guidance", "1"]) == 0
    assert adm.read_samples(samples).shape == (4, 3, 32, 32)
    monkeypatch.setattr(inception, "load", lambda: tiny)
    reference = reference_file(tiny, tmp_path / "ref.npz")
    assert main(["judge", str(samples), "--reference", str(reference)]) == 0
    assert "FID inception-2015-12-05 0badcafe 299px TF1 bilinear, 4 images" in capsys.readouterr().out
    assert main(["judge", str(reference), "--reference", str(reference)]) == 2
