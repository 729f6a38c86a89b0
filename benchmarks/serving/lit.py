"""LitServe and the same passes: `python -m serving.lit PORT [--workers 2] [--apis 2] [--fast-queue] [--batch 16]`."""

import argparse
from typing import Any

import litserve
import numpy as np
import orjson
import torch
from starlette.responses import Response

from serving.passes import Passes, Rows, Values

WAIT_SECONDS = 0.005  # for a batch to fill; with 0 an idle worker spins

Item = tuple[Rows, Values]


class Api(litserve.LitAPI):
    def setup(self, device: str) -> None:
        torch.set_num_threads(1)  # it gains by that, too
        self.passes = Passes()

    def decode_request(self, request: dict[str, Any]) -> Item:
        observed = request.get("heart_rate") or []
        return self.passes.inputs(request["speed"], request["altitude"], observed), observed

    def batch(self, inputs: list[Item]) -> list[Item]:
        return inputs

    def predict(self, items: list[Item] | Item) -> list[Item] | Item:
        """The items with their outputs for their inputs: of a whole batch, or of one item where there are none."""
        if isinstance(items, tuple):
            return self.passes.run(items[0]), items[1]
        outputs = self.passes.run(np.concatenate([rows for rows, _ in items]))
        ends = np.cumsum([len(rows) for rows, _ in items])[:-1]
        return list(zip(np.split(outputs, ends), [observed for _, observed in items], strict=True))

    def unbatch(self, output: list[Item]) -> list[Item]:
        return output

    def encode_response(self, output: Item) -> Response:
        answer = {"heart_rate": self.passes.answer(*output)}
        return Response(orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--apis", type=int, default=1)
    parser.add_argument("--fast-queue", action="store_true")
    parser.add_argument("--batch", type=int, default=8)
    options = parser.parse_args()
    api = Api(max_batch_size=options.batch, batch_timeout=WAIT_SECONDS if options.batch > 1 else 0.0)
    server = litserve.LitServer(
        api, accelerator="cpu", workers_per_device=options.workers, fast_queue=options.fast_queue
    )
    server.run(
        host="127.0.0.1",
        port=options.port,
        num_api_servers=options.apis,
        log_level="warning",
        generate_client_file=False,
    )
