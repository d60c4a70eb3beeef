"""What a record says about compilation, from processes of their own."""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dit_core.measure import add_compilation
from dit_core.records.explanation import COMPILATION, compilation_cost
from dit_core.records.schema import OPTIONAL
from dit_core.records.spec import RunSpec
from dit_core.system.compiler import CACHES
from tests.fake_workload import Failing

COMPILED = nn.Linear(1, 1)
COMPILED.compile()


@dataclass(frozen=True)
class Noting:
    """Writes down the cache folders of its process, and whether its calls are compiled."""

    note: Path
    spec: RunSpec = field(default_factory=RunSpec)

    def load_candidate(self):
        def called() -> None:
            self._write("compiled" if torch._dynamo.eval_frame._stance.stance == "default" else "plain")

        self._write(" ".join(os.environ[variable] for variable in CACHES))
        return called

    def _write(self, line: str) -> None:
        with self.note.open("a") as file:
            file.write(f"{line}\n")


def measured(workload: Any, network: nn.Module) -> dict[str, Any]:
    latency: dict[str, Any] = {}
    add_compilation(latency, workload, network)
    return latency


def test_a_network_that_is_not_compiled_has_nothing_to_say(tmp_path):
    latency = measured(Noting(tmp_path / "note"), nn.Linear(1, 1))
    assert latency == {"compilation": None, "reasons": {"compilation": "the network is not compiled"}}
    assert not (tmp_path / "note").exists()


@pytest.mark.slow
def test_it_is_compiled_in_two_processes_that_share_an_empty_cache(tmp_path):
    latency = measured(Noting(tmp_path / "note"), COMPILED)
    assert set(latency) == {"compilation"}
    assert set(latency["compilation"]) == set(COMPILATION)
    assert OPTIONAL["latency"]["compilation"].accepts(latency["compilation"])
    lines = (tmp_path / "note").read_text().splitlines()
    folders = [line for line in lines if line not in ("compiled", "plain")]
    assert len(folders) == 2
    assert folders[0] == folders[1]
    assert not Path(folders[0].split()[0]).exists()  # removed afterwards
    assert lines[1] == "compiled"  # the call whose time is that of compiling
    assert {"compiled", "plain"} <= set(lines)


@pytest.mark.slow
def test_a_process_that_fails_leaves_null_and_a_reason():
    latency = measured(Failing("raise"), COMPILED)
    assert latency["compilation"] is None
    assert "failed: ValueError: wrong" in latency["reasons"]["compilation"]


COST = {"cold_s": 20.0, "warm_s": 2.0, "uncompiled_latency_s": 0.2, "compiled_latency_s": 0.16}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "20.0 s, and 2.0 s in a process .* 1.25 times as long .* after 4,000 images, or after 400 with"),
        ({"compiled_latency_s": 0.21}, "no faster for it, so compilation does not pay for itself"),
    ],
)
def test_the_cost_is_put_in_words(changes, says):
    assert re.search(says, compilation_cost({"batch_size": 8, "compilation": {**COST, **changes}}))


def test_a_record_without_these_times_says_nothing():
    assert compilation_cost({"batch_size": 8, "compilation": None}) == compilation_cost({"batch_size": 8}) == ""
