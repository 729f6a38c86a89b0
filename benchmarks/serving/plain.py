"""As it is usually written: FastAPI, pydantic lists and torch in a sync route. `uvicorn serving.plain:app`."""

from fastapi import FastAPI
from pydantic import BaseModel

from serving.passes import Passes

app, passes = FastAPI(), Passes()


class Request(BaseModel):
    subject: str | None = None
    speed: list[float | None]
    altitude: list[float | None]
    heart_rate: list[float | None] | None = None


class Answer(BaseModel):
    heart_rate: list[float]


@app.post("/predict")
def predict(request: Request) -> Answer:
    observed = request.heart_rate or []
    rows = passes.inputs(request.speed, request.altitude, observed)
    return Answer(heart_rate=passes.answer(passes.run(rows), observed).tolist())
