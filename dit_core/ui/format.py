"""Numbers, names and settings as text for the page. Knows neither Streamlit nor torch."""

import re
from collections.abc import Callable
from datetime import datetime
from pathlib import PurePath
from typing import Any

from dit_core.errors import BadRequest
from dit_core.models.recovered import BUNDLED, NONE
from dit_core.models.sources.base import Fact
from dit_core.recipes.recipe import Recipe
from dit_core.recipes.registry import Technique, registry
from dit_core.records.record import RunRecord
from dit_core.records.spec import RunSpec
from dit_core.system import causes
from dit_core.system.devices import default_precision, find
from dit_core.system.environment import cpu_name

SCHEDULERS = {
    "ddpm": "DDPM",
    "ddim": "DDIM",
    "dpm++2m": "DPM-Solver++ 2M",
    "unipc": "UniPC",
    "ddpm-dit": "DDPM, DiT's timesteps",
    "euler": "Euler",
}
UNKNOWN = "–"
NOT_RETRAINED = "not retrained"
VERSIONS = {"torchao": "torchao", "diffusers": "diffusers", "cuda": "CUDA", "driver": "driver"}
FAMILIES = (
    "baseline",
    "quantization",
    "pruning",
    "attention",
    "distillation",
    "experts",
    "caching",
    "sampling",
    "compilation",
    "stack",
)


def scheduler(name: str) -> str:
    """Return the usual spelling of a scheduler's name."""
    return SCHEDULERS.get(name, name)


def guided_channels(count: int) -> str:
    """Return which latent channels are guided."""
    return f"First {count}" if count else "All"


def seconds(value: float | None) -> str:
    """Return a measured time with three significant digits: `42.1 ms`, `1.23 s`, `2 min 5 s`."""
    if value is None:
        return UNKNOWN
    if value < 1:
        return f"{significant(value * 1e3)} ms"
    if value < 60:
        return f"{significant(value)} s"
    return f"{int(value // 60)} min {int(value % 60)} s"


def duration(value: float) -> str:
    """Return a waiting time in whole units: `8 s`, `2 min 5 s`, `12 min`, `1 h 5 min`."""
    if value < 90:
        return f"{max(0, round(value))} s"
    if value < 600 and round(value) % 60:
        return f"{round(value) // 60} min {round(value) % 60} s"
    if value < 3600:
        return f"{round(value / 60)} min"
    return f"{int(value // 3600)} h {int(value % 3600 // 60)} min"


def size(value: float | None) -> str:
    """Return bytes in decimal units: `18.4 MB`."""
    return UNKNOWN if value is None else causes.size(value)


def operations(value: float | None, unit: str = "FLOP") -> str:
    """Return a number of operations: `47.2 GFLOP`."""
    return (
        UNKNOWN
        if value is None
        else _scaled(value, tuple(f"{prefix}{unit}" for prefix in ("", "k", "M", "G", "T", "P")))
    )


def significant(value: float, digits: int = 3) -> str:
    """Return a number rounded to significant digits, without an exponent: `1,930`, `42.1`, `0.0123`."""
    if value == 0:
        return "0"
    rounded = float(f"{value:.{digits}g}")
    decimals = max(0, digits - 1 - int(f"{abs(rounded):e}".partition("e")[2]))
    return f"{rounded:,.{decimals}f}"


def quantity(value: float, unit: str) -> str:
    """Return a value with its unit, in the form that is usual for this unit: `42.1 ms`, `×1.28`, `62.5 %`."""
    form = QUANTITIES.get(unit)
    return form(value) if form else f"{significant(value)} {unit}".strip()


def change(value: float | None, base: float | None) -> str | int | None:
    """Return the relative change as `-48 %`; the number 0 if nothing changed; None if either side is unknown."""
    if value is None or not base:
        return None
    percent = 100 * (value / base - 1)
    if abs(percent) < 0.05:
        return 0
    return f"{percent:+.1f} %" if abs(percent) < 10 else f"{percent:+.0f} %"


def families(known: dict[str, Technique]) -> dict[str, list[Technique]]:
    """Return techniques by family in the order of FAMILIES; other families come last."""
    names = sorted({technique.family for technique in known.values()}, key=family_order)
    return {name: [technique for technique in known.values() if technique.family == name] for name in names}


def family_order(name: str) -> tuple[int, str]:
    """Return the sort key of a family."""
    return (FAMILIES.index(name) if name in FAMILIES else len(FAMILIES), name)


def technique_title(name: str) -> str:
    """Return a technique's title, or its name if this version does not have the technique."""
    technique = registry().get(name)
    return technique.title if technique else name


