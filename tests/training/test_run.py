"""Lists of recoveries, mixtures, autoencoders and trainings that begin from others; the command line tests the rest."""

import copy
import json

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

from dit_core.cli.commands import main
from dit_core.data.images import ImageSet
from dit_core.errors import BadRequest
from dit_core.experiment.prepare import prepare
from dit_core.models import checkpoints, recovered
from dit_core.models.experts import mixtures
from dit_core.models.sources import bundled, load_model
from dit_core.models.sources.folder import save_model
from dit_core.recipes.recipe import canonical
from dit_core.records.spec import RunSpec
from dit_core.training import recovery, run
from dit_core.training.run import train

pytestmark = pytest.mark.slow


@pytest.fixture
def config(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(bundled, "WEIGHTS", tmp_path / "weights")
    save_model(tiny_model, tmp_path / "weights" / "tiny")
    pixels = np.random.default_rng(0).integers(0, 255, (6, 32, 32, 3)).astype(np.uint8)
    images = ImageSet(pixels, np.arange(6) % 3, tiny_model.classes, ("made",) * 6, ("noise",) * 6, "0" * 64)
    monkeypatch.setattr(recovery, "load_images", lambda split, name: images)

    def write(text):
        (tmp_path / "recovery.toml").write_text(text)
        return tmp_path / "recovery.toml"

    return write


def test_a_list_of_recoveries_becomes_bundled_weights(config, tmp_path):
    file = config("""
        kind = "recovery"
        model = "tiny"
        [[recoveries]]
        steps = 2
        techniques = [{ name = "distillation", depth = 0.5 }]
        [[recoveries]]
        steps = 2
        techniques = [{ name = "distillation", depth = 0.5, recover = "bundled" }, { name = "guidance_distillation" }]
        [[recoveries]]
        steps = 4
        techniques = [{ name = "step_distillation", steps = 1 }]
    """)
    folder = train(file, tmp_path / "out")
    assert len(list(folder.glob("*.safetensors.xz"))) == len(list(folder.glob("*.csv"))) == 3
    assert len(recovered.listed("tiny", "distillation")) == 1
    assert [entry["name"] for entry in recovered.listed("tiny", "guidance_distillation")[0]] == [
        "distillation",
        "guidance_distillation",
    ]


LIST = """
    kind = "recovery"
    model = "tiny"
    [[recoveries]]
    steps = 2
    techniques = [{ name = "distillation", depth = 0.5 }]
    [[recoveries]]
    steps = 2
    techniques = [{ name = "distillation", depth = 0.5, recover = "bundled" }, { name = "guidance_distillation" }]
    [[recoveries]]
    steps = 2
    techniques = [{ name = "depth_pruning", keep = 1 }]
"""
DISTILLED, GUIDED, PRUNED = "1 of 3: ", "2 of 3: ", "3 of 3: "


def trained(config, out, capsys, text=LIST):
    """Train a list and return which of its entries were not skipped."""
    capsys.readouterr()
    train(config(text), out)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith((DISTILLED, GUIDED, PRUNED))]
    assert len(lines) == 3
    return [line[: len(PRUNED)] for line in lines if not line.endswith(": skipped, its weights exist")]


@pytest.mark.parametrize(("longer", "again"), [([], []), ([2], [PRUNED]), ([0], [DISTILLED, GUIDED])])
def test_a_list_trains_what_it_changes_and_what_begins_from_that_and_skips_the_rest(
    config, tmp_path, capsys, longer, again
):
    assert trained(config, tmp_path / "out", capsys) == [DISTILLED, GUIDED, PRUNED]
    parts = LIST.split("steps = 2")
    steps = [3 if index in longer else 2 for index in range(3)]
    text = parts[0] + "".join(f"steps = {count}{part}" for count, part in zip(steps, parts[1:], strict=True))
    assert trained(config, tmp_path / "out", capsys, text) == again
    assert trained(config, tmp_path / "elsewhere", capsys, text) == []


