"""LitServe with batching: `python -m serving.lit PORT`."""

import sys
from typing import Any

import litserve
import numpy as np
import torch

from serving.passes import Passes, Rows

BATCH, WAIT_SECONDS = 16, 0.005

Item = tuple[Rows, list[float | None]]


class Api(litserve.LitAPI):
    def setup(self, device: str) -> None:
        torch.set_num_threads(1)  # it gains by that, too
        self.passes = Passes()

    def decode_request(self, request: dict[str, Any]) -> Item:
        observed = request.get("heart_rate") or []
        return self.passes.inputs(request["speed"], request["altitude"], observed), observed

    def batch(self, inputs: list[Item]) -> list[Item]:
        return inputs

    def predict(self, items: list[Item]) -> list[Item]:
        outputs = self.passes.run(np.concatenate([rows for rows, _ in items]))
        ends = np.cumsum([len(rows) for rows, _ in items])[:-1]
        return list(zip(np.split(outputs, ends), [observed for _, observed in items], strict=True))

    def unbatch(self, output: list[Item]) -> list[Item]:
        return output

    def encode_response(self, output: Item) -> dict[str, list[float]]:
        return {"heart_rate": self.passes.answer(*output)}


if __name__ == "__main__":
    api = Api(max_batch_size=BATCH, batch_timeout=WAIT_SECONDS)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", generate_client_file=False)
