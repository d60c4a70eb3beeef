"""How much each weight of a linear layer matters, for pruning single weights."""

from torch import Tensor, nn

from dit_core.techniques import Context
from dit_core.training.calibration import calibration, input_features


def weight_scores(
    model: nn.Module, layers: dict[str, nn.Linear], score: str, context: Context, samples: int
) -> dict[str, Tensor]:
    """(out, in) scores of the weights of `layers`: |W|, or |W_ij| ||x_j|| for `wanda` (arXiv 2306.11695, equation 1).

    ||x_j|| is the root mean square of input feature j over the tokens of `samples` calibration inputs. Within a layer
    that orders weights as the norm does; across layers it does not favour those that see many tokens of an image over
    those that see one vector.
    """
    magnitudes = {name: layer.weight.detach().float().abs() for name, layer in layers.items()}
    if score == "magnitude":
        return magnitudes
    features = input_features(model, list(layers), calibration(model, context, samples))
    return {name: magnitude * features[name].rms for name, magnitude in magnitudes.items()}
