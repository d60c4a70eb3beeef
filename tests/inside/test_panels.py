"""What the page Inside shows is what the techniques do, and stale or damaged files are named."""

import json
import lzma
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dit_core import inside
from dit_core.analysis import verify
from dit_core.cli.commands import main
from dit_core.compression.calibration import calibration
from dit_core.errors import BadRequest
from dit_core.inside import attention, distillation, experts, files, pruning, quantization, scenes
from dit_core.models import recovered
from dit_core.models.attention import FocusedLinearAttention
from dit_core.models.dit import Attention
from dit_core.models.sources.folder import save_model
from dit_core.recipes.context import Context
from dit_core.recipes.recipe import apply_recipe
from dit_core.records.store import Store

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _two_steps(monkeypatch):
    monkeypatch.setattr(scenes, "SAMPLING", replace(scenes.SAMPLING, steps=2))
    monkeypatch.setattr(experts, "STEPS", (1, 2))


@pytest.fixture(scope="module")
def context(tiny_model) -> Context:
    plain = Context(torch.device("cpu"), model=tiny_model)
    return replace(plain, calibration=calibration(tiny_model.dit, plain, 16))


@pytest.fixture
def panel(tmp_path, monkeypatch, tiny_model) -> inside.Panel:
    """Any small panel, with a model folder that it may be computed from."""
    save_model(tiny_model, tmp_path / "model")
    monkeypatch.setenv("DIT_RESULTS", str(tmp_path / "results"))
    return inside.Panel({"share": 0.123456, "counts": [1, 2]}, {"samples": b"RIFF"})


def test_reading_panels_loads_no_torch():
    code = "import dit_core.inside.files, sys; print('torch' in sys.modules, 'streamlit' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.split() == ["False", "False"]


@pytest.mark.parametrize("kind", ["softmax", *(name for name in attention.registry() if "attention" in name)])
def test_values_mixed_by_the_effective_map_are_what_the_attention_gives(tiny_model, context, kind):
    dit = tiny_model.dit if kind == "softmax" else attention.simplified(tiny_model, context)[kind]
    plain: Attention = tiny_model.dit.blocks[1].attn
    x = torch.randn(3, 16, 64, generator=torch.Generator().manual_seed(0))
    module = dit.blocks[1].attn
    weights = attention.effective_map(module, x)
    values = plain.qkv(x).unflatten(-1, (3, plain.num_heads, -1))[:, :, 2].transpose(1, 2)  # (N, nh, T, hs)
    if getattr(module, "kv_heads", plain.num_heads) < plain.num_heads:
        groups = values.unflatten(1, (module.kv_heads, -1))
        values = groups.mean(2, keepdim=True).expand_as(groups).flatten(1, 2)
    if isinstance(module, FocusedLinearAttention):
        assert module.local is None or not module.local.weight.any()
    mixed = plain.proj((weights @ values).transpose(1, 2).flatten(2))
    assert torch.allclose(mixed, module(x), atol=1e-5)
    assert torch.allclose(weights.sum(-1), torch.ones(3, plain.num_heads, 16), atol=1e-4)


def test_softmax_keeps_all_of_itself_and_a_uniform_map_less(tiny_model, context):
    swapped = {"softmax": tiny_model.dit, "same": tiny_model.dit, **attention.simplified(tiny_model, context)}
    found = attention.kept(tiny_model.dit, swapped, context.calibration)
    assert found["same"] == pytest.approx([1.0, 1.0], abs=1e-5)
    assert all(0 < share < 1 for share in found["window_attention"])


def test_more_bits_err_less_and_gptq_spares_the_output(tiny_model, context, monkeypatch):
    monkeypatch.setattr(quantization, "BITS", range(2, 5))
    monkeypatch.setattr(quantization, "METHODS", {"nearest": range(2, 5), "gptq": range(2, 5)})
    data = quantization.panel(tiny_model, context).data
    for by_method in (*data["errors"]["weights"].values(), *data["errors"]["outputs"].values()):
        assert all(of[2] > of[3] > of[4] > 0 for of in by_method.values())
    outputs = data["errors"]["outputs"]
    assert sum(of[2] for of in outputs["gptq"].values()) < sum(of[2] for of in outputs["nearest"].values())
    drawn = data["layers"]["blocks.1.attn.qkv"]
    assert sum(drawn["before"]) == sum(drawn["after"]["nearest"][2]) == 3 * 64 * 64
    assert len(set(drawn["group_after"]["nearest"][2])) <= 4 < len(set(drawn["group"]))


def test_zeros_are_where_pruning_put_them(tiny_model, context):
    data = pruning.panel(tiny_model, context).data
    for layer in data["zeros"]["layer 0.7"].values():
        assert layer["zeros"] == pytest.approx(0.7, abs=1e-3)
    spread = [layer["zeros"] for layer in data["zeros"]["global 0.7"].values()]
    assert min(spread) < 0.7 < max(spread)
    for name, layer in data["zeros"]["2:4"].items():
        assert layer["zeros"] == pytest.approx(0.5)
        assert data["zeros"]["layer 0.5"][name]["lost"] < layer["lost"] < 0.5
    assert all(curve[0] == 0 and curve[-1] == pytest.approx(1) for curve in data["units"]["neurons"])
    assert all(curve[10] > 0.5 for curve in data["units"]["neurons"])  # the strongest half holds more than half
    assert data["blocks"]["kept"]["influence"] == [data["blocks"]["influence"].index(max(data["blocks"]["influence"]))]


