"""The panels of the page Inside, one for each family: words, knobs that the address names, figures and pictures."""

from collections.abc import Sequence
from typing import Any

import streamlit as st

from dit_core.inside import files
from dit_core.ui import images, words
from dit_core.ui import inside_plots as plots

URL: dict[str, Any] = {"bind": "query-params"}
KINDS = {  # layers of a block, in the order in which they run
    "adaLN_modulation.1": "modulation",
    "attn.qkv": "attention in (q, k, v)",
    "attn.proj": "attention out",
    "mlp.fc1": "feed-forward in",
    "mlp.fc2": "feed-forward out",
}
METHODS = {"nearest": "nearest", "hqq": "HQQ", "gptq": "GPTQ"}
ERRORS = {"outputs": "the layer's output", "weights": "the weights", "network": "the network's output"}
TILES = 4  # pictures in a row of a sheet
STEPS = "A moment is a timestep t: noise alone at 999, the picture at 0."


def quantization(content: dict[str, Any], data: dict[str, Any]) -> None:
    st.markdown(
        f"A weight is a number with a fraction; {data['group_size']} of them in a row share one ruler, and each moves "
        "to the nearest mark on it. With **b bits the ruler has 2ᵇ marks**: 256 at 8 bits, 16 at 4 bits, 4 at 2 bits. "
        "Each bit less about doubles the error. HQQ moves the marks; GPTQ lets weights still to be rounded make up for "
        "the errors of those before, so its weights err more and the layer's output errs less."
    )
    blocks = sorted({_block(name) for name in data["layers"]})
    with st.container(horizontal=True, gap="medium"):
        bits = _pick("Bits", data["bits"], 4, "bits")
        ways = [way for way in METHODS if str(bits) in next(iter(data["errors"]["outputs"][way].values()))]
        method = _pick("Method", ways, ways[0], "method", METHODS.__getitem__)
        block = _pick("Block", blocks, blocks[len(blocks) // 2], "block", lambda index: str(index + 1))
        kind = st.selectbox("Layer", list(KINDS), 1, format_func=KINDS.__getitem__, key="layer", width=230, **URL)
    drawn = data["layers"][f"blocks.{block}.{kind}"]
    left, right = st.columns(2, gap="medium")
    with left:
        st.markdown(f"**All weights of this layer**, before and after {METHODS[method]} rounding to {bits} bits")
        weights(data, block, kind, method, bits)
    with right:
        st.markdown(f"**One group of {data['group_size']} weights** on its ruler of {2**bits} marks")
        group = drawn["group_after"][method][str(bits)]
        _chart(
            plots.steps(drawn["group"], group),
            "group",
            f"{len(drawn['group'])} weights before and after rounding: {len(set(group))} different values are left.",
        )
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown("**Error by layer**, as a share of", width="content")
        measure = st.segmented_control(
            "Error of",
            [name for name in ERRORS if method in data["errors"][name]],
            default="outputs",
            required=True,
            format_func=ERRORS.__getitem__,
            label_visibility="collapsed",
            key="error",
            **URL,
        )
    errors = {name: by[str(bits)] for name, by in data["errors"][measure or "outputs"][method].items()}
    _by_layer(errors, "quantization", "errors")
    if measure == "network":
        st.caption(f"One layer alone rounded, the rest whole; {data['inputs']} inputs.")
    rows = {"Baseline": 0, f"{bits} bits, nearest": 1 + data["bits"].index(bits)}
    _strips(content, "samples", rows, "The same noise, every layer of every block rounded")


def weights(data: dict[str, Any], block: int, kind: str, method: str, bits: int) -> None:
    """Histogram of a layer's weights, before and after rounding."""
    drawn = data["layers"][f"blocks.{block}.{kind}"]
    after = drawn["after"][method][str(bits)]
    filled = sum(count > 0 for count in after)
    _chart(
        plots.histogram(drawn["before"], after, drawn["end"]),
        f"counts-{bits}",
        f"Histogram of the weights of {KINDS[kind]} in block {block + 1}: {filled} of {len(after)} bins are in use "
        f"after rounding to {bits} bits, {sum(count > 0 for count in drawn['before'])} before.",
    )


def pruning(content: dict[str, Any], data: dict[str, Any]) -> None:
    st.markdown(
        "Most weights are small, so half of them hold little of the network: **unstructured** pruning drops the "
        "smallest wherever they are. **2:4** pruning must drop two of every four, so it also loses larger ones: the "
        "price of a pattern that hardware can skip. **Width** pruning removes whole heads and neurons, **depth** "
        "pruning whole blocks; a block matters where it turns its input most."
    )
    ways = {"layer": "the same share of every layer", "global": "the smallest of the network", "2:4": "two of four"}
    with st.container(horizontal=True, gap="medium"):
        way = _pick("Which weights go", list(ways), "layer", "way", ways.__getitem__)
        sparsity = _pick("Share that goes", data["sparsities"], 0.5, "sparsity", _percent) if way != "2:4" else 0.5
    key = way if way == "2:4" else f"{way} {sparsity}"
    found = data["zeros"][key]
    for what, title in (
        ("zeros", "**Zeros** in each layer, in percent of its weights"),
        ("lost", "**What went with them**, in percent of the layer's squared weights: the less, the less was lost"),
    ):
        st.markdown(title)
        _by_layer({name: layer[what] for name, layer in found.items()}, "pruning", what)
    rows = {"Baseline": 0, f"{_percent(sparsity)} zeros, {ways[way]}": 1 + list(data["zeros"]).index(key)}
    _strips(content, "samples", rows, "The same noise, before any recovery training")
    heads, neurons = st.columns(2, gap="medium")
    with heads:
        st.markdown("**What each head adds** to its block, in percent of the block's strongest")
        values = [[100 * head / max(row) for head in row] for row in data["units"]["heads"]]
        names = [str(i + 1) for i in range(len(values[0]))]
        _table(values, names, _numbers(values), "pruning", ("Head", "Block"), "heads")
    with neurons:
        st.markdown("**What the strongest neurons hold** of what all of a block's neurons add, one line a block")
        half = [curve[len(curve) // 2] for curve in data["units"]["neurons"]]
        _chart(
            plots.curves(data["units"]["neurons"], "pruning", ("Neurons kept, %, strongest first", "Held, %")),
            "neurons",
            f"The strongest half of the neurons holds between {_percent(min(half))} and {_percent(max(half))}.",
        )
    names, blocks = [str(i + 1) for i in range(len(data["blocks"]["influence"]))], data["blocks"]
    left, right = st.columns(2, gap="medium")
    kept = blocks["kept"]["influence"]
    told = "full bars stay"
    for side, what, title, axis in (
        (left, "influence", f"**Block influence**, 1 − cosine of input and output; {told}", "Influence"),
        (right, "error", f"**Output error** when one block alone is left out; {told}", "Relative error"),
    ):
        with side:
            st.markdown(title)
            dim = [i for i in range(len(names)) if i not in kept]
            most = max(range(len(names)), key=lambda i: blocks[what][i])
            figure = plots.bars(blocks[what], names, "pruning", ("Block", axis), dim)
            _chart(figure, what, f"{axis} by block; block {most + 1} matters most, with {blocks[what][most]:.2g}.")


def attention(content: dict[str, Any], data: dict[str, Any]) -> None:
    st.markdown(
        f"The picture is {data['grid'] ** 2} tokens, and each asks all others how much of them it should take in: that "
        "is softmax attention, and its work grows with the square of the tokens. The cheaper kinds answer in another "
        "way: a few **mediators** speak for all, keys are **pooled**, tokens see only their **window**, heads "
        "**share** keys, or a **linear** kernel takes the place of the exponential. Each can be written as such a "
        "map. Here they stand in for softmax in the same trained network, before any recovery training."
    )
    moments = [f"noisy, t = {data['timesteps'][0]}", *(f"late, t = {t}" for t in data["timesteps"][1:])]
    grid, depth = data["grid"], len(data["maps"]["softmax"][0])
    with st.container(horizontal=True, gap="medium"):
        picture = _pick("Picture", data["classes"], data["classes"][len(data["classes"]) // 2], "picture")
        moment = _pick("Moment", moments, moments[-1], "moment")
        block = _pick("Block", list(range(depth)), depth - 1, "block", lambda index: str(index + 1))
        row = _pick("Token: row", list(range(grid)), grid // 2, "row", lambda index: str(index + 1))
        column = _pick("Token: column", list(range(grid)), grid // 2, "column", lambda index: str(index + 1))
    place, step, token = data["classes"].index(picture), moments.index(moment), row * grid + column
    sheet = files.picture(content, "estimates")
    st.caption(STEPS)
    st.markdown("**Where the ringed token looks**, in percent of what it takes in, the mean over heads")
    with st.grid("auto", min_column_width=150):
        for kind in ["softmax", *(kind for kind in data["kinds"] if kind != "softmax")]:
            weights = data["maps"][kind][step][block][place][token]
            with st.container(gap="xxsmall"):
                title = data["kinds"][kind].removesuffix(" attention").capitalize()
                st.caption(f"**{title}**" if kind == "softmax" else title)
                if sheet:
                    tile = plots.tile(sheet, step * TILES + place, TILES)
                    most = max(range(len(weights)), key=lambda i: weights[i])
                    st.image(
                        plots.looks_at(tile, tuple(weights), token, "attention"),
                        output_format="PNG",
                        width="stretch",
                        alt=f"{title}: the token looks most at row {most // grid + 1}, column {most % grid + 1}, "
                        f"with {weights[most]} percent",
                    )
    if sheet is None:
        st.caption("The pictures are missing or damaged.")
    st.markdown(
        f"**How much of softmax each kind keeps**, in percent, over all tokens and heads of {data['inputs']} inputs: "
        "100 where every token looks where it did"
    )
    values = [[100 * share for share in row] for row in data["kept"].values()]
    names = [data["kinds"][kind].removesuffix(" attention") for kind in data["kept"]]
    blocks = [str(i + 1) for i in range(depth)]
    _chart(
        plots.heatmap(values, blocks, names, "attention", titles=("Block", ""), texts=_numbers(values)),
        "kept",
        "; ".join(f"{name} keeps {min(r):.0f} to {max(r):.0f} %" for name, r in zip(names, values, strict=True)) + ".",
    )


def experts(content: dict[str, Any], data: dict[str, Any]) -> None:
    st.markdown(
        "A mixture of experts cuts each feed-forward network into parts. A **router** looks at each token and picks "
        "the few experts that it runs; the others cost it nothing. If the experts have found different work, they show "
        "up as regions of the picture; if all tokens take the same few, the rest is dead weight."
    )
    runs = {_told(run["knobs"]): run for run in data["runs"]}
    with st.container(horizontal=True, gap="medium"):
        named = st.selectbox("Mixture", list(runs), key="mixture", **URL) if len(runs) > 1 else next(iter(runs))
        run = runs[named]
        moments = [f"t = {t}" for t in data["timesteps"]]
        moment = _pick("Moment, from noise to picture", moments, moments[-2], "moment")
        layers = len(run["tokens"])
        layer = _pick("Layer", list(range(layers)), layers // 2, "layer", lambda index: str(index + 1))
    trained = run["knobs"]["recover"] != "none"
    how = "with its bundled recovered weights" if trained else "as it was split, without training"
    st.caption(f"{_sent(run['knobs'])}, {how}. {STEPS}")
    step, sheet = moments.index(moment), files.picture(content, "estimates")
    st.markdown("**The expert with the highest score** for each token, over what the network sees of the picture")
    with st.grid(TILES, min_column_width=150):
        for place, name in enumerate(data["classes"]):
            chosen = run["chosen"][step][layer][place]
            if sheet:
                st.image(
                    plots.went_to(plots.tile(sheet, step * TILES + place, TILES), tuple(chosen)),
                    output_format="PNG",
                    width="stretch",
                    caption=name,
                    alt=f"{name}: tokens go to the experts {', '.join(str(e + 1) for e in chosen)}, row by row",
                )
    if sheet is None:
        st.caption("The pictures are missing or damaged.")
    spans = [f"t from {start}" for start in run["first_timesteps"]]
    span = _pick("Timesteps", ["all", *spans], "all", "span")
    counts = [
        [sum(column) for column in zip(*layer, strict=True)] if span == "all" else layer[spans.index(span)]
        for layer in run["tokens"]
    ]
    values = [[100 * count / (sum(row) or 1) for count in row] for row in counts]
    even = 100 / max(map(len, values))
    st.markdown(f"**Tokens per expert**, in percent of a layer's; {even:.3g} each would be even")
    names = [str(i + 1) for i in range(max(map(len, values)))]
    _table(values, names, _numbers(values), "experts", ("Expert", "Layer"), "loads")


def distillation(content: dict[str, Any], data: dict[str, Any]) -> None:
    st.markdown(
        "A student begins as a cut of its teacher and **learns to do what the teacher does**, from its outputs and "
        "from the features inside it. A cell says how alike what one block of the student puts out is to what one of "
        "the teacher's does (linear CKA: 100 is the same up to a rotation). In a good student the last block reaches "
        "the teacher's last, with fewer steps in between."
    )
    if not data["students"]:
        st.info(f"No student was computed: run {content['command']}")
        return
    titles = {_student(one): one for one in data["students"]}
    best = next((title for title, one in titles.items() if one["recovered"]), next(iter(titles)))
    named = st.selectbox("Student", list(titles), list(titles).index(best), key="student", **URL)
    one = titles[named or best]
    left, right = st.columns([3, 2], gap="medium")
    with left:
        st.markdown("**Likeness of features**, in percent")
        values = [[100 * share for share in row] for row in one["similarity"]]
        names = [str(i + 1) for i in range(len(values[0]))]
        _table(values, names, _numbers(values), "distillation", ("Teacher's block", "Student's block"), "alike")
    with right:
        st.metric(
            "Relative error of the output", f"{100 * one['error']:.0f} %", help="0 % is the teacher's own output."
        )
        _strips(content, "samples", {"Teacher": 0, "Student": one["row"]}, "The same noise")


def _pick(label: str, options: Sequence[Any], default: Any, key: str, show: Any = None) -> Any:
    """One of a few; the address names it, so that a link opens exactly this view."""
    picked = st.segmented_control(
        label, options, default=default, required=True, key=key, format_func=show or str, wrap=True, **URL
    )
    return default if picked is None else picked


def _by_layer(values: dict[str, float], family: str, key: str) -> None:
    """A table of one share for each layer of each block."""
    depth = 1 + max(map(_block, values))
    rows = [[values.get(f"blocks.{i}.{kind}") for i in range(depth)] for kind in KINDS]
    percents = [[None if value is None else 100 * value for value in row] for row in rows]
    names = [str(i + 1) for i in range(depth)]
    worst = max(values, key=lambda name: values[name])
    _chart(
        plots.heatmap(percents, names, list(KINDS.values()), family, titles=("Block", ""), texts=_numbers(percents)),
        key,
        f"Percent by layer and block; the most is {100 * values[worst]:.3g} in {KINDS[worst.split('.', 2)[2]]} of "
        f"block {_block(worst) + 1}.",
    )
    st.caption("In percent; a fuller colour is more.")


def _table(values: Any, columns: list[str], texts: Any, family: str, titles: tuple[str, str], key: str) -> None:
    rows = [str(i + 1) for i in range(len(values))]
    told = "; ".join(f"{titles[1].lower()} {i + 1}: {', '.join(row)}" for i, row in enumerate(texts))
    _chart(plots.heatmap(values, columns, rows, family, titles=titles, texts=texts), key, f"{told}.")


def _chart(figure: dict[str, Any], key: str, told: str) -> None:
    st.plotly_chart(figure, key=f"inside-{key}", config=plots.CONFIG, alt=told)


def _strips(content: dict[str, Any], key: str, rows: dict[str, int], title: str) -> None:
    """Rows of a sheet under each other, by name."""
    sheet = files.picture(content, key)
    st.markdown(f"**{title}**")
    if sheet is None:
        st.caption("The pictures are missing or damaged.")
        return
    edge = images.size_of(plots.tile(sheet, 0, TILES))[0]
    with st.grid(len(rows), min_column_width=240):
        for name, row in rows.items():
            picture = images.strip(sheet, edge, TILES, tuple(range(row * TILES, (row + 1) * TILES)))
            if picture:
                with st.container(gap="xxsmall"):
                    st.caption(name)
                    st.image(picture, output_format="PNG", width="stretch", alt=f"{name}: {TILES} pictures")


def _numbers(rows: Any) -> list[list[str]]:
    return [["" if value is None else words.significant(value, 2) for value in row] for row in rows]


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _block(name: str) -> int:
    return int(name.split(".")[1])


def _told(knobs: dict[str, Any]) -> str:
    """The size of a mixture: `experts 8, top k 2, shared 1, layers all`."""
    named = [key for key in ("experts", "top_k", "shared", "layers") if key in knobs]
    return ", ".join(f"{words.knob_label(key).lower()} {words.knob_value(knobs[key])}" for key in named)


def _sent(knobs: dict[str, Any]) -> str:
    """What a mixture does with a token: `Each token is sent to 2 of 8 experts`."""
    shared = " and to one that all share" if knobs.get("shared") else ""
    return f"Each token is sent to {knobs['top_k']} of {knobs['experts']} experts{shared}"


def _student(one: dict[str, Any]) -> str:
    knobs = one["knobs"].replace("_", " ").replace("=", " ").replace(",", ", ")
    how = "recovered by distillation" if one["recovered"] else "cut, not trained"
    return f"{words.technique_title(one['technique'])}, {how}: {knobs}"
