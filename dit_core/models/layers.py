"""Parts of a network that techniques select, and messages for values that do not fit. Imports torch only if called."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

OUTER = ("x_embedder", "t_embedder", "r_embedder", "y_embedder", "final_layer")
SKIP = ("none", "outer", "outer+modulation")


def linear_layers(model: "nn.Module", skip: str) -> "dict[str, nn.Linear]":
    """Return the plain linear layers by name, without those that `skip`, one of SKIP, excludes."""
    from torch import nn

    skipped = OUTER if skip != "none" else ()
    return {
        name: module
        for name, module in model.named_modules()
        if type(module) is nn.Linear
        and not name.startswith(skipped)
        and not (skip == "outer+modulation" and "adaLN_modulation" in name)
    }


def chosen_blocks(which: str, depth: int) -> range:
    """Return the indices of the blocks that a `layers` knob selects. A middle block belongs to the first half."""
    middle = (depth + 1) // 2
    return {
        "all": range(depth),
        "first-half": range(middle),
        "last-half": range(middle, depth),
        "alternate": range(0, depth, 2),
    }[which]


def indivisible(what: str, value: int, parts: str, total: int) -> str | None:
    """Return an error message with the divisors of `total` if `value` does not divide it, else None."""
    if total % value == 0:
        return None
    divisors = [str(n) for n in range(1, total + 1) if total % n == 0]
    return f"{what} {value} does not divide the {total} {parts}: use {', '.join(divisors)}."


def unroutable(experts: int, top_k: int, shared: int) -> str | None:
    """Return an error message if `top_k` of `experts` cannot be selected, of which `shared` always run, else None."""
    if not 0 <= shared < experts:
        return f"shared must be between 0 and {experts - 1}, fewer than the experts, got {shared}."
    if not 1 <= top_k <= experts - shared:
        return f"top_k must be between 1 and {experts - shared}, the experts that are not shared, got {top_k}."
    return None
