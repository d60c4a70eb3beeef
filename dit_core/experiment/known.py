"""Which runs need not be measured: those with a record from this environment and the present weights."""

from collections.abc import Collection, Iterable
from functools import cache
from typing import Any

from dit_core.errors import BadRequest
from dit_core.experiment import own_metrics
from dit_core.experiment.checks import training_digest
from dit_core.quality.judgement import reference_digest
from dit_core.recipes.recipe import Recipe
from dit_core.records.record import RunRecord
from dit_core.records.spec import RunSpec
from dit_core.records.store import Store
from dit_core.system import isolation
from dit_core.system.environment import environment

_LIMIT_S = 300.0  # to import torch and ask the driver


def is_current(record: RunRecord) -> bool:
    """Return whether a record has the weights that its recipe loads now, and the present images of a person.

    True if they are unknown.
    """
    digest = record.environment.get("weights")
    reference, images = record.spec.get("reference"), record.quality.get("reference_digest")
    try:
        if reference and images and reference_digest(reference) != images:
            return False
        trained = record.environment.get("training_images")
        if trained and training_digest(RunSpec.from_dict(record.spec)) != trained:
            return False
        recipe = Recipe.parse(record.spec["techniques"])
        return digest is None or recipe.weights_digest(record.spec["model"]) in (None, digest)
    except BadRequest:  # this machine does not have the model, the images or a technique
        return True


def current_record(store: Store, spec: RunSpec, environments: Collection[str]) -> RunRecord | None:
    """Return the newest record of a run from one of these environments (fingerprints); None if it must be measured.

    A bundled record of another machine does not count, nor does one of this machine with other libraries.
    """
    stored = store.get(spec.run_id, environments)
    if stored is None or not is_current(stored.record) or own_metrics.have_changed(stored.record):
        return None
    return stored.record


def current_record_id(spec: RunSpec) -> str | None:
    """Return the id of a run that has a current record from this machine; None if it must be measured."""
    try:
        record = current_record(Store(), spec, local_fingerprints([spec]))
    except OSError:
        return None
    return record.run_id if record else None


def local_fingerprints(specs: Iterable[RunSpec]) -> set[str]:
    """Return the fingerprints of the environments in which this machine would measure these runs."""
    return set(filter(None, map(fingerprint, {spec.device for spec in specs})))


def fingerprint(device: str) -> str | None:
    """Return the fingerprint of this machine's environment with a device; None if it has no such device."""
    local = local_environment(device)
    return local["fingerprint"] if local else None


@cache
def local_environment(device: str) -> dict[str, Any] | None:
    """Return the environment that this machine writes into records of a device; None if it has no such device.

    A GPU is queried in another process, because the memory that CUDA allocates would stay while runs are measured.
    """
    if device == "cpu":
        return environment(device)
    try:
        return isolation.run(environment, device, method="spawn", limit_s=_LIMIT_S)
    except (isolation.Failed, OSError):
        return None
