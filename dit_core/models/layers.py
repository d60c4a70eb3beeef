"""Which parts of a network a technique works on. Imports no torch until it is asked."""

from dataclasses import field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

OUTER = ("x_embedder", "t_embedder", "y_embedder", "final_layer")
SKIP = ("none", "outer", "outer+modulation")


def linear_layers(model: "nn.Module", skip: str) -> "dict[str, nn.Linear]":
    """The plain linear layers by name, without those that `skip`, one of SKIP, leaves alone."""
    from torch import nn

    skipped = OUTER if skip != "none" else ()
    return {
        name: module
        for name, module in model.named_modules()
        if type(module) is nn.Linear
        and not name.startswith(skipped)
        and not (skip == "outer+modulation" and "adaLN_modulation" in name)
    }


def layers_knob() -> Any:
    """The field `layers` of a technique that need not change every block."""
    return field(
        default="all",
        metadata={
            "help": "Blocks that change: all, the first half, the last half, or every other one.",
            "choices": ("all", "first-half", "last-half", "alternate"),
        },
    )


def chosen_blocks(which: str, depth: int) -> range:
    """Indices of the blocks that a `layers` knob names; an odd one in the middle belongs to the first half."""
    middle = (depth + 1) // 2
    return {
        "all": range(depth),
        "first-half": range(middle),
        "last-half": range(middle, depth),
        "alternate": range(0, depth, 2),
    }[which]


def indivisible(what: str, value: int, parts: str, total: int) -> str | None:
    """One line that says what to choose where `value` does not divide `total`: `kv_heads 4 does not divide ...`."""
    if total % value == 0:
        return None
    divisors = [str(n) for n in range(1, total + 1) if total % n == 0]
    return f"{what} {value} does not divide the {total} {parts}: use {', '.join(divisors)}."


def unroutable(experts: int, top_k: int, shared: int) -> str | None:
    """One line that says what to choose where `top_k` cannot be picked of `experts`, `shared` of which always run."""
    if not 0 <= shared < experts:
        return f"shared must be between 0 and {experts - 1}, fewer than the experts, got {shared}."
    if not 1 <= top_k <= experts - shared:
        return f"top_k must be between 1 and {experts - shared}, the experts that are not shared, got {top_k}."
    return None
