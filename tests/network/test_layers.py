"""Layers between memory and output units."""

import torch
from torch import nn

from rlrnn.network.layers import Mlp


def test_normalised_layers_by_hand() -> None:
    head = Mlp(2, [3], nn.ReLU, norm=True)
    with torch.no_grad():
        head.affine[0].weight.copy_(torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 6.0]]))
        head.affine[0].bias.zero_()
        head.gains[0].copy_(torch.tensor([2.0, 2.0, 1.0]))
        head.biases[0].copy_(torch.tensor([5.0, 0.5, 0.0]))
    # Sums 1, 2, 9: mean 4, deviation sqrt(38 / 3); the second is normalised to -0.5620 and ends below 0.
    deviation = (38.0 / 3.0 + 1e-5) ** 0.5
    expected = torch.tensor([5.0 - 6.0 / deviation, 0.0, 5.0 / deviation])
    torch.testing.assert_close(head(torch.tensor([1.0, 1.0])).detach(), expected)
