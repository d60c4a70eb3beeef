"""MeanFlow and shortcut models: a second timestep embedder, and samples in one or few steps of Euler's method."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from dit_core.errors import BadRequest
from dit_core.models.dit import StepEmbedder
from dit_core.models.model import build_dit
from dit_core.models.presets import DiTConfig
from dit_core.models.schedule import END, SPAN, STEPS, VELOCITIES, ScheduleConfig, alphas_sigmas
from dit_core.models.sources import add, find
from dit_core.models.sources.options import Options
from dit_core.sampling.config import SamplingConfig
from dit_core.sampling.loop import sample_latents
from dit_core.sampling.noise import starting_noise
from dit_core.sampling.solvers import STRAIGHT
from dit_core.techniques.distillation import cut
from tests.models.published_files import SIZE, autoencoder, state_dict

MEAN = replace(SIZE, velocity="mean_flow", second_time="span")
WIDTH = 0.5  # standard deviation of the images that `Gaussian` knows


def flow_map(z, s, r):
    """Where the flow of images N(0, WIDTH^2) takes latents `z` on the straight path from share of noise s to r."""
    return z * (((1 - r) ** 2 * WIDTH**2 + r**2) / ((1 - s) ** 2 * WIDTH**2 + s**2)) ** 0.5


class Gaussian(torch.nn.Module):
    """A network that knows the mean velocity between two times exactly, from what the embedders would get."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.dit = build_dit(config)
        self.dit.r_embedder.forward = lambda value: value  # what it would embed
        self.dit._predict = self.velocity
        self.config = config
        self.forward = self.dit.forward

    def velocity(self, z, t, y, guidance, step):
        t, step = t[0].double(), step[0].double()
        s = {"flow": t / 1000, "sit": 1 - t, "mean_flow": t}[self.config.velocity]
        end = {"flow": step / 1000, "sit": 1 - step, "mean_flow": step}[self.config.velocity]
        span = step / 1000 if self.config.velocity == "flow" else step
        r = {"end": end, "span": s - span, "steps": s - 2.0**-step}[self.config.second_time]
        if s - r < 1e-6:  # the velocity itself, by a difference
            r = s - 1e-6
        mean = (z - flow_map(z, s, r)) / (s - r)
        return -mean if self.config.velocity == "sit" else mean


@pytest.mark.parametrize("velocity", VELOCITIES)
@pytest.mark.parametrize(
    ("second_time", "scheduler", "steps"),
    [
        *((second, scheduler, steps) for second in (END, SPAN) for scheduler in STRAIGHT for steps in (1, 2, 4)),
        *((STEPS, "euler", steps) for steps in (1, 2, 4)),  # only equal steps are a power of two
    ],
)
def test_a_network_of_mean_velocities_samples_exactly_in_any_number_of_steps(
    tiny_model, velocity, second_time, scheduler, steps
):
    config = replace(tiny_model.config.dit, velocity=velocity, second_time=second_time, learn_sigma=False)
    schedule = ScheduleConfig()
    model = replace(tiny_model, dit=Gaussian(config), config=replace(tiny_model.config, dit=config, schedule=schedule))
    out = sample_latents(model, torch.tensor([0, 1]), [3, 4], SamplingConfig(scheduler, steps=steps, guidance=1.0))
    noise = starting_noise(model.latent_shape, [torch.Generator().manual_seed(seed) for seed in (3, 4)], out.device)
    alpha, sigma = (float(level[-1]) for level in alphas_sigmas(schedule))
    exact = flow_map(noise / (alpha + sigma), sigma / (alpha + sigma), 0.0)
    # the path begins at s = 0.994 instead of 1, which is no power of two
    tolerance = 0.02 if second_time == STEPS else 1e-3
    torch.testing.assert_close(out, exact, rtol=0, atol=tolerance * float(exact.abs().max()))


def test_other_solvers_and_training_get_the_velocity_at_one_time():
    embedder = StepEmbedder(8, "span", "flow")
    embedder.forward = lambda value: value
    assert embedder.embed(torch.tensor([0.5, 0.25])).tolist() == [0, 0]
    embedder.second_time = "steps"
    assert embedder.embed(torch.tensor([0.5])).tolist() == [7]  # the shortest step of the training
    embedder.second_time = "end"
    assert embedder.embed(torch.tensor([0.5])).tolist() == [500]


