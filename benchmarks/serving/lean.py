"""As a careful engineer writes it: an async route, orjson, one torch thread. `uvicorn serving.lean:app --workers 2`."""

import orjson
import torch
from fastapi import FastAPI, Request, Response

from serving.passes import Passes

torch.set_num_threads(1)
app, passes = FastAPI(), Passes()


async def predict(request: Request) -> Response:
    body = orjson.loads(await request.body())
    observed = body.get("heart_rate") or []
    rows = passes.inputs(body["speed"], body["altitude"], observed)
    answer = {"heart_rate": passes.answer(passes.run(rows), observed)}
    return Response(orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")


app.add_route("/predict", predict, methods=["POST"])  # Starlette's own: FastAPI would look for parameters to validate
