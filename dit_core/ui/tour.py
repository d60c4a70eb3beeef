"""The guided path of a demo: steps, each a paragraph to read aloud and a view to open. Figures come from records."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import streamlit as st

from dit_core.errors import BadRequest
from dit_core.inside import files
from dit_core.spec import RunSpec
from dit_core.store import Stored
from dit_core.techniques import canonical
from dit_core.ui import axes, claims, components, form, inside, inside_panels, pareto, points, reads, result, words

Query = dict[str, str | list[str]]
STRIP, WIDTH = 9, 1000  # pictures in a row; pixels of a line that can be read aloud
MANY, FEW = 8, 2  # bits of weights that are shown side by side
HEIGHT = 380  # pixels of a plot
LAYER = (4, "attn.qkv")  # block from 0 and kind, in the middle of the network
AT = "tour-step"  # where a visitor was, while other pages are open


def as_it_opens(shown: Sequence[Stored]) -> Query:
    return {}


def at_weights(shown: Sequence[Stored]) -> Query:
    """Inside with the panel of quantization at two bits."""
    return {"panel": inside.TITLES["quantization"], "bits": str(FEW)}


def filled_in(shown: Sequence[Stored]) -> Query:
    """Run live with the inputs of the step's run."""
    return form.address(points.spec_of(shown[-1]))


def of_its_family(shown: Sequence[Stored]) -> Query:
    """Pareto with the points of the step's family, and the baseline."""
    return {"families": ["baseline", words.family(points.spec_of(shown[-1]))]}


def laid_over_each_other(shown: Sequence[Stored]) -> Query:
    return {"runs": [points.point_id(one) for one in shown]}


def in_full(shown: Sequence[Stored]) -> None:
    """Pictures beside the baseline's, then figures."""
    _pictures(shown[-1])
    _figures(shown[-1])


def after_a_guess(shown: Sequence[Stored]) -> None:
    """Pictures; the figures only when someone asks for them."""
    _pictures(shown[-1])
    with st.expander("The answer", key="answer"):
        _figures(shown[-1])


def before_and_after_rounding(shown: Sequence[Stored]) -> None:
    """The weights of one layer rounded to many bits and to few, as the page Inside has them."""
    try:
        data = files.read("quantization")["data"]
    except BadRequest as error:
        st.caption(str(error))
        return
    block, kind = LAYER
    for side, bits in zip(st.columns(2, gap="medium"), (MANY, FEW), strict=True):
        with side:
            st.markdown(f"**{bits} bits**: {inside_panels.KINDS[kind]} of block {block + 1}")
            inside_panels.weights(data, block, kind, "nearest", bits)


def among_its_family(shown: Sequence[Stored]) -> None:
    """The points that the words speak of: every run of the step's family by its bytes, a ring around the step's."""
    kinds = ("baseline", words.family(points.spec_of(shown[-1])))
    group = next(group for group in reads.groups() if shown[-1] in group.runs)
    runs = [one for one in group.runs if words.family(points.spec_of(one)) in kinds]
    quality = next(iter(axes.quality_axes(runs).values()), None)
    if quality:
        marks: dict[str, Any] = {"chosen": shown[-1], "height": HEIGHT, "on_point": _open}
        pareto.plot(runs, axes.COSTS["weights"], quality, **marks)
        st.caption(f"{quality.title}. The ring is {_name(points.spec_of(shown[-1]))}.")
        _measured_on(shown[-1])


def as_judged(shown: Sequence[Stored]) -> None:
    """How many claims got each verdict."""
    claims.tally(claims.verdicts())


@dataclass(frozen=True)
class Step:
    """What to say, the recipe that it is about, and the page to open; `view` makes its address from the records.

    `shows` draws what stands below the words, from the run of the recipe where the step `needs_run`.
    """

    title: str
    words: str
    page: str
    label: str
    recipe: tuple[dict[str, Any], ...] = ()
    view: Callable[[Sequence[Stored]], Query] = as_it_opens
    also: tuple[str, str] | None = None  # another page and its label
    shows: Callable[[Sequence[Stored]], None] = in_full
    needs_run: bool = True


