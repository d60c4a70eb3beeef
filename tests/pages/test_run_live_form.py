"""Run live, the form: a widget for every knob, links, rejected inputs, and the estimated time."""

from dataclasses import replace

import pytest
from PIL import Image

from dit_core.cli.arguments import parser, spec_of
from dit_core.cli.commands import COMMANDS
from dit_core.jobs.queue import Queue
from dit_core.models.sources.folder import save_model
from dit_core.quality.judgement import INCEPTION_FILES
from dit_core.recipes import registry as techniques
from dit_core.recipes.recipe import canonical
from dit_core.records.spec import RunSpec
from dit_core.sampling.config import AS_PUBLISHED
from dit_core.ui.run_live import form
from tests.pages.conftest import Everything, baseline, plain, put, quantized, run_button, texts


def test_the_form_has_a_widget_with_help_for_every_knob(open_page, everything):
    at = open_page("run_live", technique="everything")
    prefix = "everything_"
    kinds = {"switch": at.toggle, "few": at.slider, "many": at.number_input, "share": at.slider, "word": at.text_input}
    for name, kind in kinds.items():
        widget = kind(key=prefix + name)
        assert widget.value == getattr(Everything(), name)
        assert widget.help == Everything.__dataclass_fields__[name].metadata["help"]
    assert at.get_by_key(prefix + "pick").value == "a"
    assert at.selectbox(key=prefix + "long_pick").value == 2
    assert "Has a knob of every kind (nowhere, 2020)." in texts(at)


def test_knobs_are_read_from_the_link(open_page):
    at = open_page("run_live", technique="quantization", quantization_bits="3", seed="7", classes=["food", "flag"])
    run_button(at).click().run()
    (job,) = Queue().list()
    assert job.spec.techniques[0]["bits"] == 3
    assert (job.spec.seed, job.spec.classes) == (7, ("food", "flag"))


def test_run_queues_the_spec_of_the_form_and_names_the_job_in_the_link(open_page, queue):
    at = open_page("run_live")
    at.slider(key="quantization_bits").set_value(5)
    at.number_input(key="steps").set_value(4)
    run_button(at).click().run()
    assert not at.exception
    (job,) = queue.list()
    assert (job.spec.techniques[0]["bits"], job.spec.steps, job.again) == (5, 4, False)
    assert at.query_params["job"] == str(job.id)


def test_no_technique_is_the_baseline(open_page, queue):
    at = open_page("run_live")
    at.selectbox(key="technique-0-quantization").select("none").run()
    run_button(at).click().run()
    assert queue.list()[0].spec.techniques == ()


def test_the_workload_of_the_bundled_records_is_the_default(open_page, queue):
    put(quantized(8, steps=11, guidance=3.0, samples=500))
    at = open_page("run_live")
    at.slider(key="quantization_bits").set_value(2)
    run_button(at).click().run()
    spec = queue.list()[0].spec
    assert (spec.steps, spec.guidance, spec.samples) == (11, 3.0, 500)


def test_an_impossible_pair_of_knobs_is_one_message_and_cannot_be_run(open_page):
    at = open_page("run_live", technique="moe", moe_experts="2", moe_top_k="4")
    (error,) = at.error
    assert plain(error).startswith("moe: ")
    assert run_button(at).disabled
    assert "These inputs cannot be run" in texts(at)


def widget(at, start: str):
    """The slider, the box or the number of that label."""
    return next(one for kind in (at.slider, at.selectbox, at.number_input) for one in kind if one.label == start)


def test_a_knob_without_effect_is_disabled_with_the_reason_in_its_help(open_page):
    at = open_page("run_live", technique="quantization")
    assert widget(at, "Calibration").disabled
    assert widget(at, "Calibration").help.startswith(
        "This has no effect now. It is used if method is gptq, low_rank or rotated, or if mode is mixed."
    )
    at = open_page("run_live", technique="quantization", quantization_method="gptq")
    assert not widget(at, "Calibration").disabled


@pytest.mark.parametrize(("mode", "bits"), [("dynamic-int8", 8), ("bfloat16", 8), ("int4", 4)])
def test_a_knob_without_a_choice_shows_the_only_possible_value(open_page, mode, bits):
    at = open_page("run_live", quantization_mode=mode, quantization_bits="6", quantization_method="hqq")
    assert (widget(at, "Bits").value, widget(at, "Bits").disabled) == (bits, True)
    assert not any("set bits" in plain(error) or "does not apply" in plain(error) for error in at.error)
    at.selectbox(key="quantization_mode").select("weight-only").run()
    assert not at.slider(key="quantization_bits").disabled


def test_a_knob_without_effect_keeps_its_value_in_the_run_id(open_page, queue):
    recipe = canonical([{"name": "quantization", "bits": 4, "calibration": 64}])
    spec = baseline(techniques=recipe)
    run_button(open_page("run_live", **form.address(spec))).click().run()
    assert queue.list()[0].spec == spec