def test_the_second_embedding_is_added_to_the_condition():
    plain, mean = build_dit(replace(SIZE, velocity="mean_flow")), build_dit(MEAN)
    state = state_dict()
    bias = torch.randn(SIZE.hidden_size, generator=torch.Generator().manual_seed(1))
    plain.load_state_dict(
        {**state, "y_embedder.embedding_table.weight": state["y_embedder.embedding_table.weight"] + bias}
    )
    zero = {key: torch.zeros_like(value) for key, value in mean.state_dict().items() if key.startswith("r_embedder")}
    mean.load_state_dict({**state, **zero, "r_embedder.mlp.2.bias": bias})
    x, t, y = torch.randn(2, 4, 8, 8), torch.tensor([3, 900]), torch.tensor([0, 1])
    with torch.no_grad():
        torch.testing.assert_close(mean(x, t, y), plain(x, t, y), atol=1e-4, rtol=1e-4)


def test_a_narrower_student_keeps_the_second_embedder():
    teacher = build_dit(MEAN)
    size = replace(MEAN, hidden_size=192, num_heads=3, depth=1)
    channels = torch.arange(0, 384, 2)
    student = cut(teacher, size, channels)
    torch.testing.assert_close(student.r_embedder.mlp[0].weight, teacher.r_embedder.mlp[0].weight[channels])
    assert student(torch.randn(1, 4, 8, 8), torch.tensor([5]), torch.tensor([0])).shape == (1, 4, 8, 8)


@pytest.fixture
def vae(tmp_path) -> str:
    autoencoder().save_pretrained(tmp_path / "vae")
    return str(tmp_path / "vae")


def checkpoint(tmp_path, embedder: str = "r_embedder"):
    state = {key: value.clone() for key, value in build_dit(MEAN).state_dict().items()}
    path = tmp_path / f"{embedder}.safetensors"
    save_file({key.replace("r_embedder", embedder): value for key, value in state.items()}, path)
    return path


@pytest.mark.parametrize("embedder", ["r_embedder", "dt_embedder"])
def test_a_checkpoint_with_a_second_embedder_is_read_once_its_meaning_is_stated(tmp_path, vae, embedder):
    path = checkpoint(tmp_path, embedder)
    with pytest.raises(BadRequest, match=r"second timestep embedder: .*second_time"):
        find(str(path))
    source = add("mine", str(path), Options(autoencoder=vae, prediction="mean_flow", second_time="span"))
    assert source.size.second_time == "span"
    assert "second timestep span" in source.description
    torch.testing.assert_close(source._network().r_embedder.mlp[2].weight, build_dit(MEAN).r_embedder.mlp[2].weight)
    other = add("other", str(path), Options(autoencoder=vae, prediction="mean_flow", second_time="end"))
    assert other.digest != source.digest


def test_options_that_do_not_fit_a_checkpoint_are_refused(tmp_path, vae):
    save_file(state_dict(), tmp_path / "plain.safetensors")
    with pytest.raises(BadRequest, match="no second timestep embedder"):
        add("a", str(tmp_path / "plain.safetensors"), Options(autoencoder=vae, second_time="end", prediction="sit"))
    with pytest.raises(BadRequest, match="needs a velocity"):
        add("b", str(checkpoint(tmp_path)), Options(autoencoder=vae, second_time="end"))
    with pytest.raises(BadRequest, match="second_time must be one of"):
        Options(second_time="start")


@pytest.mark.slow
def test_an_export_tells_what_the_second_embedder_gets(tmp_path, vae):
    from dit_core.experiment.export import export
    from dit_core.records.spec import RunSpec

    add("mean", str(checkpoint(tmp_path)), Options(autoencoder=vae, prediction="mean_flow", second_time="span"))
    for form, file in (("folder", ""), ("safetensors", "dit.safetensors"), ("pt", "dit.pt")):
        export(RunSpec(model="mean", scheduler="euler", steps=1), tmp_path / form, form=form)
        assert find(str(tmp_path / form / file)).size == find("mean").size