def family(spec: RunSpec) -> str:
    """Return the family of a recipe's techniques: `baseline` without any, `stack` if they are from several families."""
    known: dict[str, Technique] = registry()
    families = {known[t["name"]].family if t["name"] in known else "other" for t in spec.techniques}
    return families.pop() if len(families) == 1 else "stack" if families else "baseline"


def knob_label(name: str) -> str:
    """Return a knob's label: `Group size`."""
    return name.replace("_", " ").capitalize()


def knob_value(value: Any) -> str:
    """Return a knob's value: `yes`, `0.5`, `per head`."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value).replace("_", " ")


def model_facts(record: RunRecord) -> str:
    """Return what is known of the model of a record, with what was only assumed; empty if the model tells all."""
    facts = record.environment.get("model") or {}
    return "; ".join(str(Fact(name, fact.get("value", ""), fact.get("origin", ""))) for name, fact in facts.items())


def escaped(text: str) -> str:
    """Return text that Markdown shows as it is."""
    return re.sub(r"([\\`*_{}\[\]$<>~#:|])", r"\\\1", text)


def recipe(spec: RunSpec) -> str:
    """Return the techniques without their knobs: `Quantization`, or `Baseline`."""
    return " + ".join(technique_title(t["name"]) for t in spec.techniques) or "Baseline"


def plain(spec: RunSpec) -> str:
    """Return what each technique of a recipe does, one sentence each, without the citations."""
    known = registry()
    summaries = [known[t["name"]].summary.partition(" (")[0].rstrip(".") for t in spec.techniques if t["name"] in known]
    return f"{'. '.join(summaries)}." if summaries else ""


def knobs(spec: RunSpec) -> str:
    """Return every knob of the recipe: `mode weight-only, bits 8`; empty for the baseline."""
    return "; ".join(
        ", ".join(f"{knob_label(k).lower()} {knob_value(v)}" for k, v in _knobs(t)) for t in spec.techniques
    )


def title(spec: RunSpec) -> str:
    """Return the whole recipe in one line: `Quantization: mode weight-only, bits 8`, or `Baseline`."""
    details = knobs(spec)
    return f"{recipe(spec)}: {details}" if details else recipe(spec)


def training(spec: RunSpec) -> str:
    """Return what a recipe was trained for after its techniques changed the network: `not retrained`, `retrained`.

    Empty if no technique of the recipe needs it.
    """
    try:
        recipe = Recipe.of(spec)
    except BadRequest:  # a technique of another version
        return ""
    if recipe.not_retrained:
        return NOT_RETRAINED
    return "retrained" if any("recover" in entry for entry in recipe.to_dicts()) else ""


def short_titles(specs: list[RunSpec]) -> list[str]:
    """Return titles for a crowded plot: the knobs that differ among these specs and are not at their defaults.

    If all of these are at their defaults, the title is the knob that varies most, `bits 8`; if no knob differs, it is
    the technique's title. Bundled weights are not mentioned.
    """
    values = _values(specs)
    return [" + ".join(_short(t, values) for t in spec.techniques) or "Baseline" for spec in specs]


def brief_titles(specs: list[RunSpec]) -> list[str]:
    """Return short titles that name every technique: `Depth pruning, keep 6 + Quantization, bits 8`."""
    values = _values(specs)
    return [" + ".join(_brief(t, values) for t in spec.techniques) or "Baseline" for spec in specs]


def workload(spec: RunSpec) -> str:
    """Return all of a spec except its recipe: `emoji, 20 steps of DPM-Solver++ 2M, guidance 2, batch 8, ...`.

    Links to comparisons contain this text: do not change it.
    """
    classes = f"{len(spec.classes)} classes" if len(spec.classes) > 3 else ", ".join(spec.classes) or "all classes"
    judged = f"{spec.samples:,} images judged" if spec.samples else "quality not judged"
    precision = f", {spec.precision}" if spec.precision != default_precision(spec.device) else ""
    reference = f" against {PurePath(spec.reference).name}" if spec.reference and spec.samples else ""
    own = f", metrics {', '.join(PurePath(name).stem for name in spec.metrics)}" if spec.metrics else ""
    trained = f", trained on {PurePath(spec.training_images).name}" if spec.training_images else ""
    channels = f" on {spec.guidance_channels} channels" if spec.guidance_channels else ""
    interval = f" from {spec.guidance_interval[0]} to {spec.guidance_interval[1]}" if spec.guidance_interval else ""
    every = f" every {spec.guidance_every} steps" if spec.guidance_every > 1 else ""
    return (
        f"{spec.model}, {spec.steps} steps of {scheduler(spec.scheduler)}, guidance {spec.guidance:g}"
        f"{channels}{interval}{every}{precision}, batch {spec.batch_size}, {classes}, seed {spec.seed}, "
        f"{judged}{reference}{own}{trained}"
    )


def hardware(environment: dict[str, Any]) -> str:
    """Return the device of an environment: `AMD EPYC (avx512_vnni)`, `NVIDIA H100`."""
    device = environment.get("device")
    return str(environment.get("gpu") or device if device not in (None, "cpu") else environment.get("cpu") or "CPU")


def device(name: str) -> str:
    """Return a device of this machine with its name: `NVIDIA H100 (cuda:1)`."""
    if name == "cpu":
        return f"{cpu_name()} (cpu)"
    found = find(name)
    return f"{found.name} ({name})" if found else name


def threads(environment: dict[str, Any]) -> str:
    """Return the number of threads, `2 threads`; empty if it is unknown."""
    count = environment.get("threads")
    return f"{count} thread{'s' * (count != 1)}" if count else ""


def machine(record: RunRecord) -> str:
    """Return a machine in short: device, threads, data type and version of torch."""
    env = record.environment
    return ", ".join(filter(None, (hardware(env), threads(env), env.get("dtype"), f"torch {env['torch']}")))


def environment(record: RunRecord) -> str:
    """Return the machine and all versions of a record's environment, on a GPU also those of CUDA and the driver."""
    versions = [f"{title} {record.environment[key]}" for key, title in VERSIONS.items() if record.environment.get(key)]
    return ", ".join((machine(record), *versions))


