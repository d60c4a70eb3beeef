"""A sweep over a Ray cluster of two nodes, each with its own object store, processes and libraries."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dit_core.models.sources.folder import save_model
from dit_core.records.spec import RunSpec
from dit_core.records.store import Store
from dit_core.sweeps import cluster, failures, sweep
from tests import fake_run
from tests.workers import REPOSITORY, lives, until

pytestmark = pytest.mark.slow

ray = pytest.importorskip("ray")

SECOND = "second"
VERSION = "0.0.1"  # of torchao on the second node


class Nodes:
    """Two nodes and what the runs on them leave in a file as they start."""

    def __init__(self, folder: Path, own: object) -> None:
        from ray.cluster_utils import Cluster

        self.trace, self.grid, self.own = folder / "trace", folder / "grid.toml", own
        self.cluster = Cluster()
        shared = {"FAKE_RUN_TRACE": str(self.trace), "TEST_NODE_TO_KILL": SECOND, "RAY_worker_niceness": "0"}
        libraries = folder / "libraries" / f"torchao-{VERSION}.dist-info"
        libraries.mkdir(parents=True)
        (libraries / "METADATA").write_text(f"Metadata-Version: 2.1\nName: torchao\nVersion: {VERSION}\n")
        self.environments = {
            "first": {**shared, "TEST_NODE": "first", "PYTHONPATH": str(REPOSITORY)},
            SECOND: {**shared, "TEST_NODE": SECOND, "PYTHONPATH": f"{libraries.parent}{os.pathsep}{REPOSITORY}"},
        }
        self.nodes = {name: self._start(name) for name in self.environments}
        ray.init(address=self.cluster.address, log_to_driver=False)

    def _start(self, name: str) -> object:
        return self.cluster.add_node(num_cpus=1, include_dashboard=False, env_vars=self.environments[name])

    def started(self) -> list[list[str]]:
        """Node, seed and process of every run that started."""
        return [line.split() for line in self.trace.read_text().splitlines()] if self.trace.exists() else []

    def sweep(self, out: Path, seeds: range, *models: str, again: bool = False) -> dict[str, list[str]]:
        """Sweep over these seeds with the bundled model, or with others."""
        self.trace.unlink(missing_ok=True)
        runs = (f'[[runs]]\nmodel = "{model}"\nseed = {list(seeds)}\n' for model in models or ("emoji",))
        self.grid.write_text("".join(runs))
        with cluster.connected(function=fake_run.drawn, limit_s=300.0) as place:
            return sweep(self.grid, out=out, place=place, again=again)

    def kill(self, name: str) -> None:
        self.cluster.remove_node(self.nodes.pop(name), allow_graceful=False)

    def restart(self, name: str) -> None:
        self.nodes[name] = self._start(name)
        self.cluster.wait_for_nodes()


@pytest.fixture(scope="module")
def nodes(tiny_model, tmp_path_factory) -> Iterator[Nodes]:
    folder = tmp_path_factory.mktemp("nodes")
    save_model(tiny_model, folder / "own")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        nodes = Nodes(folder, folder / "own")
        yield nodes
        ray.shutdown()
        nodes.cluster.shutdown()


def records(out: Path) -> list:
    loaded = Store(out).load()
    assert not loaded.skipped
    return [stored.record for stored in loaded.records]


def test_both_nodes_share_a_sweep_and_every_record_is_stored_once_with_its_environment(nodes, tmp_path, capsys):
    models, seeds = ("emoji", str(nodes.own)), range(2)
    done = nodes.sweep(tmp_path, seeds, *models)
    stored = records(tmp_path)
    assert len(done["measured"]) == len(stored) == 4
    assert {(record.spec["model"], record.spec["seed"]) for record in stored} == {
        (model, seed) for model in models for seed in seeds
    }
    assert len({(record.spec["model"], record.environment["weights"]) for record in stored}) == 2
    assert sorted(int(seed) for _, seed, _ in nodes.started()) == [0, 0, 1, 1]

    of_node = {record.environment["node"]: record.environment for record in stored}  # with other libraries
    assert of_node[SECOND]["torchao"] == VERSION != of_node["first"]["torchao"]
    assert {each["fingerprint"] for each in of_node.values()} == cluster.environments([RunSpec()])
    assert f"torchao {VERSION}" in capsys.readouterr().err

    again = nodes.sweep(tmp_path, seeds, *models)
    assert (len(again["known"]), again["measured"], nodes.started()) == (4, [], [])


def test_a_node_that_is_killed_midway_loses_and_duplicates_nothing(nodes, tmp_path):
    killed: list[int] = []
    swept = threading.Event()

    def kill() -> None:
        while SECOND not in [node for node, _, _ in nodes.started()]:
            if swept.wait(0.1):
                return
        killed.extend(int(pid) for node, _, pid in nodes.started() if node == SECOND)
        nodes.kill(SECOND)

    killer = threading.Thread(target=kill)
    killer.start()
    seeds = range(100, 103)
    try:
        done = nodes.sweep(tmp_path, seeds)
    finally:
        swept.set()
    killer.join()
    started = nodes.started()
    try:
        assert [node for node, _, _ in started].count(SECOND) == len(done["failed"]) == 1
        assert len(done["measured"]) == 2
        assert sorted(int(seed) for _, seed, _ in started) == list(seeds)  # nothing ran twice
        assert len(records(tmp_path)) == 2
        (entry,) = failures.read(tmp_path)
        assert entry["run_id"] == done["failed"][0]
        until(lambda: not any(map(lives, killed)))
        again = nodes.sweep(tmp_path, seeds)
        assert (again["measured"], len(again["known"]), again["failed"]) == (done["failed"], 2, [])
        assert sorted(record.spec["seed"] for record in records(tmp_path)) == list(seeds)
    finally:
        nodes.restart(SECOND)


def test_runs_that_no_node_is_left_for_fail_with_the_reason_instead_of_waiting(nodes, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "LOOK_S", 1.0)
    monkeypatch.setattr(cluster, "demand", lambda device, there: (list(there), {"num_gpus": 0, "num_cpus": 64}))
    done = nodes.sweep(tmp_path, range(2), again=True)
    assert len(done["failed"]) == 2
    assert {entry["reason"] for entry in failures.read(tmp_path)} == {cluster.NO_NODE}
    assert nodes.started() == []
