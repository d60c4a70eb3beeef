"""What a sweep on this machine comes to: what is known here, what waits already, what is refused, and what is left."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from dit_core.checks import check
from dit_core.errors import BadRequest
from dit_core.search import known
from dit_core.spec import RunSpec
from dit_core.store import Stored, is_current


@dataclass(frozen=True)
class Plan:
    """Runs to measure, in order, and by run id the others: records of this environment, and why some are refused."""

    todo: tuple[RunSpec, ...]
    known: dict[str, Stored]
    refused: dict[str, str]
    waiting: frozenset[str]


def plan(specs: Iterable[RunSpec], records: Iterable[Stored], waiting: Collection[str] = ()) -> Plan:
    """Sort runs, each once, by what is to be done with them; `waiting` are the ids of those that a sweep will make."""
    wanted = {spec.run_id: spec for spec in specs}
    environments = known.here(wanted.values())
    there: dict[str, Stored] = {}
    for one in records:
        record = one.record
        if record.run_id in wanted and record.environment["fingerprint"] in environments and is_current(record):
            there.setdefault(record.run_id, one)
    left = {run_id: spec for run_id, spec in wanted.items() if run_id not in there and run_id not in waiting}
    refused = {run_id: reason for run_id, spec in left.items() if (reason := _refusal(spec))}
    todo = tuple(spec for run_id, spec in left.items() if run_id not in refused)
    return Plan(todo, there, refused, frozenset(wanted) & frozenset(waiting))


def _refusal(spec: RunSpec) -> str:
    """Why a run cannot be measured on this machine; empty where it can."""
    try:
        check(spec)
    except BadRequest as error:
        return str(error)
    return "" if known.fingerprint(spec.device) else f"This machine has no {spec.device.upper()} device."
