import importlib

import pytest

import dit_core
from dit_core.system import hardware
from dit_core.system.environment import cpu_name, environment


def test_the_fingerprint_depends_on_what_decides_speed_and_not_on_the_load():
    assert environment("cpu")["fingerprint"] == environment("cpu")["fingerprint"]
    assert environment("cpu", threads=1)["fingerprint"] != environment("cpu", threads=64)["fingerprint"]


def test_the_version_of_this_program_is_recorded_but_not_part_of_the_fingerprint(monkeypatch):
    before = environment("cpu")
    assert before["dit_core"] == dit_core.__version__
    monkeypatch.setattr(importlib.import_module("dit_core.system.environment"), "__version__", "9.9")
    assert environment("cpu")["dit_core"] == "9.9"
    assert environment("cpu")["fingerprint"] == before["fingerprint"]


@pytest.mark.parametrize(
    ("name", "flags", "label"),
    [
        ("Intel(R) Xeon(R) Processor @ 2.50GHz", "avx512f", "Intel(R) Xeon(R) Processor @ 2.50GHz 6-207-2 (avx512f)"),
        (
            "Intel(R) Xeon(R) Processor",
            "avx2 avx512_vnni amx_int8",
            "Intel(R) Xeon(R) Processor 6-207-2 (avx512_vnni, amx)",
        ),
        ("AMD EPYC 9654 96-Core Processor", "avx2", "AMD EPYC 9654 96-Core Processor (avx2)"),
        ("Apple M3", "", "Apple M3"),
    ],
)
def test_processors_of_different_speed_have_different_names(tmp_path, monkeypatch, name, flags, label):
    path = tmp_path / "cpuinfo"
    path.write_text(
        f"model name\t: {name}\ncpu family\t: 6\nmodel\t\t: 207\nstepping\t: 2\nflags\t\t: {flags}\n\nprocessor: 1\n"
    )
    monkeypatch.setattr(hardware, "CPUINFO", path)
    assert cpu_name() == label


def test_a_processor_without_these_fields_keeps_its_name(tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text("model name\t: Virtual Processor\n")
    monkeypatch.setattr(hardware, "CPUINFO", tmp_path / "cpuinfo")
    assert cpu_name() == "Virtual Processor"
