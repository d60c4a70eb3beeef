from pathlib import Path

import pytest

from dit_core.analysis import report
from dit_core.records.spec import RunSpec
from dit_core.records.store import Store
from tests.factory import make_record, make_sheets

README = Path(__file__).parents[2] / "README.md"


def quantized(bits, **fields):
    return RunSpec(techniques=({"name": "quantization", "bits": bits, "group_size": 64},), samples=100, **fields)


def test_the_readme_shows_the_bundled_records_as_they_are():
    for name, content in report.sections(Store().load()).items():
        assert report.section(README.read_text(), name) == content


def test_a_table_names_the_knobs_that_differ_and_no_others():
    text = report.table([make_record(quantized(4)), make_record(quantized(8)), make_record(quantized(4).baseline)])
    lines = text.splitlines()
    assert lines[0].startswith("Test CPU, 2 threads, torch 2.14.1; emoji, 20 steps of dpm++2m")
    recipes = [line.split("|")[1].strip() for line in lines[4:]]
    assert recipes == ["baseline", "quantization bits=4", "quantization bits=8"]
    assert report.table([]) == "No records."


def test_a_run_that_another_run_dominates_is_not_in_the_table():
    good, bad = make_record(quantized(4)), make_record(quantized(8))
    bad.quality["distance"] = good.quality["distance"] + 1
    bad.memory["weight_bytes"] = good.memory["weight_bytes"] + 1
    bad.speedup["ratio"] = good.speedup["ratio"]
    baseline = make_record(quantized(4).baseline)
    assert report.leading([good, bad, baseline]) == [good, baseline]
    assert "2 of 3 runs:" in report.table([good, bad, baseline])


def test_the_table_keeps_to_the_workload_that_most_records_share(tmp_path):
    store = Store(tmp_path)
    for spec, local in (
        (quantized(8), False),
        (quantized(4), False),
        (quantized(4, steps=5), False),
        (quantized(2), True),
    ):
        record = make_record(spec)
        store.put(record, make_sheets(record), local=local)
    bits = [record.spec["techniques"][0]["bits"] for record in report.main_workload(store.load())]
    assert sorted(bits) == [4, 8]


def test_a_readme_keeps_everything_outside_the_markers():
    text = "before\n<!-- records -->\nold\n<!-- end of records -->\nafter\n"
    assert report.with_section(text, "records", "new") == text.replace("old", "new")
    assert report.with_section(text.replace("old\n", ""), "records", "new") == text.replace("old", "new")
    with pytest.raises(ValueError, match="substring"):
        report.section(text, "targets")
