"""Time and forward error of token merging against the number of tokens, in turn with the unchanged network.

    python -m tests.benchmarks.token_merging --ratio 0.5 --turns 5

One pass of DiT-S/2 on one image, in processor time of one thread. Its weights are random, with gates that are not
zero, and its inputs are noise, in which no tokens are alike: the error is that of the noisiest step. `--model emoji`
measures the bundled model.
"""

import argparse
import random
import statistics
import time

import torch

from dit_core.models.sources import load_model
from dit_core.recipes.context import Context
from dit_core.recipes.recipe import apply_recipe
from dit_core.system import runtime


@torch.inference_mode()
def main(models: list[str], ratio: float, turns: int) -> None:
    device = runtime.set_up("cpu", 1)
    for name in models:
        model = load_model(name, device)
        generator = torch.Generator().manual_seed(0)
        for parameter in model.dit.parameters() if name.startswith("random:") else ():
            parameter.data += 0.02 * torch.randn(parameter.shape, generator=generator)
        entry = {"name": "token_merging", "ratio": ratio}
        networks = [model.dit, apply_recipe(model.dit, [entry], Context(device, model=model))]
        x = torch.randn(1, *model.latent_shape, generator=generator)
        inputs = x, torch.tensor([900]), torch.tensor([0])
        exact, merged = (network(*inputs) for network in networks)
        seconds: list[list[float]] = [[], []]
        for _ in range(turns):
            for side in random.sample((0, 1), 2):
                started = time.thread_time()
                networks[side](*inputs)
                seconds[side].append(time.thread_time() - started)
        before, after = map(statistics.median, seconds)
        error = (merged - exact).norm() / exact.norm()
        tokens = model.config.dit.grid**2
        print(f"{name}: {tokens} tokens, {before / after:.2f} times as fast, relative error {error:.3f}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", nargs="+", default=[f"random:DiT-S/2@{size}" for size in (256, 512, 1024)])
    parser.add_argument("--ratio", type=float, default=0.5)
    parser.add_argument("--turns", type=int, default=5)
    arguments = parser.parse_args()
    main(arguments.model, arguments.ratio, arguments.turns)
