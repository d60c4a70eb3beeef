"""Scores of single weights of linear layers, for unstructured pruning."""

from torch import Tensor, nn

from dit_core.compression.calibration import calibration, input_features
from dit_core.recipes.context import Context


def weight_scores(
    model: nn.Module, layers: dict[str, nn.Linear], score: str, context: Context, samples: int
) -> dict[str, Tensor]:
    """Return the scores (out, in) of the weights: |W|, or |W_ij| ||x_j|| for `wanda` (arXiv 2306.11695, equation 1).

    ||x_j|| is the root mean square of input feature j over the tokens of `samples` calibration inputs. Within a layer
    it gives the same order as the norm. Across layers it does not prefer layers with many tokens an image to layers
    with one vector an image.
    """
    magnitudes = {name: layer.weight.detach().float().abs() for name, layer in layers.items()}
    if score == "magnitude":
        return magnitudes
    features = input_features(model, list(layers), calibration(model, context, samples))
    return {name: magnitude * features[name].rms for name, magnitude in magnitudes.items()}