def test_further_knobs_are_folded_unless_the_link_names_one(open_page):
    def more(**query):
        (found,) = [
            one for one in open_page("run_live", technique="quantization", **query).expander if one.label == "More"
        ]
        return found

    assert {one.label for one in more().selectbox} | {one.label for one in more().number_input} >= {"Calibration"}
    assert "Bits" not in {one.label for one in more().slider}
    assert not more().proto.expanded
    assert more(quantization_method="gptq").proto.expanded


def test_run_and_what_it_will_do_come_before_the_knobs(open_page):
    put(quantized(4))
    at = open_page("run_live", quantization_bits="3")
    every = [type(one).__name__ + str(getattr(one, "key", "")) for one in at.main]
    assert every.index("Buttonrun") < every.index("Sliderquantization_bits")
    assert "Ctrl+Enter" in str(run_button(at).proto.shortcut).title()


def test_knobs_that_do_not_fit_the_model_are_one_message_and_cannot_be_run(open_page):
    at = open_page("run_live", technique="grouped_query_attention", grouped_query_attention_kv_heads="5")
    (error,) = at.error
    assert plain(error).startswith("grouped_query_attention does not fit this network: kv_heads 5 does not divide")
    assert run_button(at).disabled


def test_what_this_device_does_not_support_is_rejected_with_the_reason(open_page, everything):
    at = open_page("run_live", technique="everything", everything_pick="b")
    assert plain(at.error[0]) == "everything cannot run here: it needs a device that this machine lacks."
    assert run_button(at).disabled


@pytest.mark.parametrize(("key", "value"), [("steps", 0), ("batch", -1), ("judged", 10**9)])
def test_a_number_out_of_range_never_reaches_the_queue(open_page, key, value, queue):
    at = open_page("run_live")
    at.number_input(key=key).set_value(value)
    run_button(at).click().run()
    assert not at.exception
    assert all(job.spec == RunSpec(techniques=job.spec.techniques, samples=1000) for job in queue.list())


@pytest.mark.parametrize(
    "spec",
    [
        quantized(3, seed=7, steps=5, guidance=1.5, batch_size=2, classes=("food", "flag"), scheduler="ddim"),
        RunSpec(techniques=canonical([{"name": "quantization", "mode": "dynamic-int8", "group_size": 128}])),
        RunSpec(samples=3),
        RunSpec(samples=500, replicates=3),
    ],
)
def test_a_link_to_a_spec_opens_the_form_with_its_inputs(open_page, queue, spec):
    run_button(open_page("run_live", **form.address(spec))).click().run()
    assert queue.list()[0].spec == spec


def test_knobs_of_every_kind_survive_a_link(open_page, queue, everything):
    knobs = {
        "switch": False,
        "few": 7,
        "many": 9,
        "share": 0.3,
        "word": "some words",
        "pick": "a",
        "long_pick": 6,
        "recover": "none",
    }
    spec = RunSpec(techniques=({"name": "everything", **knobs},), samples=1000)
    run_button(open_page("run_live", **form.address(spec))).click().run()
    assert queue.list()[0].spec == spec


def test_specs_are_equal_however_they_were_made(open_page, queue):
    """The form, the sweep and the command line must hash the same run alike, or known runs would be measured again."""
    run_button(open_page("run_live", quantization_bits="4", judged="1000")).click().run()
    assert queue.list()[0].spec == RunSpec.from_dict(quantized(4).to_dict())


def test_a_knob_with_suggestions_accepts_other_values(open_page, everything):
    recipe = canonical([{"name": "everything", "recover": "500"}])
    put(RunSpec(techniques=recipe, samples=1000))
    at = open_page("run_live", technique="everything")
    assert at.selectbox(key="everything_recover").options == ["none"]
    at = open_page("run_live", technique="everything", everything_recover="500")
    assert "recover 500" in texts(at)
    at = open_page("run_live", technique="everything", everything_recover="some")
    assert "none, bundled or a number of training steps" in plain(at.error[0])


def test_every_registered_technique_has_a_form(open_page):
    for name, found in techniques.registry().items():
        at = open_page("run_live", technique=name)
        keys = {
            widget.key
            for kind in (at.slider, at.selectbox, at.number_input, at.toggle, at.text_input)
            for widget in kind
        }
        keys |= {group.key for group in at.button_group}
        assert {f"{name}_{knob.name}" for knob in found.knobs} <= keys


def test_random_weights_measure_only_cost(open_page, queue):
    put(quantized(8))
    at = open_page("run_live", model="random:DiT-S/2@256")
    assert "Random weights generate no images" in at.info[0].value
    run_button(at).click().run()
    (job,) = queue.list()
    assert (job.spec.model, job.spec.samples, job.spec.classes) == ("random:DiT-S/2@256", 0, ())
    assert at.query_params["model"] == "random:DiT-S/2@256"
    at = open_page("run_live", model="random:DiT-S/2@250")
    assert "a multiple of 16" in plain(at.error[0])


