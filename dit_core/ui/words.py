"""Numbers and names in plain words. Knows neither Streamlit nor torch."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from dit_core.models.recovered import BUNDLED, NONE
from dit_core.spec import RunRecord, RunSpec
from dit_core.techniques import Technique, registry

SCHEDULERS = {"ddpm": "DDPM", "ddim": "DDIM", "dpm++2m": "DPM-Solver++ 2M", "unipc": "UniPC"}
UNKNOWN = "–"
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
    "stack",
)


def scheduler(name: str) -> str:
    return SCHEDULERS.get(name, name)


def seconds(value: float | None) -> str:
    """`42.1 ms`, `1.23 s`, `2 min 5 s`."""
    if value is None:
        return UNKNOWN
    if value < 1:
        return f"{significant(value * 1e3)} ms"
    if value < 60:
        return f"{significant(value)} s"
    return f"{int(value // 60)} min {int(value % 60)} s"


def duration(value: float) -> str:
    """A waiting time, in whole units: `8 s`, `2 min 5 s`, `12 min`, `1 h 5 min`."""
    if value < 90:
        return f"{max(0, round(value))} s"
    if value < 600 and round(value) % 60:
        return f"{round(value) // 60} min {round(value) % 60} s"
    if value < 3600:
        return f"{round(value / 60)} min"
    return f"{int(value // 3600)} h {int(value % 3600 // 60)} min"


def size(value: float | None) -> str:
    """Bytes in decimal units: `18.4 MB`."""
    return UNKNOWN if value is None else _scaled(value, ("B", "kB", "MB", "GB", "TB"))


def operations(value: float | None, unit: str = "FLOP") -> str:
    """`47.2 GFLOP`."""
    return (
        UNKNOWN
        if value is None
        else _scaled(value, tuple(f"{prefix}{unit}" for prefix in ("", "k", "M", "G", "T", "P")))
    )


def significant(value: float, digits: int = 3) -> str:
    """Three significant digits, without an exponent: `1,930`, `42.1`, `0.0123`."""
    if value == 0:
        return "0"
    rounded = float(f"{value:.{digits}g}")
    decimals = max(0, digits - 1 - int(f"{abs(rounded):e}".partition("e")[2]))
    return f"{rounded:,.{decimals}f}"


def change(value: float | None, base: float | None) -> str | int | None:
    """Relative change as `-48 %`; the number 0 where nothing changed; None where either side is unknown."""
    if value is None or not base:
        return None
    percent = 100 * (value / base - 1)
    if abs(percent) < 0.05:
        return 0
    return f"{percent:+.1f} %" if abs(percent) < 10 else f"{percent:+.0f} %"


def families(known: dict[str, Technique]) -> dict[str, list[Technique]]:
    """Techniques by family, in the order of the legend; families that it does not know come last."""
    names = sorted({found.family for found in known.values()}, key=family_order)
    return {name: [found for found in known.values() if found.family == name] for name in names}


def family_order(name: str) -> tuple[int, str]:
    return (FAMILIES.index(name) if name in FAMILIES else len(FAMILIES), name)


def technique_title(name: str) -> str:
    """The technique's title; the bare name where this version does not have it."""
    found = registry().get(name)
    return found.title if found else name


def family(spec: RunSpec) -> str:
    """`baseline`, the family of the only technique, or `stack` of techniques from several families."""
    known: dict[str, Technique] = registry()
    families = {known[t["name"]].family if t["name"] in known else "other" for t in spec.techniques}
    return families.pop() if len(families) == 1 else "stack" if families else "baseline"


def knob_label(name: str) -> str:
    return name.replace("_", " ").capitalize()


def knob_value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value).replace("_", " ")


def recipe(spec: RunSpec) -> str:
    """The techniques without their knobs: `Quantization`, or `Baseline`."""
    return " + ".join(technique_title(t["name"]) for t in spec.techniques) or "Baseline"


def plain(spec: RunSpec) -> str:
    """What each technique of a recipe does, in a sentence without its sources."""
    known = registry()
    told = [known[t["name"]].summary.partition(" (")[0].rstrip(".") for t in spec.techniques if t["name"] in known]
    return f"{'. '.join(told)}." if told else ""


def knobs(spec: RunSpec) -> str:
    """Every knob of the recipe: `mode weight-only, bits 8`. Empty for the baseline."""
    return "; ".join(
        ", ".join(f"{knob_label(k).lower()} {knob_value(v)}" for k, v in _knobs(t)) for t in spec.techniques
    )


def title(spec: RunSpec) -> str:
    """The whole recipe in one line: `Quantization: mode weight-only, bits 8`, or `Baseline`."""
    named = knobs(spec)
    return f"{recipe(spec)}: {named}" if named else recipe(spec)


def short_titles(specs: list[RunSpec]) -> list[str]:
    """Titles for a crowded plot: of the knobs that differ among these specs, those that are not at their default.

    A technique with every knob at its default goes by the knob that varies most, `bits 8`, or by its title. Bundled
    weights are taken for granted beside others.
    """
    values = _values(specs)
    return [" + ".join(_short(t, values) for t in spec.techniques) or "Baseline" for spec in specs]


