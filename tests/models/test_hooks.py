import pytest
import torch
from torch import nn

from dit_core.models.hooks import hooked


@pytest.fixture
def network():
    return nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2))


def hooks_left(network):
    return [module for module in network.modules() if module._forward_hooks or module._forward_pre_hooks]


def test_inputs_and_outputs_arrive_with_the_index_of_their_module(network):
    inputs, outputs = [], []
    with hooked(
        network,
        pre=lambda index, args: inputs.append((index, args[0].shape)),
        post=lambda index, args, output: outputs.append((index, output.shape)),
    ):
        network(torch.zeros(4, 3))
    assert inputs == [(0, (4, 3)), (1, (4, 3)), (2, (4, 3))]
    assert outputs == [(0, (4, 3)), (1, (4, 3)), (2, (4, 2))]


def test_modules_of_a_mapping_are_identified_by_their_keys(network):
    keys = []
    with hooked({"first": network[0], "last": network[2]}, pre=lambda key, args: keys.append(key)):
        network(torch.zeros(1, 3))
    assert keys == ["first", "last"]


def test_what_a_callback_returns_does_not_change_the_network(network):
    x = torch.randn(2, 3)
    expected = network(x)
    with hooked(network, pre=lambda index, args: (torch.zeros(2, 3),), post=lambda *call: torch.zeros(2, 2)):
        assert torch.equal(network(x), expected)


def test_no_hook_is_left_after_the_block_nor_after_an_exception_in_it(network):
    calls = []
    with pytest.raises(ZeroDivisionError), hooked(network, pre=calls.append, post=calls.append):
        raise ZeroDivisionError
    assert not hooks_left(network)
    with hooked(network, post=lambda *call: calls.append(call)):
        network(torch.zeros(1, 3))
    assert len(calls) == 3
    assert not hooks_left(network)
    network(torch.zeros(1, 3))
    assert len(calls) == 3
