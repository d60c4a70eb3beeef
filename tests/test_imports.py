"""Imports go one way, and what a page needs loads without torch."""

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOTS = (
    "dit_core",
    "dit_core.records.spec",
    "dit_core.records.store",
    "dit_core.jobs.queue",
    "dit_core.jobs.worker",
    "dit_core.recipes.registry",
    "dit_core.models.sources",
    "dit_core.experiment.checks",
    "dit_core.records.schema",
    "dit_core.analysis.verify",
    "dit_core.analysis.claims",
)


def loaded_after(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_what_a_page_needs_loads_neither_torch_nor_streamlit():
    """One process, which stops at the first module that loads them: the error names it."""
    steps = [f"import {module}" for module in ROOTS] + ["dit_core.recipes.registry.registry()"]
    stop = "assert not {'torch', 'streamlit', 'diffusers'} & set(__import__('sys').modules)"
    loaded = loaded_after("\n".join(f"{step}; {stop}, {step!r}" for step in steps))
    assert set(ROOTS) <= loaded


@pytest.mark.parametrize("package", ["dit_core", "dit_core.measure", "dit_core.models", "dit_core.quality"])
def test_no_name_that_a_package_exports_late_is_that_of_a_module_which_would_take_its_place(package):
    loaded = importlib.import_module(package)
    assert not set(loaded.__all__) & {module.name for module in pkgutil.iter_modules(loaded.__path__)}


@pytest.mark.slow
@pytest.mark.parametrize(
    "module", ["dit_core.experiment.run", "dit_core.training.run", "dit_core.experiment.doctor", "dit_core.sweeps"]
)
def test_the_library_never_loads_streamlit(module):
    assert "streamlit" not in loaded_after(f"import {module}")


def test_the_dashboard_never_loads_torch():
    assert "torch" not in loaded_after("import dit_core.ui.main, dit_core.ui.data, dit_core.ui.run_live.job_panel")


@pytest.mark.slow
def test_every_benchmark_can_be_imported():
    names = sorted(path.stem for path in Path(__file__).with_name("benchmarks").glob("[a-z]*.py"))
    assert "paint" in names
    assert "torch" in loaded_after("\n".join(f"import tests.benchmarks.{name}" for name in names))
