import importlib

import dit_core
from dit_core.system.environment import environment


def test_the_fingerprint_depends_on_what_decides_speed_and_not_on_the_load():
    assert environment("cpu")["fingerprint"] == environment("cpu")["fingerprint"]
    assert environment("cpu", threads=1)["fingerprint"] != environment("cpu", threads=64)["fingerprint"]


def test_the_version_of_this_program_is_recorded_but_not_part_of_the_fingerprint(monkeypatch):
    before = environment("cpu")
    assert before["dit_core"] == dit_core.__version__
    monkeypatch.setattr(importlib.import_module("dit_core.system.environment"), "__version__", "9.9")
    assert environment("cpu")["dit_core"] == "9.9"
    assert environment("cpu")["fingerprint"] == before["fingerprint"]
