"""A sweep on Ray: one writer, nothing run twice, and threads as a run needs them."""

import re
import sys

import pytest

from dit_core.errors import BadRequest
from dit_core.measure import environment
from dit_core.records.spec import RunSpec
from dit_core.records.store import Store
from dit_core.sweeps import cluster, failures, sweep
from dit_core.sweeps.grid_sweep import Place
from dit_core.system.hardware import usable_cores
from tests import fake_run

pytestmark = pytest.mark.slow

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    """A Ray of one processor, started once since that takes long; the file in which runs leave a line as they start."""
    path = tmp_path_factory.mktemp("ray") / "trace"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAKE_RUN_TRACE", str(path))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")  # as a sweep sets it: at 15 a busy machine starves the runs
        ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
        yield path
        ray.shutdown()


@pytest.fixture
def swept(trace, tmp_path):
    """Sweep over runs of the fake models on that Ray; returns what it did."""

    def sweep_of(*models, function=fake_run.run, limit_s=300.0):
        trace.unlink(missing_ok=True)
        grid = tmp_path / "grid.toml"
        grid.write_text("".join(f'[[runs]]\nmodel = "{model}"\n' for model in models))
        with cluster.connected(function=function, limit_s=limit_s) as place:
            place = Place(lambda specs: {"test-machine"}, place.run)
            return sweep(grid, out=tmp_path / "out", place=place)

    return sweep_of


def test_a_run_on_a_node_lands_in_the_store_with_its_sheets_and_is_known(swept, tmp_path):
    assert swept("emoji") == {"measured": [RunSpec().run_id], "known": [], "failed": []}
    store = Store(tmp_path / "out")
    stored = store.get(RunSpec().run_id)
    assert stored
    assert store.sheet(stored, "candidate")
    assert store.sheet(stored, "baseline")
    assert stored.record.environment["omp_num_threads"] == str(usable_cores())  # and not the one thread of Ray
    assert swept("emoji")["known"] == [RunSpec().run_id]


def test_runs_that_are_killed_or_fail_are_recorded_once_not_run_again_and_alone_in_their_process(
    swept, trace, tmp_path
):
    reasons = {"killed": "The system ended it", "orphaned": "WorkerCrashedError", "refused": "keep must be"}
    done = swept(*reasons, "emoji")
    assert len(done["measured"]) == 1
    assert sorted(done["failed"]) == sorted(RunSpec(model=model).run_id for model in reasons)
    reason_of = {entry["run_id"]: entry["reason"] for entry in failures.read(tmp_path / "out")}
    assert len(reason_of) == len(reasons)
    assert all(reason in reason_of[RunSpec(model=model).run_id] for model, reason in reasons.items())
    processes = trace.read_text().split()  # of Ray, which started the two that leave a line
    assert len(processes) == len(set(processes)) == 2


def test_an_error_within_a_task_is_a_reason_of_one_line(swept, tmp_path):
    assert swept("emoji", limit_s="no number")["failed"] == [RunSpec().run_id]
    (entry,) = failures.read(tmp_path / "out")
    assert entry["reason"].startswith("TypeError: ")


def test_the_nodes_tell_the_fingerprint_of_their_records(trace):
    assert cluster.environments([RunSpec()]) == {environment("cpu")["fingerprint"]}


def test_a_node_that_gives_no_answer_is_named_and_left_out(trace, monkeypatch, capsys):
    monkeypatch.setattr(cluster, "environment_there", fake_run.failing_environment)
    assert cluster.environments([RunSpec()]) == set()
    assert re.fullmatch(r"Node \w+ \(cpu\) gives no answer: KeyError: 'cpu'\n", capsys.readouterr().err)


def test_a_task_has_the_processors_of_a_node_or_one_gpu_with_its_share():
    nodes = {"small": {"CPU": 4.0}, "large": {"CPU": 16.0}, "gpus": {"CPU": 16.0, "GPU": 4.0}}
    assert cluster.demand("cpu", nodes) == (["large", "gpus"], {"num_gpus": 0, "num_cpus": 16})
    assert cluster.demand("cuda", nodes) == (["gpus"], {"num_gpus": 1, "num_cpus": 4})


def test_a_gpu_that_no_node_has_is_refused_instead_of_waited_for():
    with pytest.raises(BadRequest, match="has a GPU"):
        cluster.demand("cuda", {"one": {"CPU": 4.0}})


def test_without_ray_the_request_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BadRequest, match=r"requirements-cluster\.txt"), cluster.connected():
        raise AssertionError("unreachable")
