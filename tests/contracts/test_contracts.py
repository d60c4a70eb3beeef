"""What must survive every redesign: run ids, records, recovered weights, links of the dashboard and exported models.

`contracts.json` and `exports/` were written by version 0.1.0 of the program. They are never written again: a test that
fails here means that somebody's link, record or model can no longer be read.
"""

import hashlib
import json
from pathlib import Path

import pytest
import torch

from dit_core.jobs.queue import Queue
from dit_core.models import recovered, sources
from dit_core.models.sources import load_model
from dit_core.recipes.recipe import canonical
from dit_core.records.spec import RunSpec
from dit_core.records.store import Store
from tests.app_pages import AppTest
from tests.workers import start_no_worker

ROOT = Path(__file__).resolve().parents[2]
MAIN = ROOT / "dit_core" / "ui" / "main.py"
FOLDER = Path(__file__).parent
CONTRACTS = json.loads((FOLDER / "contracts.json").read_text())
STILL_BUNDLED = 12  # of the recovered weights, at least


def spec_of(case: dict) -> RunSpec:
    """The spec of a case, made as the command line makes it: from the canonical form of its recipe."""
    return RunSpec.from_dict({**case["workload"], "techniques": canonical(case["recipe"])})


@pytest.mark.parametrize("case", CONTRACTS["runs"], ids=lambda case: case["why"])
def test_a_run_keeps_its_id_canonical_form_and_command(case):
    spec = spec_of(case)
    assert list(spec.techniques) == case["canonical"]
    assert spec.run_id == case["run_id"]
    assert spec.command() == case["command"]
    assert RunSpec.from_dict(json.loads(spec.to_json())).run_id == case["run_id"]


@pytest.mark.parametrize("case", CONTRACTS["records"], ids=lambda case: case["label"])
def test_a_bundled_record_is_found_by_its_run_id_with_the_same_figures_and_pictures(case):
    store = Store(ROOT / "cached_results")
    stored = store.get(case["run_id"])
    assert stored is not None
    record = stored.record
    assert (record.run_id, record.created_at) == (case["run_id"], case["created_at"])
    assert RunSpec.from_dict(record.spec).label() == case["label"]
    assert record.quality["distance"] == case["distance"]
    assert record.latency["latency_s"] == case["latency_s"]
    for which, digest in case["sheets"].items():
        assert hashlib.sha256(store.sheet(stored, which)).hexdigest() == digest


@pytest.mark.parametrize("case", CONTRACTS["recovered"], ids=lambda case: f"{case['model']}-{case['key']}")
def test_recovered_weights_keep_their_key(case):
    assert recovered.key(case["recipe"]) == case["key"]


def test_recovered_weights_that_are_still_bundled_have_the_same_content():
    cases = [case for case in CONTRACTS["recovered"] if recovered.path(case["model"], case["recipe"]).is_file()]
    assert len(cases) >= STILL_BUNDLED
    for case in cases:
        assert recovered.weights_digest(case["model"], case["recipe"]) == case["digest"]


@pytest.fixture
def open_link(tmp_path, monkeypatch):
    """`open_link("run_live", query)`: the page that a browser gets at this address, with the bundled records."""
    monkeypatch.setenv("DIT_QUEUE", str(tmp_path / "queue"))
    start_no_worker(monkeypatch)

    def open_it(page: str, query: dict[str, str | list[str]]) -> AppTest:
        at = AppTest.from_file(str(MAIN), default_timeout=60)
        at.switch_page(f"../../pages/{page}.py")
        for name, value in query.items():
            at.query_params[name] = value
        at.run()
        assert not at.exception
        return at

    return open_it


@pytest.mark.parametrize("case", CONTRACTS["links"], ids=lambda case: case["why"])
def test_a_link_to_run_live_fills_in_the_form_and_runs_the_same_run(open_link, case, tmp_path, monkeypatch):
    monkeypatch.setenv("DIT_RESULTS", str(tmp_path / "results"))  # without records every run is offered
    at = open_link("run_live", case["query"])
    at.button(key="run").click().run()
    (job,) = Queue().list()
    assert job.spec.run_id == case["run_id"]


