"""Which linear layers of a network a technique that changes weights works on. Imports no torch until it is asked."""

from typing import TYPE_CHECKING

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
