"""Plan a sweep on this machine: runs to measure, and runs that are known, waiting or refused."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from dit_core.errors import BadRequest
from dit_core.experiment import known
from dit_core.experiment.checks import check
from dit_core.experiment.known import is_current
from dit_core.records.spec import RunSpec
from dit_core.records.store import Stored
from dit_core.system import devices


@dataclass(frozen=True)
class Plan:
    """Runs to measure, in order; by run id, known records of this environment and reasons of refused runs."""

    todo: tuple[RunSpec, ...]
    known: dict[str, Stored]
    refused: dict[str, str]
    waiting: frozenset[str]


def plan(specs: Iterable[RunSpec], records: Iterable[Stored], waiting: Collection[str] = ()) -> Plan:
    """Sort runs, each once, into a plan. `waiting` are the ids of runs that a sweep will measure."""
    wanted = {spec.run_id: spec for spec in specs}
    environments = known.local_fingerprints(wanted.values())
    there: dict[str, Stored] = {}
    for one in records:
        record = one.record
        if record.run_id in wanted and record.environment["fingerprint"] in environments and is_current(record):
            there.setdefault(record.run_id, one)
    left = {run_id: spec for run_id, spec in wanted.items() if run_id not in there and run_id not in waiting}
    refused = {run_id: reason for run_id, spec in left.items() if (reason := refusal(spec))}
    todo = tuple(spec for run_id, spec in left.items() if run_id not in refused)
    return Plan(todo, there, refused, frozenset(wanted) & frozenset(waiting))


def refusal(spec: RunSpec) -> str:
    """Return why a run cannot be measured on this machine; empty if it can."""
    try:
        check(spec)
    except BadRequest as error:
        return str(error)
    return devices.missing(spec.device)
