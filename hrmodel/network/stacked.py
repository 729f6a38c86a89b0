"""The networks of many people at once: P sets of weights side by side, so that one step of the recurrence serves all.

A small LSTM waits at each step for the step before; on a GPU a step of one person takes as long as a step of hundreds.
P people, T steps, B sequences of each, H hidden units.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Weights = Mapping[str, Tensor]  # by the name in HeartRateLSTM, (P, ...)


def run_upper(weights: Weights, hidden: Tensor, from_layer: int, layers: int, dropout: Sequence[Tensor]) -> Tensor:
    """(P, T, B, F or H) output of the layer below `from_layer` -> (P, T, B): `HeartRateLSTM.upper` of each person.

    `dropout`: masks (P, T, B, H) for the input of each layer that has one below; empty: nothing is dropped.
    """
    for layer in range(from_layer, layers):
        if layer > 0 and dropout:
            hidden = hidden * dropout[layer - layers]
        own = [weights[f"lstm.{name}_l{layer}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        hidden = _Layer.apply(hidden, *own)
    people, steps, rows, size = hidden.shape
    flat = torch.baddbmm(weights["fc.bias"][:, None], hidden.reshape(people, -1, size), weights["fc.weight"].mT)
    return flat.view(people, steps, rows)


class _Layer(torch.autograd.Function):
    """One LSTM layer of P people, from a state of 0: what nn.LSTM computes, and its gradient.

    Written out because autograd would add up the gradient of the weights step by step; here it is one product over all
    steps, and a step back is one product and four multiplications. Gates are in torch's order: i, f, g, o.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
        """(P, T, B, F) -> (P, T, B, H)."""
        people, steps, rows, features = inputs.shape
        size = w_hh.shape[2]
        flat = inputs.reshape(people, steps * rows, features)
        gates = torch.baddbmm((b_ih + b_hh)[:, None], flat, w_ih.mT).view(people, steps, rows, 4 * size)
        hidden = inputs.new_zeros(people, steps + 1, rows, size)  # place 0: before the first step
        cell, back = torch.zeros_like(hidden), w_hh.mT
        for t in range(steps):
            gate = torch.baddbmm(gates[:, t], hidden[:, t], back)
            i, f, g, o = gates[:, t].view(people, rows, 4, size).unbind(2)
            torch.sigmoid(gate, out=gates[:, t])
            torch.tanh(gate[..., 2 * size : 3 * size], out=g)
            torch.addcmul(f * cell[:, t], i, g, out=cell[:, t + 1])
            torch.mul(o, cell[:, t + 1].tanh(), out=hidden[:, t + 1])
        ctx.save_for_backward(inputs, w_ih, w_hh, gates, hidden, cell)
        return hidden[:, 1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of `forward`'s arguments."""
        inputs, w_ih, w_hh, gates, hidden, cell = ctx.saved_tensors
        people, steps, rows, features = inputs.shape
        size = w_hh.shape[2]
        i, f, g, o = gates.view(people, steps, rows, 4, size).unbind(3)
        bent = cell[:, 1:].tanh()
        through_output = o * (1 - bent.square())  # what a change of hidden is for the cell
        slopes = torch.stack([g * i * (1 - i), cell[:, :-1] * f * (1 - f), i * (1 - g.square())], 3)
        output_slope = bent * o * (1 - o)
        change = torch.empty_like(gates)  # of the loss with each gate before its bend
        parts = change.view(people, steps, rows, 4, size)
        of_cell = grad.new_zeros(people, rows, size)
        of_hidden = grad[:, -1]
        for t in reversed(range(steps)):
            torch.mul(of_hidden, output_slope[:, t], out=parts[:, t, :, 3])
            of_cell = torch.addcmul(of_cell, of_hidden, through_output[:, t])
            torch.mul(slopes[:, t], of_cell.unsqueeze(2), out=parts[:, t, :, :3])
            of_cell = of_cell * f[:, t]
            if t:
                of_hidden = torch.baddbmm(grad[:, t - 1], change[:, t], w_hh)
        flat = change.view(people, steps * rows, 4 * size)
        of_bias = flat.sum(1)
        of_ih = torch.bmm(flat.mT, inputs.reshape(people, steps * rows, features))
        of_hh = torch.bmm(flat.mT, hidden[:, :-1].reshape(people, steps * rows, size))
        of_inputs = torch.bmm(flat, w_ih).view_as(inputs) if ctx.needs_input_grad[0] else None
        return of_inputs, of_ih, of_hh, of_bias, of_bias
