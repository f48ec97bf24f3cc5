from __future__ import annotations

import pytest
import torch
from torch import nn

from icsg3d.models.compact_weights import restored, round_weights, stored


def matrix(rows=50, columns=70, seed=0):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def back(tensor, bits):
    return restored(stored("w", tensor, bits))["w"]


def test_each_number_is_off_by_half_a_step_of_its_group_at_most():
    tensor = matrix() * torch.logspace(-6, 3, 50)[:, None]
    found = back(tensor, 8)
    assert found.shape == tensor.shape
    assert found.dtype == torch.float32
    groups = torch.cat([tensor.flatten(), torch.zeros(-tensor.numel() % 64)]).view(-1, 64)
    steps = (groups.abs().amax(1) / 127).repeat_interleave(64)[: tensor.numel()].view(tensor.shape)
    # The scale itself has eight significant bits, which moves the greatest number by up to 1/256.
    assert ((found - tensor).abs() <= 0.5 * steps + tensor.abs() / 256).all()
    assert (found - tensor).norm() < 0.01 * tensor.norm()


def test_whole_numbers_of_a_step_come_back_exactly():
    tensor = torch.tensor([[-127, -3, 0, 1, 64, 127]]).repeat(11, 1) * 2.0**-9
    assert torch.equal(back(tensor, 8), tensor)


def test_what_was_rounded_once_is_rounded_to_itself():
    for seed in range(20):
        once = back(matrix(seed=seed) * 10.0 ** -(seed % 7), 8)
        assert torch.equal(back(once, 8), once)


def test_eight_bits_take_a_little_over_a_byte_a_number():
    size = sum(t.numel() * t.element_size() for t in stored("w", matrix(640, 100), 8).values())
    assert size == 640 * 100 + 2 * 1000


@pytest.mark.parametrize(("bits", "dtype"), [(8, torch.float16), (16, torch.float16), (32, torch.float32)])
def test_vectors_keep_sixteen_bits(bits, dtype):
    assert stored("b", torch.ones(100), bits)["b"].dtype == dtype


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_a_rounded_network_is_what_is_read_again(bits):
    torch.manual_seed(1)
    network = nn.Sequential(nn.Linear(30, 40), nn.Linear(40, 3))
    round_weights(network, bits)
    for tensor in network.state_dict().values():
        assert torch.equal(back(tensor, bits).float(), tensor)


def test_zeros_stay_zeros():
    assert torch.equal(back(torch.zeros(3, 50), 8), torch.zeros(3, 50))


def test_other_tensors_pass():
    tensors = {"a": torch.arange(3), "b": torch.ones(2, 2)}
    assert restored(tensors) == tensors


@pytest.mark.parametrize("scales", [torch.ones(54), torch.ones(56), torch.ones(55, 1), torch.ones(())])
def test_scales_that_do_not_fit_are_refused(scales):
    whole = stored("w", matrix(), 8)["w"]  # 3,500 numbers in 55 groups
    with pytest.raises(ValueError, match="scales of the weights w do not fit"):
        restored({"w": whole, "w@scales": scales.bfloat16()})


def test_scales_of_numbers_that_have_none_are_refused():
    with pytest.raises(ValueError, match="scales of the weights w do not fit"):
        restored({"w": torch.ones(64), "w@scales": torch.ones(1)})


def test_rounding_to_sixteen_bits_is_that_of_half_precision_and_in_place():
    layer = nn.Linear(3, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1 / 3, 1.0, 2.0**-13]]))
    assert round_weights(layer, 16) is layer
    assert layer.weight.tolist() == [[0.333251953125, 1.0, 2.0**-13]]
    assert layer.weight.dtype == torch.float32
