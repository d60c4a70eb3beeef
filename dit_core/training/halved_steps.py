"""Progressive distillation: one deterministic step of the student replaces two steps of its teacher.

Salimans and Ho, arXiv 2202.00512; with guidance, Meng et al., arXiv 2210.03142. The steps are DDIM steps on trailing
timesteps, so a student of n steps is sampled with `ddim` in n steps.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dit_core.sampling.diffusion import add_noise, alphas_sigmas, clean_estimate, training_target
from dit_core.training.base import Batches
from dit_core.training.recovery import guided, random_guidance


def step_bounds(steps: int, train_steps: int) -> list[int]:
    """Return the timesteps of `steps` DDIM steps, from the noisiest down, and -1 at the end: no noise."""
    return [round(train_steps - index * train_steps / steps) - 1 for index in range(steps + 1)]


class HalvedSteps:
    """The loss of one halving: a step of the student (`steps` in all) against two steps of its teacher.

    The loss is the squared error of the network's prediction. The student takes the guidance scale as an input.
    """

    def __init__(self, teacher: nn.Module, batches: Batches, steps: int) -> None:
        self.teacher, self.batches, self.steps = teacher, batches, steps
        self.prediction = batches.schedule.prediction
        self.bounds = torch.tensor(step_bounds(2 * steps, batches.schedule.train_steps))
        alphas, sigmas = alphas_sigmas(batches.schedule)
        self.alphas = torch.cat([alphas, torch.ones(1)])  # index -1: no noise
        self.sigmas = torch.cat([sigmas, torch.zeros(1)])

    def __call__(self, student: nn.Module, generator: torch.Generator, done: float) -> Tensor:
        device = next(student.parameters()).device
        x, y = self.batches.draw_clean(generator)
        step = torch.randint(self.steps, (len(y),), generator=generator)
        t, middle, end = (self.bounds[2 * step + offset] for offset in range(3))
        noise = torch.randn(x.shape, generator=generator)
        noisy = add_noise(x, noise, self.alphas[t], self.sigmas[t]).to(device)
        guidance = random_guidance(len(y), generator).to(device)
        y, times = y.to(device), t.to(device)
        with torch.no_grad():
            first = guided(self.teacher, noisy, times, y, guidance, self.batches.null)
            halfway = self.ddim(noisy, first, t, middle)
            second = guided(self.teacher, halfway, middle.to(device), y, guidance, self.batches.null)
            target = self.output_to_reach(self.ddim(halfway, second, middle, end), noisy, t, end)
        return F.mse_loss(student(noisy, times, y, guidance=guidance).float(), target)

    def ddim(self, noisy: Tensor, output: Tensor, t: Tensor, end: Tensor) -> Tensor:
        """Return the latents (B, C, h, w) after one DDIM step from timesteps `t` to `end`, (B,) each."""
        alpha, sigma = self._at(t, noisy)
        clean = clean_estimate(output, noisy, alpha, sigma, self.prediction)
        noise = (noisy - alpha * clean) / sigma
        return add_noise(clean, noise, *self._at(end, noisy))

    def output_to_reach(self, arrived: Tensor, noisy: Tensor, t: Tensor, end: Tensor) -> Tensor:
        """Return the prediction with which one step from `noisy` ends at `arrived` (arXiv 2202.00512, equation 8)."""
        (alpha, sigma), (alpha_end, sigma_end) = self._at(t, noisy), self._at(end, noisy)
        ratio = sigma_end / sigma
        clean = (arrived - ratio * noisy) / (alpha_end - ratio * alpha)
        return training_target(clean, (noisy - alpha * clean) / sigma, alpha, sigma, self.prediction)

    def _at(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return alpha and sigma at `t`, (B, 1, 1, 1) each."""
        return self.alphas[t].to(like).view(-1, 1, 1, 1), self.sigmas[t].to(like).view(-1, 1, 1, 1)
