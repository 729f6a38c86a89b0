"""A checkpoint's network in ONNX Runtime, for the passes of predictions. torch trains and evaluates it.

docs/explanation/decisions/serving.md has the measurements that chose this runtime.
"""

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from hrmodel.network.checkpoint import Checkpoint
from hrmodel.network.onnx import LAST_LAYER, to_onnx

PASS_STEPS = 2048  # of all rows: with more, the gates of a pass (1 kB a step) leave the cache and take a fifth longer
ERRORS = 3  # severity: warnings about devices that are not there are no news


class Inference:
    """Runs passes on one thread. Safe for threads: a pass changes nothing in it.

    No bit of a row's output depends on the other rows of its pass: each is multiplied with the same packed weights in
    the same order. So a batch may hold other requests.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        """Raises UnsupportedNetwork for a network that `to_onnx` does not support."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = options.enable_mem_pattern = False  # 7 MB a model otherwise, and not faster
        options.log_severity_level = ERRORS
        self._session = onnxruntime.InferenceSession(
            to_onnx(checkpoint, last_layer=True), options, providers=["CPUExecutionProvider"]
        )
        self._layers, self._units = checkpoint.network.num_layers, checkpoint.network.hidden_size

    def run(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """inputs: (B, T, F) -> (B, T, 1 + H), as the network's `outputs` within 1e-5."""
        rows = max(2, PASS_STEPS // inputs.shape[1])
        if len(inputs) <= rows:
            return self._run(inputs)
        return np.concatenate([self._run(part) for part in np.array_split(inputs, -(-len(inputs) // rows))])

    def _run(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        start = np.zeros((self._layers, len(inputs), self._units), dtype=np.float32)
        outputs: list[NDArray[np.float32]] = self._session.run(
            [LAST_LAYER], {"inputs": inputs, "hidden": start, "cell": start}
        )
        return outputs[0]
