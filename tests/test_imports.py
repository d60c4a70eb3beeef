"""Imports go one way, and what a page needs loads without torch."""

import subprocess
import sys

import pytest

ROOTS = (
    "dit_core",
    "dit_core.spec",
    "dit_core.store",
    "dit_core.jobs",
    "dit_core.worker",
    "dit_core.techniques",
    "dit_core.models.catalog",
    "dit_core.checks",
    "dit_core.figures",
    "dit_core.verify",
    "dit_core.claims",
)


def loaded_after(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ROOTS)
def test_what_a_page_needs_loads_neither_torch_nor_streamlit(module):
    extra = "; import dit_core.techniques as t; t.registry()" if module == "dit_core.techniques" else ""
    assert not {"torch", "streamlit", "diffusers"} & loaded_after(f"import {module}{extra}")


@pytest.mark.parametrize(
    "module", ["dit_core.experiment", "dit_core.training.run", "dit_core.doctor", "dit_core.search"]
)
def test_the_library_never_loads_streamlit(module):
    assert "streamlit" not in loaded_after(f"import {module}")


def test_the_dashboard_never_loads_torch():
    assert "torch" not in loaded_after("import dit_core.ui.main, dit_core.ui.reads, dit_core.ui.live")