STEPS = (
    Step(
        "One network, and what it costs",
        "A diffusion transformer begins with noise and takes a little of it away, step by step, until a picture is "
        "left. Each step runs the whole network, so it needs time and memory. Many tricks promise to save some of "
        "both. None is free, and this dashboard measures what each one buys and what it costs. These are the pictures "
        "of the network as it was trained: the baseline.",
        "home",
        "See what was measured",
    ),
    Step(
        "Four bits for each weight",
        "The first trick is quantization. A weight usually takes 32 bits; four should do, so the network should shrink "
        "to an eighth. But most processors cannot multiply four-bit numbers and restore each weight first. Before "
        "we press Run, guess: will it be quicker or slower? Both rows of pictures start from the same noise.",
        "run_live",
        "Run it here",
        ({"name": "quantization", "bits": 4},),
        filled_in,
        shows=after_a_guess,
    ),
    Step(
        "How many bits are enough?",
        "Every point is one measured run. Further left is smaller, further down is closer to real pictures. The line "
        "joins the runs that no other run beats on both: the Pareto front. A point behind the line is a bad deal, for "
        "another one is better at the same price. How many bits would you choose if memory is all that counts?",
        "pareto",
        "Choose on the plot",
        ({"name": "quantization", "bits": 3},),
        of_its_family,
        shows=among_its_family,
    ),
    Step(
        "What breaks first",
        "With two bits a weight can have only four values. Both rows of pictures start from the same noise. Look for "
        "what goes first: the colours, the outlines or the small parts. The page behind this lays the two over each "
        "other: move its divider, then turn to the difference to see where they disagree most.",
        "compare",
        "Compare them",
        ({"name": "quantization", "bits": 2},),
        laid_over_each_other,
    ),
    Step(
        "Why two bits break it",
        "Why is that so? Here are the weights of one layer, before and after rounding: with many bits the rounded ones "
        "lie under the curve of the true ones, with two bits most of them fall onto one spike. The page behind this "
        "has the error of each layer, too. Some layers hardly suffer and others spoil the picture, which is why good "
        "methods treat them differently. Its other panels open up pruning, attention, experts and distillation.",
        "inside",
        "Look inside",
        view=at_weights,
        shows=before_and_after_rounding,
        needs_run=False,
    ),
    Step(
        "Do the papers' promises hold here?",
        "Papers report what each trick gave on their machines, often on large graphics processors. Here their figures "
        "stand beside ours, with the source and a verdict that is computed from the records: reproduced, not "
        "reproduced, or not testable here. Much depends on size, so the last page makes the network larger, step by "
        "step, and looks for the point from which a trick begins to pay.",
        "claims",
        "Read the verdicts",
        also=("scale", "See how cost grows"),
        shows=as_judged,
        needs_run=False,
    ),
)


def place() -> int:
    """The step that the address names, else the one that this visitor left; from 1."""
    named = st.query_params.get("step", "")
    wanted = int(named) if named.isdecimal() and len(named) < 4 else st.session_state.get(AT, 1)
    at = min(max(wanted, 1), len(STEPS))
    st.session_state[AT] = at
    return at


def moves(at: int) -> None:
    """Where in the tour this is, and buttons to the step before and after."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Previous", "previous", icon=":material/arrow_back:", on_click=_go, args=(at - 1,), disabled=at == 1)
        st.caption(f"Step {at} of {len(STEPS)}", width="content")
        shared: dict[str, Any] = {"icon": ":material/arrow_forward:", "icon_position": "right"}
        st.button("Next", "next", on_click=_go, args=(at + 1,), disabled=at == len(STEPS), **shared)


def show(step: Step) -> None:
    """A step: its words, the pictures and figures of its run, and the way to its view."""
    spec = _spec(step)
    shown = _measured(spec)
    st.subheader(step.title, anchor=False)
    with st.container(width=WIDTH, key="aloud"):
        st.markdown(step.words)
        if shown or not step.needs_run:
            step.shows(shown)
        else:
            st.info(f"{words.title(spec)}: not measured here yet. Run it, then come back to this step.")
    if shown or not step.needs_run:
        _link(step.page, step.label, step.view(shown))
    else:
        _link("run_live", "Run it here", form.address(spec))
    if step.also:
        _link(*step.also, {})


def _link(page: str, label: str, query: Query) -> None:
    st.page_link(f"../../pages/{page}.py", label=f"**{label}**", icon=":material/play_circle:", query_params=query)


def _spec(step: Step) -> RunSpec:
    """The step's recipe under the workload of the bundled records."""
    return replace(reads.default_spec(), techniques=canonical(step.recipe))


def _measured(spec: RunSpec) -> list[Stored]:
    """The baseline and the run of a spec, from one machine; nothing where either is missing."""
    for group in reads.groups():
        by_id = {one.record.run_id: one for one in group.runs}
        wanted = dict.fromkeys((spec.baseline.run_id, spec.run_id))
        if wanted.keys() <= by_id.keys():
            return [by_id[run_id] for run_id in wanted]
    return []


def _pictures(one: Stored) -> None:
    """A strip of the baseline's pictures, and one of the run's under it."""
    spec, labels = points.spec_of(one), reads.labels(one.record)[:STRIP]
    for which, name in (("baseline", "Baseline"), ("candidate", _name(spec))):
        if (which == "baseline" or spec.techniques) and (picture := reads.strip(one, which, tuple(range(len(labels))))):
            with st.container(gap="xxsmall"):
                st.caption(name)
                st.image(picture, output_format="PNG", width="stretch", alt=f"{name}: {', '.join(labels)}")


def _name(spec: RunSpec) -> str:
    """The recipe with the knobs in which the steps differ: `Quantization, bits 4`."""
    return words.brief_titles([spec, *map(_spec, STEPS)])[0]


def _figures(one: Stored) -> None:
    """What the run buys and costs, why, and where that was measured; of the baseline, where its time goes."""
    record = one.record
    result.verdict(one)
    if record.spec["techniques"]:
        if why := record.speedup.get("explanation"):
            st.markdown(why)
    else:
        st.markdown(
            f"{record.latency['batch_size']} pictures take {words.seconds(record.latency['latency_s'])}; the weights "
            f"take {words.size(record.memory['weight_bytes'])}."
        )
        if record.latency.get("time_shares"):
            st.markdown("**Where that time goes**")
            result.parts_of_time(record)
    _measured_on(one)


def _measured_on(one: Stored) -> None:
    """Where the figures above come from."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        components.origin_badge(one)
        components.place_badge(one.record)
        components.environment_caption(one.record)


def _open(identifier: str) -> None:
    st.switch_page("../../pages/pareto.py", query_params={"run": identifier})


def _go(at: int) -> None:
    st.query_params["step"] = str(at)
