"""Classify the images of a request. The model is loaded once; each image is fetched, decoded and classified.

Environment: MODEL_PATH, the model file (model.tflite beside this file).
"""
import io
import os
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from model import Model
from preprocess import ImageError, ImageTooLarge, NotAnImage, preprocess
from request import RequestError, Source, decode_base64
from telemetry import timed

SECONDS = 8.0  # of decoding or of processor time, after which the remaining images of a list get an error
STATUS = {NotAnImage: 415, ImageTooLarge: 413, ImageError: 422}


class Answer(NamedTuple):
    """The answer for one image.

    scores: label to probability, highest first.
    familiarity: how much the image resembles the training photos, 0 to 1; familiar: whether it reaches its threshold.
    confident: whether both the highest probability and the familiarity reach their thresholds.
    """
    scores: dict[str, float]
    familiarity: float
    familiar: bool
    confident: bool


def load() -> Model:
    """Load the model, one thread per CPU, and run it once, so that the first request is as fast as the others."""
    memory = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")  # Lambda grants one CPU per 1,769 MB, but shows more
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    model = Model(os.environ.get("MODEL_PATH", Path(__file__).with_name("model.tflite")),
                  threads=max(1, round(int(memory) / 1769)) if memory else cpus)
    jpeg = io.BytesIO()
    Image.new("RGB", (8, 8)).save(jpeg, "JPEG")
    model.predict(preprocess(jpeg.getvalue(), model.size))
    return model


MODEL = load()


def classify(asked: list[Source], record: dict) -> list[Answer | RequestError]:
    """An answer for each image, or the error that takes its place; times and sizes go into `record`."""
    started = time.process_time()
    record.update(kind=asked[0].kind, images=len(asked), bytes=0)
    contents = [source.value for source in asked]
    if record["kind"] == "url":
        import fetch  # late, as it imports http, ssl and email, which other requests don't need
        with timed(record, "fetch_ms"):
            contents = fetch.fetch_all(contents)
    answers = []
    for content in contents:
        try:
            if isinstance(content, RequestError):
                raise content
            if record.get("decode_ms", 0) > SECONDS * 1e3 or time.process_time() - started > SECONDS:
                raise RequestError(413, f"decoding the images before this one took over {SECONDS:.0f} seconds; "
                                        "send fewer or smaller images in a request")
            image = decode_base64(content) if record["kind"] == "base64" else content
            record["bytes"] += len(image)
            answers.append(_answer(image, record))
        except RequestError as error:
            answers.append(error.with_traceback(None))  # the traceback would hold on to what was decoded
    return answers


def _answer(content: bytes, record: dict) -> Answer:
    refusal = None
    try:
        with timed(record, "decode_ms"):
            image = preprocess(content, MODEL.size)
    except ImageError as error:
        refusal = RequestError(STATUS[type(error)], str(error))
    if refusal:
        raise refusal  # outside of `except`, so that it does not hold on to the other one and its traceback
    with timed(record, "model_ms"):
        probabilities, familiarity = MODEL.predict(image)
    highest_first = np.argsort(-probabilities, kind="stable")
    scores = {MODEL.labels[index]: round(float(probabilities[index]), 8) for index in highest_first}
    return Answer(scores, round(familiarity, 3), MODEL.is_familiar(familiarity),
                  MODEL.is_confident(probabilities.max(), familiarity))
