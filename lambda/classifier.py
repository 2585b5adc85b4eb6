"""From the pictures that a request asks about to answers: load the model once, fetch, decode, predict.

Environment: MODEL_PATH, the model file (model.tflite beside this file).
"""
import io
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from model import Model
from preprocess import ImageError, ImageTooLarge, NotAnImage, preprocess
from request import RequestError, Source, decode_base64
from telemetry import timed

STATUS = {NotAnImage: 415, ImageTooLarge: 413, ImageError: 422}


class Answer(NamedTuple):
    """About one picture. scores: label to probability, highest first; confident: the highest reaches the threshold."""
    scores: dict[str, float]
    confident: bool


def load() -> Model:
    """The model with a thread per CPU, and warm: the first request takes no longer than the others."""
    memory = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")  # Lambda gives a CPU per 1,769 MB, but shows more
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    model = Model(os.environ.get("MODEL_PATH", Path(__file__).with_name("model.tflite")),
                  threads=max(1, round(int(memory) / 1769)) if memory else cpus)
    jpeg = io.BytesIO()
    Image.new("RGB", (8, 8)).save(jpeg, "JPEG")
    model.predict(preprocess(jpeg.getvalue(), model.size))
    return model


MODEL = load()
THRESHOLD = MODEL.record.get("confidence_threshold") or 0


def classify(asked: list[Source], record: dict) -> list[Answer | RequestError]:
    """About each picture an answer, or the error that stands in its place; `record` gets the times and sizes."""
    record.update(kind=asked[0].kind, images=len(asked), bytes=0)
    contents = [source.value for source in asked]
    if record["kind"] == "url":
        import fetch  # and with it http, ssl and email, which other requests don't need
        with timed(record, "fetch_ms"):
            contents = fetch.fetch_all(contents)
    answers = []
    for content in contents:
        try:
            if isinstance(content, RequestError):
                raise content
            image = decode_base64(content) if record["kind"] == "base64" else content
            record["bytes"] += len(image)
            answers.append(_answer(image, record))
        except RequestError as error:
            answers.append(error)
    return answers


def _answer(content: bytes, record: dict) -> Answer:
    try:
        with timed(record, "decode_ms"):
            image = preprocess(content, MODEL.size)
    except ImageError as error:
        raise RequestError(STATUS[type(error)], str(error)) from None
    with timed(record, "model_ms"):
        probabilities = MODEL.predict(image).astype(np.float64)
    probabilities /= probabilities.sum()
    highest_first = np.argsort(-probabilities, kind="stable")
    scores = {MODEL.labels[index]: round(float(probabilities[index]), 8) for index in highest_first}
    return Answer(scores, bool(probabilities.max() >= THRESHOLD))