def selected(at: AppTest, key: str):
    """The value of the widget with this key, whatever its kind."""
    for kind in (at.selectbox, at.segmented_control, at.multiselect, at.toggle, at.slider):
        for widget in kind:
            if widget.key == key:
                return widget.value
    raise KeyError(key)


@pytest.mark.parametrize("axis", ["quality", "time", "memory"])
def test_a_link_to_the_fronts_opens_the_axis_that_it_names(open_link, axis):
    place = {"machine": CONTRACTS["titles"]["machine"], "of": CONTRACTS["titles"]["workload"]}
    at = open_link("pareto", place)
    offered = next(
        widget.options for kind in (at.selectbox, at.segmented_control) for widget in kind if widget.key == axis
    )
    assert offered == CONTRACTS["titles"][axis]
    last = CONTRACTS["titles"][axis][-1]
    assert selected(open_link("pareto", {**place, axis: last}), axis) in (last, [last])


def test_a_link_to_a_comparison_shows_these_runs(open_link):
    runs = [case["run_id"] for case in CONTRACTS["records"] if case["sheets"] and case["distance"]][:3]
    at = open_link("compare", {"runs": runs})
    assert not at.warning
    assert len(at.query_params["runs"]) == len(runs)


def test_a_link_to_a_point_of_the_fronts_opens_its_run(open_link):
    case = next(case for case in CONTRACTS["records"] if "baseline" not in case["label"] and case["distance"])
    at = open_link("pareto", {"run": case["run_id"]})
    assert at.query_params["run"] in (case["run_id"], [case["run_id"]])
    assert not at.warning


@pytest.mark.parametrize("panel", ["Quantization", "Pruning", "Attention", "Experts", "Distillation"])
def test_a_link_to_a_panel_of_the_page_inside_opens_it(open_link, panel):
    assert selected(open_link("inside", {"panel": panel}), "panel") in (panel, [panel])


def test_a_link_to_the_costs_over_tokens_opens_the_cost_that_it_names(open_link):
    assert selected(open_link("scale", {"cost": "Operations"}), "cost") in ("Operations", ["Operations"])


@pytest.mark.parametrize("kind", CONTRACTS["exports"])
def test_an_exported_model_of_each_kind_loads_and_computes_the_same(kind, monkeypatch):
    monkeypatch.chdir(ROOT)  # the folders share the autoencoder of `plain`, which they name by its path
    case, folder = CONTRACTS["exports"][kind], FOLDER.relative_to(ROOT) / "exports" / kind
    model = load_model(str(folder))
    assert {type(module).__name__ for module in model.dit.modules()} >= set(case["classes"])
    x = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(9))
    scale = {"guidance": torch.full((3,), 2.0)} if kind == "guided" else {}
    with torch.inference_mode():
        output = model.dit(x, torch.tensor([100, 500, 900]), torch.tensor([0, 1, 3]), **scale).float().flatten()
    step = max(1, output.numel() // 24)
    rounding = 2e-2 if kind in ("int8", "float16") else 1e-3  # integer and half precision products differ by processor
    torch.testing.assert_close(output[::step], torch.tensor(case["output"]), atol=rounding, rtol=rounding)


@pytest.mark.parametrize("kind", [kind for kind in CONTRACTS["exports"] if kind != "plain"])
def test_an_exported_model_says_without_torch_what_its_blocks_are(kind, monkeypatch):
    monkeypatch.chdir(ROOT)
    case, folder = CONTRACTS["exports"][kind], FOLDER.relative_to(ROOT) / "exports" / kind
    structure = sources.find(str(folder)).structure.to_dict()
    assert json.loads(json.dumps(structure)) == case["outline"]


def test_an_exported_model_samples_as_its_recipe_did():
    config = json.loads((FOLDER / "exports" / "guided" / "config.json").read_text())
    assert sources.find(str(FOLDER / "exports" / "guided")).sampler == ("ddim", 4)
    assert config["recipe"] == [{"name": "guidance_distillation", "recover": "none"}]
