"""The machine's float32 multiply-add peak: the fastest matrix product that NumPy or OpenVINO gets out of it.

    python scripts/bench_peak.py --threads 1      # prints billions of multiply-adds per second, as JSON
"""
import argparse
import json
import os
import time

SIDE, RUNS = 1536, 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, required=True)
    threads = parser.parse_args().threads
    os.environ["OPENBLAS_NUM_THREADS"] = str(threads)  # read when NumPy is imported

    import numpy as np
    import openvino
    from openvino import opset13 as operations

    matrix = np.random.default_rng(0).random((SIDE, SIDE), np.float32)
    left, right = (operations.parameter(matrix.shape, np.float32) for _ in range(2))
    product = openvino.Model([operations.matmul(left, right, False, False)], [left, right])
    compiled = openvino.Core().compile_model(product, "CPU", {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1,
                                                              "INFERENCE_PRECISION_HINT": "f32"})
    request, result = compiled.create_infer_request(), np.empty_like(matrix)
    best = {}
    for _ in range(RUNS):
        for name, multiply in (("NumPy", lambda: np.matmul(matrix, matrix, out=result)),
                               ("OpenVINO", lambda: request.infer({0: matrix, 1: matrix}, share_inputs=True))):
            started = time.perf_counter()
            multiply()
            best[name] = max(best.get(name, 0), SIDE ** 3 / 1e9 / (time.perf_counter() - started))
    name = max(best, key=best.get)
    print(json.dumps({"threads": threads, "by": name, "giga_multiply_adds": best[name]}))


if __name__ == "__main__":
    main()
