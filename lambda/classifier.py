"""Classify the images of a request: fetch, decode, predict. The model is loaded once."""
import os
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from model import Model
from preprocess import ImageError, preprocess
from request import Images, RequestError, decode_base64
from telemetry import timed

SECONDS = 8.0  # of processor time, after which the remaining images of a list get an error


class Answer(NamedTuple):
    scores: dict[str, float]  # label to probability, highest first
    familiarity: float  # from 0 to 1, see Model.predict
    familiar: bool  # whether that reaches its threshold
    confident: bool  # whether the highest probability also reaches its threshold


def load() -> Model:
    """The model, with a thread per CPU. It has run once, so that the first request is not slower."""
    memory = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")  # Lambda grants one CPU per 1,769 MB, but shows more
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    model = Model(os.environ.get("MODEL_PATH", Path(__file__).with_name("model.tflite")),
                  threads=max(1, round(int(memory) / 1769)) if memory else cpus)
    model.predict(np.zeros((*model.size, 3), np.uint8))
    return model


MODEL = load()


def classify(images: Images, record: dict, top: int | None = None) -> list[Answer | RequestError | ImageError]:
    """An answer with the `top` labels for each image, or an error. Times and sizes go into `record`."""
    deadline = time.process_time() + SECONDS
    contents = images.values
    record.update(kind=images.kind, images=len(contents), bytes=0)
    if images.kind == "url":
        import fetch  # late, as other requests don't need http, ssl and email
        with timed(record, "fetch_ms"):
            contents = fetch.fetch_all(contents)
    answers = []
    for content in contents:
        try:
            if time.process_time() > deadline:
                raise RequestError(413, f"the images before this one took over {SECONDS:.0f} seconds; "
                                        "send fewer or smaller ones")
            answers.append(_answer(content, record, top))
        except (RequestError, ImageError) as error:
            answers.append(error.with_traceback(None))  # the traceback would hold on to what was decoded
    return answers


def _answer(content: bytes | str | RequestError, record: dict, top: int | None) -> Answer:
    if isinstance(content, RequestError):
        raise content
    image = decode_base64(content) if record["kind"] == "base64" else content
    record["bytes"] += len(image)
    with timed(record, "decode_ms"):
        pixels = preprocess(image, MODEL.size)
    with timed(record, "model_ms"):
        probabilities, familiarity = MODEL.predict(pixels)
    highest_first = np.argsort(-probabilities, kind="stable")[:top]
    scores = {MODEL.labels[index]: round(float(probabilities[index]), 8) for index in highest_first}
    return Answer(scores, round(familiarity, 3), MODEL.is_familiar(familiarity),
                  MODEL.is_confident(probabilities.max(), familiarity))
