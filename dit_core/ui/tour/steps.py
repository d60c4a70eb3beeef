"""The steps of the tour as data: what to say, what to show, and the page to open next."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from dit_core.records import metrics
from dit_core.records.store import Stored
from dit_core.ui.tour import exhibits, links
from dit_core.ui.tour.links import Query


@dataclass(frozen=True)
class Step:
    """One step of the tour.

    `recipe` names the run that the step is about. `show` draws below the text, and `query` returns the query of the
    link to `page`; both receive the baseline's record and the run's.
    """

    title: str
    text: str
    page: str
    label: str
    recipe: tuple[dict[str, Any], ...] = ()
    query: Callable[[Sequence[Stored]], Query] = links.default_view
    second_page: tuple[str, str] | None = None  # page and label
    show: Callable[[Sequence[Stored]], None] = exhibits.baseline_and_answer


BEST = (
    {"name": "guidance_distillation", "recover": "bundled"},
    {"name": "solver", "scheduler": "dpm++2m", "steps": 8},
)
STEPS = (
    Step(
        title="One network, and what it costs",
        text="A diffusion transformer starts from noise and removes a little of it in every step, until an image is "
        "left. Every step runs the whole network, so it needs time and memory. Many optimizations reduce one or the "
        "other, but none is free. The images below are from the trained network without any optimization: the "
        "baseline. Guess: in which part does it spend most of its time, in attention, in the feed-forward layers or in "
        "the decoder that makes the pixels?",
        page="home",
        label="Open the home page",
        show=exhibits.baseline_and_answer,
    ),
    Step(
        title="Four bits per weight",
        text="The first optimization is quantization. A weight usually takes 32 bits; with 4 bits the network takes an "
        "eighth of the memory. But most processors cannot multiply 4-bit numbers, so they convert every weight back "
        "before they use it. Before you open the answer, guess: is the network faster or slower with 4 bits? Both "
        "rows of images start from the same noise.",
        page="run_live",
        label="Open it on Run live",
        recipe=({"name": "quantization", "bits": 4},),
        query=links.run_form,
        show=partial(
            exhibits.images_and_plot_in_answer,
            "With plain 4-bit weights a network on this kind of processor is slower, not faster: every pass restores "
            "the weights first. What is saved is memory. Only a processor that multiplies small numbers itself turns "
            "fewer bits into less time.",
            metrics.RELATIVE_TIME,
        ),
    ),
    Step(
        title="How many bits are enough?",
        text="Every point is one measured run. Points further left need less memory, and points further down have "
        "images closer to real ones. The line connects the runs that no other run beats in both: the Pareto front. A "
        "run behind the line is a bad choice, because another run is better at the same size. Guess: how many bits "
        "would you choose if only memory mattered?",
        page="pareto",
        label="Explore the plot on Pareto",
        recipe=({"name": "quantization", "bits": 3},),
        query=links.family_on_pareto,
        show=partial(
            exhibits.images_plot_and_answer,
            "The number of bits at which the line begins to rise steeply. To the right of it, more memory buys little; "
            "to the left, every bit that is saved costs much. How the weights are rounded matters as well: points of "
            "the same size lie far apart.",
            metrics.WEIGHT_BYTES,
        ),
    ),
    Step(
        title="What breaks first",
        text="With 2 bits a weight can have only four values. Here each weight is rounded so that it makes up for the "
        "errors of those before it. Both rows of images start from the same noise. The plot shows how similar the "
        "images of every run are to the baseline's. Guess before you look closely: what is lost first, the shapes or "
        "the colours and details? The Compare page overlays the two rows.",
        page="compare",
        label="Compare the images",
        recipe=({"name": "quantization", "bits": 2, "method": "gptq"},),
        query=links.comparison,
        show=partial(
            exhibits.images_plot_and_answer,
            "The details and the colours. The shape is decided in the first steps, when the image is mostly noise and "
            "a rough estimate is enough. Details form in the last steps, where every error of the network shows.",
            metrics.WEIGHT_BYTES,
            quality=metrics.PSNR,
        ),
    ),
    Step(
        title="Why plain rounding to 2 bits fails",
        text="These images have 2 bits per weight, too, but every weight is simply rounded to the nearest of its four "
        "values. The plots show the weights of one layer: with many bits, the rounded weights follow the distribution "
        "of the original ones; with 2 bits, most weights fall onto one value. Guess: if four values were enough in the "
        "step before, why not here?",
        page="inside",
        label="Look inside the network",
        recipe=({"name": "quantization", "bits": 2},),
        query=links.two_bit_weights,
        show=partial(
            exhibits.images_and_rounded_weights,
            "Because a layer adds up hundreds of products. Rounded one by one, their errors add up as well. The other "
            "method looks at the sum: it rounds one weight after the other and moves the rest so that the errors "
            "cancel. The same four values then keep most of the image.",
        ),
    ),
    Step(
        title="Half of the blocks",
        text="Pruning removes parts of the network. Here half of the blocks are gone, and a training afterwards let "
        "the others take over their work. Without that training images fall apart; Pareto draws such runs as open "
        "symbols, once it shows all points. "
        "Another kind of pruning keeps all blocks and sets half of the single weights to zero. Guess: does that also "
        "save half of the time?",
        page="pareto",
        label="See all pruned networks on Pareto",
        recipe=({"name": "depth_pruning", "keep": 4, "recover": "bundled"},),
        query=links.family_on_pareto,
        show=partial(
            exhibits.images_plot_and_answer,
            "No. A processor multiplies whole blocks of numbers, zeros included, so scattered zeros save memory but no "
            "time. A removed block is never computed, and that saves its whole time.",
            metrics.RELATIVE_TIME,
        ),
    ),
    Step(
        title="Experts: many weights, few of them used",
        text="A mixture of experts splits the feed-forward layers into several small ones, the experts. For every part "
        "of the image a router picks the experts that fit best, and only those are computed. The network keeps all of "
        "its weights, but each part of the image passes through a few of them. Guess: which gets smaller, the memory "
        "or the number of operations?",
        page="inside",
        label="See which expert gets which part",
        recipe=({"name": "moe", "experts": 8, "top_k": 2, "recover": "bundled"},),
        query=links.experts,
        show=partial(
            exhibits.images_plot_and_answer,
            "The number of operations. All experts stay in memory, because every one of them may be picked next. "
            "Whether fewer operations also take less time depends on how well the machine handles many small products.",
            metrics.RELATIVE_TIME,
        ),
    ),
    Step(
        title="Simpler attention",
        text="In attention, every part of the image looks at every other part. The work grows with the square of the "
        "number of parts. Simplified attention lets each part look at less: at a window around it, or at an average of "
        "several parts. Guess: does that help a network that makes images as small as these?",
        page="scale",
        label="See the same on larger images",
        recipe=({"name": "pooled_attention", "recover": "bundled"},),
        show=partial(
            exhibits.images_plot_and_answer,
            "Hardly. These images have so few parts that comparing them is little of the work of attention; most of it "
            "is in the layers before and after, which stay. On larger images the comparisons grow quickly: the page "
            "Scale shows where simplified attention begins to pay off.",
            metrics.RELATIVE_TIME,
        ),
    ),
    Step(
        title="Fewer steps, and guidance in one pass",
        text="All techniques so far made one pass through the network cheaper. The number of passes can fall, too. A "
        "better solver needs fewer steps, and guidance, which runs the network twice in every step, can be learned by "
        "the network itself: that is guidance distillation. Both are applied here. Guess: how do they compare with all "
        "you have seen before?",
        page="run_live",
        label="Try other numbers of steps",
        recipe=BEST,
        query=links.run_form,
        show=partial(
            exhibits.images_plot_and_answer,
            "They save the most, because a pass that does not happen costs nothing. Every other technique should be "
            "compared with this one: would the unchanged network with fewer steps do as well in the same time?",
            metrics.RELATIVE_TIME,
        ),
    ),
    Step(
        title="Reuse what hardly changes",
        text="From one step to the next, the values inside the network change little. Feature caching computes them in "
        "every second step only and uses the kept values in between. It needs no training and changes no weight. The "
        "first and the last step are always computed, because there the values change most. Guess: what limits this "
        "trick when a solver needs only a few steps anyway?",
        page="inside",
        label="See which step computes which block",
        recipe=({"name": "feature_caching", "method": "interval", "interval": 2},),
        query=links.caching,
        show=partial(
            exhibits.images_plot_and_answer,
            "With few steps, neighbouring steps differ more, so kept values are out of date sooner. Caching pays off "
            "most where many steps are used; there its rival is again a solver with fewer steps.",
            metrics.RELATIVE_TIME,
        ),
    ),
    Step(
        title="Do the results of the papers hold here?",
        text="Papers report results on the authors' machines, often on large GPUs. The Claims page lists these results "
        "with their source, next to the values measured here and a verdict computed from the records. The plot shows "
        "the best runs of one machine, and the images are from a recipe that combines fewer steps with guidance in one "
        "pass. Guess: how many of the reported results can be reproduced with a network as small as this one?",
        page="claims",
        label="Read the verdicts",
        second_page=("scale", "See how cost grows"),
        recipe=BEST,
        show=exhibits.images_front_and_verdicts,
    ),
)
