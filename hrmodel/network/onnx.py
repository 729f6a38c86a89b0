"""A checkpoint's network as an ONNX file, for other runtimes: one LSTM node per layer and a linear layer."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrmodel.network.checkpoint import METADATA_KEY, Checkpoint
from hrmodel.network.config import NetworkConfig
from hrmodel.network.lstm import HeartRateLSTM

Shape = tuple[int | str, ...]
OPSET, IR_VERSION = 17, 8  # old enough for runtimes of 2022
INPUTS = ("inputs", "hidden", "cell")
OUTPUTS = ("outputs", "last_hidden", "last_cell")
LAST_LAYER = "last_layer"
_GATES = {"weight_ih": "W", "weight_hh": "R"}
DESCRIPTION = """\
One heart rate per step of {step_seconds:g} s. Any number of workouts (batch) and steps; a workout may come in pieces.
inputs (batch, steps, 3): (speed - level.speed) / level.speed_spread; vertical speed in m/s, clipped to \
+-{vertical_speed_clip:g}, / {vertical_speed_scale:g}; the heart rate of the step before as \
(bpm - level.heart_rate) / level.spread. 0 where one is not known.
hidden, cell (layers, batch, units): zeros at a workout's start; then last_hidden and last_cell of the piece before.
outputs (batch, steps): heart rate as (bpm - level.heart_rate) / level.spread.
The metadata entry `stagewise` is JSON: stage, level (null in a base model: contract.population_*), contract, \
configuration.
What the service adds to it (the person's tracked response, the correction by observed heart rate, the band) is not
in this file.
"""


class UnsupportedNetwork(ValueError):
    """A network that ONNX export does not support; the message names the supported ones."""


def to_onnx(checkpoint: Checkpoint, *, last_layer: bool = False) -> bytes:
    """Give the ONNX file (opset 17); DESCRIPTION, which is in it, describes inputs and outputs.

    `last_layer`: with one more output, `last_layer` (batch, steps, 1 + units): `outputs`, then those of the last layer.

    The same checkpoint gives the same bytes. Raises UnsupportedNetwork for a network other than the LSTM, and
    InvalidCheckpoint when the weights do not fit the network.
    """
    # imported at the first export: 30 MB that most API processes never need
    from onnx import TensorProto, helper, numpy_helper

    network = checkpoint.network
    if not isinstance(checkpoint.build(), HeartRateLSTM):
        raise UnsupportedNetwork(
            f"ONNX export supports the architecture lstm, not {network.architecture!r}; "
            "download the checkpoint as safetensors or pt."
        )
    weights = {name: tensor.detach().cpu().numpy().astype(np.float32) for name, tensor in checkpoint.weights.items()}
    constants = {name: array for layer in range(network.num_layers) for name, array in _layer(weights, layer).items()}
    constants |= {"fc.weight": weights["fc.weight"].T, "fc.bias": weights["fc.bias"]}
    constants |= {"axis_1": np.array([1]), "axis_2": np.array([2])}
    state: Shape = (network.num_layers, "batch", network.hidden_size)
    shapes: tuple[Shape, Shape] = ("batch", "steps", network.input_size), ("batch", "steps")
    inputs = zip(INPUTS, (shapes[0], state, state), strict=True)
    outputs = [*zip(OUTPUTS, (shapes[1], state, state), strict=True)]
    nodes = _nodes(network)
    if last_layer:
        outputs.append((LAST_LAYER, (*shapes[1], 1 + network.hidden_size)))
        nodes += _last_layer_nodes(network)
    graph = helper.make_graph(
        nodes=[helper.make_node(kind, reads, gives, **of) for kind, reads, gives, of in nodes],
        name="heart_rate",
        inputs=[helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs],
        outputs=[helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs],
        initializer=[numpy_helper.from_array(array.copy(), name) for name, array in constants.items()],
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="stagewise",
        producer_version=checkpoint.code_version,
        doc_string=DESCRIPTION.format(**checkpoint.contract.to_dict()),
    )
    helper.set_model_props(model, {METADATA_KEY: checkpoint.metadata()})
    data: bytes = model.SerializeToString(deterministic=True)
    return data


_Node = tuple[str, Sequence[str], Sequence[str], dict[str, Any]]  # operator, inputs, outputs, attributes


def _nodes(network: NetworkConfig) -> list[_Node]:
    """Give the graph. Inside, time is the first axis, (T, B, ...): runtimes implement only that layout of an LSTM."""
    layers = range(network.num_layers)
    nodes: list[_Node] = [
        ("Transpose", ["inputs"], ["below_0"], {"perm": [1, 0, 2]}),
        ("Split", ["hidden"], [f"hidden_{layer}" for layer in layers], {"axis": 0}),
        ("Split", ["cell"], [f"cell_{layer}" for layer in layers], {"axis": 0}),
    ]
    for layer in layers:
        weights = [f"{kind}_{layer}" for kind in ("W", "R", "B")]
        reads = [f"below_{layer}", *weights, "", f"hidden_{layer}", f"cell_{layer}"]  # "": no lengths
        gives = [f"directions_{layer}", f"last_hidden_{layer}", f"last_cell_{layer}"]
        nodes.append(("LSTM", reads, gives, {"hidden_size": network.hidden_size}))
        nodes.append(("Squeeze", [f"directions_{layer}", "axis_1"], [f"below_{layer + 1}"], {}))
    return [
        *nodes,
        ("MatMul", [f"below_{network.num_layers}", "fc.weight"], ["product"], {}),
        ("Add", ["product", "fc.bias"], ["sum"], {}),
        ("Squeeze", ["sum", "axis_2"], ["steps_first"], {}),
        ("Transpose", ["steps_first"], ["outputs"], {"perm": [1, 0]}),
        *(("Concat", [f"{name}_{layer}" for layer in layers], [name], {"axis": 0}) for name in OUTPUTS[1:]),
    ]


def _last_layer_nodes(network: NetworkConfig) -> list[_Node]:
    return [
        ("Concat", ["sum", f"below_{network.num_layers}"], ["both_steps_first"], {"axis": 2}),
        ("Transpose", ["both_steps_first"], [LAST_LAYER], {"perm": [1, 0, 2]}),
    ]


def _layer(weights: dict[str, NDArray[np.float32]], layer: int) -> dict[str, NDArray[np.float32]]:
    """Give W (1, 4H, F), R (1, 4H, H) and B (1, 8H) of one layer."""
    biases = [_reordered(weights[f"lstm.{kind}_l{layer}"]) for kind in ("bias_ih", "bias_hh")]
    matrices = {name: _reordered(weights[f"lstm.{kind}_l{layer}"]) for kind, name in _GATES.items()}
    return {f"{name}_{layer}": values[None] for name, values in {**matrices, "B": np.concatenate(biases)}.items()}


def _reordered(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """From torch's order of the gates (input, forget, cell, output) to that of ONNX (input, output, forget, cell)."""
    i, f, c, o = np.split(values, 4)
    return np.concatenate([i, o, f, c])
