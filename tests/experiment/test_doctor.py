"""The settings that ship with recovered weights."""

import json

from dit_core.experiment.checks import check
from dit_core.experiment.doctor import bundled_settings, examine, report
from dit_core.models import recovered, sources
from dit_core.recipes.registry import registry
from dit_core.records.spec import RunSpec
from dit_core.techniques.quantization import CAPABILITY
from tests.test_imports import loaded_after


def test_every_file_of_recovered_weights_is_a_setting_that_a_run_accepts():
    settings = bundled_settings()
    assert len(settings) == sum(len(recovered.files(name)) for name in sources.bundled_names()) > 0
    for setting in settings:
        assert setting.technique == setting.recipe[-1]["name"]
        assert setting.technique in setting.setting
        assert setting.steps > 0
        assert setting.file_bytes > 0
        last = {**setting.recipe[-1], "recover": recovered.BUNDLED}
        check(RunSpec(model=setting.model, techniques=(*setting.recipe[:-1], last)))


def test_the_report_has_a_line_for_each_setting_below_their_number():
    recovered_weights = [{"model": "emoji", "setting": "depth_pruning:keep=4", "steps": 5000}]
    nothing = {"python": "3", "libraries": {}, "devices": [], "no_fid": None, "models": [], "techniques": {}}
    findings = {**nothing, "default_device": "cpu", "default_precision": "float32"}
    lines = report({**findings, "recovered": recovered_weights}).splitlines()
    assert lines[-2:] == ["bundled recovered weights: 1 setting", "    emoji: depth_pruning:keep=4 (5,000 steps)"]


def test_both_forms_tell_every_knob_and_every_mode_that_a_processor_lacks():
    findings = json.loads(json.dumps(examine()))
    text = report(findings)
    assert [device["id"] for device in findings["devices"]][-1] == "cpu"
    assert findings["default_device"] == "cpu"
    assert {model["name"] for model in findings["models"]} == set(sources.names())
    for name, found in registry().items():
        told = {knob["name"]: knob for knob in findings["techniques"][name]["knobs"]}
        for knob in found.knobs:
            assert told[knob.name]["type"] == knob.kind.__name__
            assert told[knob.name]["default"] == knob.default
            assert told[knob.name]["choices"] == list(knob.choices)
            assert f"{knob.name}: {knob.kind.__name__}" in text
    for mode in CAPABILITY:
        assert (f"mode={mode}" in findings["techniques"]["quantization"]["limits"]["cpu"]) == (mode != "dynamic-int8")
        assert (f"mode={mode}: " in text) == (mode != "dynamic-int8")


def test_the_settings_are_known_without_torch():
    code = "from dit_core.experiment.doctor import bundled_settings; bundled_settings()"
    assert "torch" not in loaded_after(code)