@pytest.mark.parametrize("setting", ["batch_size = 8", "learning_rate = 2e-3"])
def test_a_recovery_that_is_to_be_trained_otherwise_is_trained_again(config, tmp_path, capsys, setting):
    trained(config, tmp_path / "out", capsys)
    text = LIST.replace("steps = 2", f"steps = 2\n    {setting}", 1)
    assert trained(config, tmp_path / "out", capsys, text) == [DISTILLED, GUIDED]
    (recipe,) = recovered.listed("tiny", "distillation")
    header = recovered.header(recovered.path("tiny", recipe))
    name, _, value = setting.partition(" = ")
    assert json.loads(header["settings"])[name] == float(value)
    assert recovered.steps(header) == 2


def test_a_list_trains_again_what_is_damaged_or_began_from_other_weights(config, tiny_model, tmp_path, capsys):
    trained(config, tmp_path / "out", capsys)
    recovered.path("tiny", canonical([{"name": "depth_pruning", "keep": 1}])).write_bytes(b"torn")
    assert trained(config, tmp_path / "out", capsys) == [PRUNED]
    dit = copy.deepcopy(tiny_model.dit)
    dit.blocks[0].mlp.fc1.weight.data += 1
    save_model(tiny_model.with_dit(dit), tmp_path / "weights" / "tiny")
    assert trained(config, tmp_path / "out", capsys) == [DISTILLED, GUIDED, PRUNED]


def test_older_bundled_weights_say_only_which_model_they_began_from(config, tmp_path, capsys):
    trained(config, tmp_path / "out", capsys)
    for file in (tmp_path / "weights" / "tiny" / bundled.RECOVERED).glob("*.safetensors.xz"):
        header = {name: value for name, value in recovered.header(file).items() if name != "weights"}
        checkpoints.write_safetensors(checkpoints.read_safetensors(file), file, header)
    assert trained(config, tmp_path / "out", capsys) == [GUIDED]


@pytest.fixture
def base(config, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "load_images", lambda split, name: recovery.load_images(split, name))
    return lambda moe, dense="": config(f"""
        kind = "base"
        name = "mixed"
        {dense and f'dense = "{dense}"'}
        vae = "{tmp_path}/weights/tiny/vae"
        moe = {{ {moe} }}
        dit = {{ input_size = 8, in_channels = 4, patch_size = 4, hidden_size = 32, depth = 2, num_heads = 2 }}
        settings = {{ samples = 8, batch_size = 4 }}
    """)


def test_a_mixture_is_trained_from_scratch(base, tmp_path):
    trained = load_model(str(train(base("experts = 4, top_k = 1"), tmp_path / "out")))
    assert [mixture.router.weight.shape[0] for mixture in mixtures(trained.dit)] == [4, 4]


def test_a_mixture_goes_beside_the_dense_model_that_trained_alike(base, tmp_path):
    lines = base("").read_text().replace('"mixed"', '"wide"').splitlines()
    dense = tmp_path / "dense.toml"
    dense.write_text("\n".join(line for line in lines if "moe" not in line))
    save_model(load_model(str(train(dense, tmp_path / "dense"))), tmp_path / "weights" / "wide")
    train(base('experts = 4, top_k = 1, gate = "one"', "wide"), tmp_path / "out")

    spec = RunSpec(
        model="wide", techniques=canonical([{"name": "moe", "experts": 4, "top_k": 1, "recover": "bundled"}])
    )
    mixture, alone = prepare(spec).candidate.dit, load_model(str(tmp_path / "out" / "model")).dit
    assert mixture.state_dict().keys() == alone.state_dict().keys()
    for name, value in mixture.state_dict().items():
        torch.testing.assert_close(value, alone.state_dict()[name], atol=0.02, rtol=0.02)


def test_a_mixture_of_another_shape_than_the_dense_model_is_refused(base, tmp_path):
    with pytest.raises(BadRequest, match="tiny has another shape"):
        train(base("experts = 4, top_k = 1", "tiny"), tmp_path / "out")