def test_the_time_of_a_run_is_estimated_from_earlier_records(open_page):
    assert not any("takes about" in caption.value for caption in open_page("run_live").caption)
    put(baseline())
    assert "On Test CPU, 2 threads, the run takes about " in texts(open_page("run_live", quantization_bits="4"))


@pytest.mark.parametrize("purpose", AS_PUBLISHED)
def test_a_link_to_sampling_as_published_asks_for_the_run_of_the_command_line(open_page, queue, purpose):
    spec = spec_of(parser("", COMMANDS).parse_args(["run", "--as-published", purpose, "--steps", "100"]))
    assert spec == RunSpec(**{**AS_PUBLISHED[purpose], "steps": 100})  # other options take precedence
    run_button(open_page("run_live", **form.address(spec))).click().run()
    assert queue.list()[0].spec == spec


@pytest.fixture
def own_model(tiny_model, tmp_path, monkeypatch) -> str:
    """A model folder, also in the list of models, because a simulated browser cannot type a name."""
    save_model(tiny_model, tmp_path / "mine")
    monkeypatch.setattr("dit_core.ui.data.models", lambda: ["emoji", str(tmp_path / "mine")])
    return str(tmp_path / "mine")


def test_a_model_that_cannot_be_judged_says_so_before_run_and_runs_without_quality(open_page, queue, own_model):
    at = open_page("run_live", model=own_model)
    assert "has no reference images to judge against: the run measures cost, not quality" in at.info[0].value
    assert at.number_input(key="judged").disabled
    run_button(at).click().run()
    assert queue.list()[0].spec.samples == 0


def test_a_folder_of_images_lets_an_own_model_be_judged(open_page, queue, own_model, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(12):
        Image.new("RGB", (32, 32), (20 * index, 0, 0)).save(folder / f"{index}.png")
    at = open_page("run_live", model=own_model, reference=str(folder))
    assert not at.error
    run_button(at).click().run()
    spec = queue.list()[0].spec
    assert (spec.reference, spec.samples) == (str(folder), 1000)
    assert form.address(spec)["reference"] == str(folder)


def test_a_folder_of_classes_lets_a_technique_of_an_own_model_train(open_page, queue, own_model, tmp_path):
    learned = canonical([{"name": "depth_pruning", "keep": 1, "importance": "learned"}])
    spec = RunSpec(model=own_model, techniques=learned, samples=0)
    at = open_page("run_live", **form.address(spec))
    assert "has no training images" in plain(at.error[0])
    assert run_button(at).disabled
    for label in ("circle", "square", "star"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(tmp_path / "photos" / label / "0.png")
    at = open_page("run_live", **form.address(replace(spec, training_images=str(tmp_path / "photos"))))
    assert not at.error
    run_button(at).click().run()
    assert queue.list()[0].spec.training_images == str(tmp_path / "photos")
    at = open_page("run_live", **form.address(replace(spec, training_images=str(tmp_path / "nowhere"))))
    assert "nowhere" in plain(at.error[0])
    assert run_button(at).disabled


def test_a_bad_reference_is_one_line_next_to_run(open_page, tmp_path):
    at = open_page("run_live", reference=str(tmp_path / "nowhere"))
    assert "is no reference: name a folder of images" in plain(at.error[0])
    assert run_button(at).disabled


def test_the_form_says_how_to_get_fid(open_page, monkeypatch, tmp_path):
    monkeypatch.delenv("DIT_INCEPTION")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert "run `python -m dit_core inception`" in texts(open_page("run_live"))
    path = tmp_path / "hub" / "checkpoints" / INCEPTION_FILES[0]
    path.parent.mkdir(parents=True)
    path.touch()
    assert "FID is computed too" in texts(open_page("run_live"))


def test_an_own_metric_is_chosen_by_its_path_and_is_in_the_link(open_page, queue, tmp_path):
    file = tmp_path / "brightness.py"
    file.write_text('BETTER = "higher"\n\n\ndef metric(images):\n    return 1.0, 0.5, 1.5\n')
    spec = RunSpec(techniques=canonical([{"name": "quantization"}]), metrics=(str(file),), samples=1000)
    at = open_page("run_live", **form.address(spec))
    assert not at.error
    run_button(at).click().run()
    asked = queue.list()[0].spec
    assert asked.metrics == (str(file),)
    assert form.address(asked)["metrics"] == [str(file)]
    file.write_text("def metric(images):\n    return 1.0, 0.5, 1.5\n")
    at = open_page("run_live", **form.address(spec))
    assert "does not say which values are better" in plain(at.error[0])
    assert run_button(at).disabled
