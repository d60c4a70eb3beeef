"""A store of made records, to look at full pages and to time them: `python -m tests.benchmarks.made FOLDER COUNT`.

Recipes are drawn from all registered techniques, alone and stacked. Their figures are made up, which the name of their
machine says; their pictures are borrowed from the bundled records, so that they have a real size. The bundled panels of
the page Inside and the records behind the page Scale are copied as they are.
"""

import random
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from dit_core.errors import BadRequest
from dit_core.inside import files
from dit_core.models import sources
from dit_core.recipes.knobs import Knob
from dit_core.recipes.recipe import canonical
from dit_core.recipes.registry import Technique, registry
from dit_core.records.places import BUNDLED
from dit_core.records.record import RunRecord
from dit_core.records.spec import RunSpec
from dit_core.records.store import SHEETS, Store
from tests.factory import make_record, make_sheets

WORKLOAD: dict[str, Any] = {"steps": 12, "guidance": 3.0, "samples": 1000}
OTHERS = 0.1  # part of the records that have another workload
FAR = 4  # recipes are drawn again this often where no new one turns up


def fill(folder: Path, count: int, seed: int = 0) -> None:
    """Write `count` records of different runs, the baseline among them; fewer where there are no more recipes."""
    draw, seen, store = random.Random(seed), set[str](), Store(folder)
    specs = [RunSpec(**WORKLOAD)]
    for _ in range(FAR * count):
        if len(specs) >= count:
            break
        spec = RunSpec(techniques=recipe(draw), **_workload(draw))
        if spec.run_id not in seen:
            seen.add(spec.run_id)
            specs.append(spec)
    pictures = borrowed()
    for spec in specs:
        sheets, samples = draw.choice(pictures) if spec.techniques else pictures[0]
        store.put(replace(made(spec), samples=samples), sheets, local=spec.run_id[0] in "01")
    bundle(folder)


def bundle(folder: Path) -> None:
    """Copy what the pages Inside and Scale show: the bundled panels, and the records of networks of random weights."""
    shutil.copytree(BUNDLED / files.FOLDER, folder / files.FOLDER, dirs_exist_ok=True)
    for one in Store(BUNDLED).load().records:
        if one.origin == "bundled" and sources.is_cost_only(one.record.spec["model"]):
            shutil.copy(one.path, folder)


def borrowed() -> list[tuple[dict[str, bytes], dict[str, Any]]]:
    """Sheets of the bundled records with the section that describes them, the baseline's first."""
    store = Store(BUNDLED)
    found = []
    for one in sorted(store.load().records, key=lambda one: len(one.record.spec["techniques"])):
        sheets = {which: store.sheet(one, which) for which in SHEETS}
        if one.origin == "bundled" and all(sheets.values()):
            found.append((sheets, one.record.samples))
    return found or [(make_sheets(), make_record().samples)]


def recipe(draw: random.Random) -> tuple[dict[str, Any], ...]:
    """One technique, sometimes two of different families, with knobs drawn from their limits."""
    known = list(registry().values())
    while True:
        first = draw.choice(known)
        others = [found for found in known if found.family != first.family]
        stacked = [first, draw.choice(others)] if others and draw.random() < 0.25 else [first]
        try:
            return canonical([{"name": found.name, **_knobs(found, draw)} for found in stacked])
        except BadRequest:
            continue  # an impossible pair of knobs


def made(spec: RunSpec) -> RunRecord:
    """A record whose figures trade speed, bytes and quality against each other as real ones do."""
    draw = random.Random(spec.run_id)
    strength = draw.random() * len(spec.techniques)
    ratio = 1 + strength * draw.uniform(-0.1, 0.9) if spec.techniques else None
    base_s, base_bytes, base_distance = 0.77, 22_000_000, 1058.0
    latency = base_s / (ratio or 1)
    small = int(base_bytes * (1 - 0.6 * strength * draw.random()) if strength <= 1 else base_bytes * 0.3)
    distance = base_distance * (1 + strength**2 * draw.random())
    hour = 1 + int(spec.run_id[:3], 16) % 23
    return make_record(
        spec,
        environment={"cpu": "Made-up CPU, not a measurement"},
        latency={
            "latency_s": latency,
            "raw_s": [latency * draw.gauss(1, 0.02) for _ in range(30)],
            "calls": 30,
            "throughput_images_per_s": spec.batch_size / latency,
        },
        memory={
            "weight_bytes": small,
            "baseline_weight_bytes": base_bytes,
            "peak_memory_bytes": 38_000_000 + small,
            "baseline_peak_memory_bytes": 38_000_000 + base_bytes,
        },
        quality={
            "distance": distance,
            "low": 0.96 * distance,
            "high": 1.04 * distance,
            "kid": distance / 500,
            "kid_standard_error": 0.07,
            "flag": "small sample: 1000 images for 1280 features bias the distance upward",
        },
        fidelity={"psnr_db": 40 - 20 * strength, "ssim": 1 - 0.4 * strength / 2}
        if spec.techniques
        else {"psnr_db": None, "ssim": None, "reason": "this run is the baseline"},
        speedup={"ratio": ratio, "low": 0.98 * ratio, "high": 1.02 * ratio, "baseline_latency_s": base_s}
        if ratio
        else dict.fromkeys(("ratio", "low", "high"), None) | {"reason": "this run is the baseline"},
        created_at=f"2026-01-{1 + hour:02d}T{hour:02d}:00:00+00:00",
    )


def _workload(draw: random.Random) -> dict[str, Any]:
    return WORKLOAD | ({"seed": draw.choice((1, 2, 3))} if draw.random() < OTHERS else {})


def _knobs(found: Technique, draw: random.Random) -> dict[str, Any]:
    return {knob.name: _value(knob, draw) for knob in found.knobs}


def _value(knob: Knob, draw: random.Random) -> Any:
    if knob.choices:
        return draw.choice(knob.choices)
    if knob.kind is bool:
        return draw.random() < 0.5
    if knob.kind is str or knob.min is None or knob.max is None:
        return knob.default
    if knob.kind is int:
        return draw.randint(int(knob.min), min(int(knob.max), int(knob.min) + 64))
    return round(draw.uniform(knob.min, knob.max), 2)


if __name__ == "__main__":
    fill(Path(sys.argv[1]), int(sys.argv[2]))