def brief_titles(specs: list[RunSpec]) -> list[str]:
    """Short titles with each technique named: `Depth pruning, keep 6 + Quantization, bits 8`."""
    values = _values(specs)
    return [" + ".join(_brief(t, values) for t in spec.techniques) or "Baseline" for spec in specs]


def workload(spec: RunSpec) -> str:
    """Everything of a spec but its recipe: `emoji, 20 steps of DPM-Solver++ 2M, guidance 2, batch 8, ...`."""
    classes = f"{len(spec.classes)} classes" if len(spec.classes) > 3 else ", ".join(spec.classes) or "all classes"
    judged = f"{spec.samples:,} images judged" if spec.samples else "quality not judged"
    channels = f" on {spec.guidance_channels} channels" if spec.guidance_channels else ""
    return (
        f"{spec.model}, {spec.steps} steps of {scheduler(spec.scheduler)}, guidance {spec.guidance:g}{channels}, "
        f"batch {spec.batch_size}, {classes}, seed {spec.seed}, {judged}"
    )


def hardware(environment: dict[str, Any]) -> str:
    """The device of a record's environment: `AMD EPYC (avx512_vnni)`, `NVIDIA H100`."""
    device = environment.get("device")
    return str(environment.get("gpu") or device if device not in (None, "cpu") else environment.get("cpu") or "CPU")


def threads(environment: dict[str, Any]) -> str:
    """`2 threads`; empty where they are not known."""
    count = environment.get("threads")
    return f"{count} thread{'s' * (count != 1)}" if count else ""


def machine(record: RunRecord) -> str:
    """The machine in short, to choose by: hardware, threads, type of the arithmetic, torch."""
    env = record.environment
    return ", ".join(filter(None, (hardware(env), threads(env), env.get("dtype"), f"torch {env['torch']}")))


def environment(record: RunRecord) -> str:
    """The machine and all versions behind a record's figures, in one line; on a GPU with CUDA's and the driver's."""
    versions = [f"{title} {record.environment[key]}" for key, title in VERSIONS.items() if record.environment.get(key)]
    return ", ".join((machine(record), *versions))


def small_sample(records: Sequence[RunRecord], kind: str = "flag") -> str:
    """What to know of a distance of few images, of FID by `fid_flag`, in plain words; empty where there were enough."""
    flag = next((flag for record in records if (flag := record.quality.get(kind))), "")
    return f"{flag[0].upper()}{flag[1:]}: compare it only with distances of as many images." if flag else ""


def day(created_at: str) -> str:
    """`1 January 2026` of an ISO time; the text itself where it is none."""
    try:
        moment = datetime.fromisoformat(created_at)
    except ValueError:
        return created_at
    return f"{moment.day} {moment:%B %Y}"


def _knobs(technique: dict[str, Any]) -> list[tuple[str, Any]]:
    """Knobs with their values in the order of the dataclass; records keep them in alphabetical order."""
    found = registry().get(technique["name"])
    order = {knob.name: place for place, knob in enumerate(found.knobs)} if found else {}
    named = [(key, value) for key, value in technique.items() if key != "name"]
    return sorted(named, key=lambda item: order.get(item[0], len(order)))


def _values(specs: list[RunSpec]) -> dict[tuple[str, str], set[str]]:
    """By technique and knob, what the specs have; a knob that is left unwritten at its default has that."""
    values: dict[tuple[str, str], set[str]] = {}
    for technique in (technique for spec in specs for technique in spec.techniques):
        found = registry().get(technique["name"])
        unwritten = {knob.name: knob.default for knob in found.knobs if knob.later} if found else {}
        for key, value in (unwritten | technique).items():
            values.setdefault((technique["name"], key), set()).add(str(value))
    return values


def _brief(technique: dict[str, Any], values: dict[tuple[str, str], set[str]]) -> str:
    named, short = technique_title(technique["name"]), _short(technique, values)
    return named if short == named else f"{named}, {short}"


def _short(technique: dict[str, Any], values: dict[tuple[str, str], set[str]]) -> str:
    name, found = technique["name"], registry().get(technique["name"])
    usual = {knob.name: knob.default for knob in found.knobs} if found else {}
    differing = {key: value for key, value in _knobs(technique) if len(values[name, key]) > 1}
    recovery = str(differing.pop("recover", BUNDLED))
    told = {key: value for key, value in differing.items() if usual.get(key) != value}
    if differing and not told:
        key = max(differing, key=lambda knob: (len(values[name, knob]), not isinstance(differing[knob], str)))
        told = {key: differing[key]}
    said = [
        knob_value(v) if isinstance(v, str) else f"{knob_label(k).lower()} {knob_value(v)}" for k, v in told.items()
    ]
    if recovery != BUNDLED:
        said.append("unrecovered" if recovery == NONE else f"{recovery} steps of recovery")
    return ", ".join(said) or technique_title(name)


def _scaled(value: float, units: tuple[str, ...]) -> str:
    power = 0
    while abs(value) >= 999.5 and power < len(units) - 1:
        value, power = value / 1000, power + 1
    return f"{significant(value)} {units[power]}"