@pytest.mark.parametrize(
    ("moe", "reason"),
    [("experts = 4", "table moe takes"), ("experts = 5, top_k = 1", "divide"), ("size = 3", "table moe takes")],
)
def test_a_mixture_that_cannot_be_is_refused(base, tmp_path, moe, reason):
    with pytest.raises(BadRequest, match=reason):
        train(base(moe), tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('kind = "recovery"\n[[recoveries]]\ntechniques = []', "techniques, steps"),
        (
            'kind = "recovery"\n[[recoveries]]\nsteps = 0\ntechniques = [{ name = "distillation" }]',
            "a whole number of at least 1",
        ),
        ('kind = "recovery"\n[[recoveries]]\nsteps = 2\ntechniques = [{ name = "quantization" }]', "no knob 'recover'"),
        ('kind = "recovery"\n[[recoveries]]\nsteps = 2\ntechniques = []', "needs a technique at the end of its recipe"),
        ('kind = "magic"', "kind must be one of"),
        ('kind = ["base"]', "kind must be one of"),
        ('kind = "base"\nname = "x"', "kind base needs vae"),
        ('kind = "vae"', "kind vae needs model"),
    ],
)
def test_a_wrong_list_is_refused(config, tmp_path, text, reason):
    with pytest.raises(BadRequest, match=reason):
        train(config(text), tmp_path / "out")


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "config.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(BadRequest, match="cannot be read"):
        train(tmp_path / "config.toml", tmp_path / "out")


def test_a_recovery_has_its_own_length(config, tmp_path):
    with pytest.raises(BadRequest, match="Remove --samples"):
        train(config('kind = "recovery"'), tmp_path / "out", samples=100)


def test_an_autoencoder_begins_as_another_where_shapes_agree(base, tiny_model, tmp_path):
    base("")
    shape = {key: tiny_model.vae.config[key] for key in ("block_out_channels", "norm_num_groups", "layers_per_block")}
    model = {**shape, "block_out_channels": list(shape["block_out_channels"]), "latent_channels": 3, "kl_weight": 0}
    file = tmp_path / "vae.toml"
    file.write_text(f"""
        kind = "vae"
        start = "{tmp_path}/weights/tiny/vae"
        model = {{ {", ".join(f"{key} = {value}" for key, value in model.items())} }}
        settings = {{ samples = 4, batch_size = 4, learning_rate = 1e-9 }}
    """)
    trained = AutoencoderKL.from_pretrained(train(file, tmp_path / "out"), low_cpu_mem_usage=False)
    weights, given = trained.state_dict(), tiny_model.vae.state_dict()
    assert weights["decoder.conv_in.weight"].shape[1] == 3
    alike = [name for name in weights if weights[name].shape == given[name].shape]
    assert len(alike) > 0.8 * len(weights)
    for name in alike:
        torch.testing.assert_close(weights[name], given[name], atol=1e-3, rtol=1e-3)


def test_a_base_training_begins_as_another_model_where_shapes_agree(base, tiny_model, tmp_path):
    file = base("experts = 4, top_k = 1")
    quick = file.read_text().replace("batch_size = 4", "batch_size = 4, learning_rate = 1e-9")
    quick = quick.replace("hidden_size = 32", "hidden_size = 64")
    file.write_text(f'start = "tiny"\n{quick}')
    trained, given = load_model(str(train(file, tmp_path / "out"))).dit.state_dict(), tiny_model.dit.state_dict()
    alike = [name for name in given if name in trained and trained[name].shape == given[name].shape]
    assert any("attn" in name for name in alike)
    for name in alike:
        torch.testing.assert_close(trained[name], given[name], atol=1e-3, rtol=1e-3)


def test_a_training_stops_in_time_with_a_checkpoint_and_goes_on(base, tmp_path, capsys):
    command = [
        "train",
        "--config",
        str(base("experts = 4, top_k = 1")),
        "--out",
        str(tmp_path / "out"),
        "--threads",
        "1",
    ]
    assert main([*command, "--within", "1e-9"]) == 0
    assert "Run it again to resume it." in capsys.readouterr().err
    assert (tmp_path / "out" / "checkpoint.pt").is_file()
    assert not (tmp_path / "out" / "model").exists()
    assert main(command) == 0
    assert (tmp_path / "out" / "model").is_dir()
    assert main([*command, "--within", "0"]) == 2