def test_each_token_has_an_expert_and_the_counts_are_of_all_tokens(tiny_model, context):
    panel = experts.panel(tiny_model, context)
    (run,) = panel.data["runs"]
    assert [len(part) for part in (run["chosen"], run["chosen"][0], run["chosen"][0][0])] == [2, 2, 4]
    assert all(0 <= expert < 8 for step in run["chosen"] for layer in step for image in layer for expert in image)
    for layer in run["tokens"]:
        assert sum(map(sum, layer)) == 16 * 16 * run["knobs"]["top_k"]
    assert panel.recovered


def test_the_expert_of_a_token_is_one_that_it_runs(tiny_model, context):
    network = apply_recipe(tiny_model.dit, [{"name": "moe", "top_k": 1, "experts": 4}], context)
    one = tuple(part[:1] for part in context.calibration)
    counted = experts.routed(network, one, 1000)
    (best,) = experts.chosen(network, one)[0]
    tokens = [sum(bucket[expert] for bucket in counted["tokens"][0]) for expert in range(4)]
    assert tokens == [best.count(expert) for expert in range(4)]


def test_a_student_that_is_its_teacher_is_alike_and_one_without_blocks_is_not(tiny_model, context):
    teacher, output = distillation.features(tiny_model.dit, context.calibration)
    turned = teacher[0] @ torch.linalg.qr(torch.randn(64, 64, generator=torch.Generator().manual_seed(0))).Q
    assert distillation.similarity(teacher[0], 3 * turned) == pytest.approx(1, abs=1e-4)
    noise = torch.randn(teacher[0].shape, generator=torch.Generator().manual_seed(0))
    assert distillation.similarity(teacher[0], noise) < 0.6
    assert output.shape == (16, 4, 8, 8)
    (cut,) = distillation.panel(tiny_model, context).data["students"]
    assert not cut["recovered"]
    assert len(cut["similarity"]) == 1
    assert cut["error"] > 0


def test_scenes_are_watched_where_they_pass(tiny_model):
    seen = scenes.scenes(tiny_model, 0, (1, 2))
    assert seen.timesteps[0] > seen.timesteps[1]
    assert seen.estimates.shape == (2, 4, 3, 32, 32)
    assert torch.equal(seen.final, scenes.drawn(tiny_model, 0))
    expected = torch.tensor(scenes.labels_of(tiny_model))
    assert all(torch.equal(y, expected) for _, _, y in seen.inputs)


def test_a_panel_comes_back_rounded_with_its_pictures(panel, tmp_path):
    size = files.write(files.folder(), "pruning", str(tmp_path / "model"), panel)
    content = files.read("pruning")
    assert content["data"] == {"share": 0.1235, "counts": [1, 2]}
    assert files.picture(content, "samples") == b"RIFF"
    assert size == sum(path.stat().st_size for path in files.folder().iterdir())
    assert list(files.check(files.folder())) == []


def test_panels_that_cannot_be_shown_say_which_command_to_run(panel, tmp_path):
    with pytest.raises(BadRequest, match=r"not been computed yet: run python -m dit_core inside"):
        files.read("pruning")
    files.write(files.folder(), "pruning", str(tmp_path / "model"), panel)
    path, config = files.folder() / "pruning.json", tmp_path / "model" / "config.json"
    whole = path.read_text()
    changed = json.loads(config.read_text())
    config.write_text(json.dumps({**changed, "files": {"dit.safetensors": "0"}}))
    with pytest.raises(BadRequest, match=r"other weights than .* has now: run python -m dit_core inside"):
        files.read("pruning")
    config.write_text(json.dumps(changed))
    path.write_text(whole.replace("0.1235", "NaN"))
    with pytest.raises(BadRequest, match="NaN is no number"):
        files.read("pruning")
    for change, says in (({"model": None}, "there is no model"), ({"pictures": {"samples": []}}, "name its sheets")):
        path.write_text(json.dumps({**json.loads(whole), **change}))
        with pytest.raises(BadRequest, match=says):
            files.read("pruning")
        assert [says in reason for _, reason in files.check(files.folder())][:1] == [True]


def test_verify_finds_what_is_wrong_with_panels(panel, tmp_path, capsys, monkeypatch):
    folder = files.folder()
    files.write(folder, "pruning", str(tmp_path / "model"), panel)
    files.write(folder, "experts", str(tmp_path / "model"), replace(panel, recovered=True))
    assert verify.check(Store()) == []
    (folder / "pruning-samples.webp").write_bytes(b"other")
    (folder / "old.webp").write_bytes(b"RIFF")
    (tmp_path / "moe-0123.safetensors.xz").write_bytes(lzma.compress(b"weights"))
    monkeypatch.setattr(recovered, "files", lambda model: {"moe-0123": tmp_path / "moe-0123.safetensors.xz"})
    assert main(["verify"]) == 1
    told = capsys.readouterr().out
    assert "inside/pruning.json: its sheet pruning-samples.webp is missing or was damaged" in told
    assert "inside/old.webp: no panel names this sheet" in told
    assert "inside/experts.json: other recovered weights are bundled now: run python -m dit_core inside" in told


def test_a_number_that_is_not_finite_is_not_written(panel, tmp_path):
    with pytest.raises(ValueError, match="not finite"):
        files.write(tmp_path, "pruning", str(tmp_path / "model"), inside.Panel({"error": float("nan")}))
    assert not (tmp_path / "pruning.json").exists()


def test_a_model_with_random_weights_is_refused_before_it_is_loaded(capsys):
    assert main(["inside", "--model", "random:DiT-S/2@256"]) == 2
    assert "has random weights" in capsys.readouterr().err


def test_the_bundled_panels_are_those_of_the_bundled_weights():
    folder = Path(__file__).resolve().parents[2] / "cached_results" / files.FOLDER
    assert list(files.check(folder)) == []
    assert {path.stem for path in folder.glob("*.json")} == set(files.PANELS)
    assert sum(path.stat().st_size for path in folder.iterdir()) < 2_000_000