def day(created_at: str) -> str:
    """Return the day of an ISO 8601 time, `1 January 2026`; the text itself if it is not such a time."""
    try:
        moment = datetime.fromisoformat(created_at)
    except ValueError:
        return created_at
    return f"{moment.day} {moment:%B %Y}"


def _knobs(technique: dict[str, Any]) -> list[tuple[str, Any]]:
    """Knobs with their values in the order of the dataclass; records keep them in alphabetical order."""
    known = registry().get(technique["name"])
    order = {knob.name: place for place, knob in enumerate(known.knobs)} if known else {}
    items = [(key, value) for key, value in technique.items() if key != "name"]
    return sorted(items, key=lambda item: order.get(item[0], len(order)))


def _values(specs: list[RunSpec]) -> dict[tuple[str, str], set[str]]:
    """The values of each knob among the specs, by technique and knob. A knob that a spec omits has its default."""
    values: dict[tuple[str, str], set[str]] = {}
    for technique in (technique for spec in specs for technique in spec.techniques):
        known = registry().get(technique["name"])
        omitted = {knob.name: knob.default for knob in known.knobs if knob.omit_default} if known else {}
        for key, value in (omitted | technique).items():
            values.setdefault((technique["name"], key), set()).add(str(value))
    return values


def _brief(technique: dict[str, Any], values: dict[tuple[str, str], set[str]]) -> str:
    title, short = technique_title(technique["name"]), _short(technique, values)
    return title if short == title else f"{title}, {short}"


def _short(technique: dict[str, Any], values: dict[tuple[str, str], set[str]]) -> str:
    name, known = technique["name"], registry().get(technique["name"])
    defaults = {knob.name: knob.default for knob in known.knobs} if known else {}
    differing = {key: value for key, value in _knobs(technique) if len(values[name, key]) > 1}
    recovery = str(differing.pop("recover", BUNDLED))
    shown = {key: value for key, value in differing.items() if defaults.get(key) != value}
    if differing and not shown:
        key = max(differing, key=lambda knob: (len(values[name, knob]), not isinstance(differing[knob], str)))
        shown = {key: differing[key]}
    parts = [
        knob_value(v) if isinstance(v, str) else f"{knob_label(k).lower()} {knob_value(v)}" for k, v in shown.items()
    ]
    if recovery != BUNDLED:
        parts.append(NOT_RETRAINED if recovery == NONE else f"{recovery} steps of recovery")
    return ", ".join(parts) or technique_title(name)


def _scaled(value: float, units: tuple[str, ...]) -> str:
    power = 0
    while abs(value) >= 999.5 and power < len(units) - 1:
        value, power = value / 1000, power + 1
    return f"{significant(value)} {units[power]}"


QUANTITIES: dict[str, Callable[[float], str]] = {  # by unit of a metric
    "ms per batch": lambda value: seconds(value / 1e3),
    "MB": lambda value: size(value * 1e6),
    "GFLOP per batch": lambda value: operations(value * 1e9, "FLOP"),
    "GMAC per batch": lambda value: operations(value * 1e9, "MAC"),
    "times the baseline's speed": lambda value: f"×{value:.2f}",
    "%": lambda value: f"{value:.1f} %",
}
