"""bench.json as Markdown: one table per measure, one row per contender."""
NAMES = {("handler", "large"): "our function, large model", ("handler", "small"): "our function, small model",
         ("plain", "large"): "our large network, int8", ("plain", "small"): "our small network, int8",
         ("plain", "reference"): "the reference, float32"}
ENGINES = {"litert": "LiteRT", "tflite-runtime": "tflite-runtime", "openvino": "OpenVINO",
           "openvino-onnx": "OpenVINO, from ONNX", "onnxruntime": "ONNX Runtime, from ONNX"}


def markdown(found: dict) -> str:
    rows = {key: [row for row in found["rows"] if (row["function"], row["network"]) == key] for key in NAMES}
    versions = sorted({row["version"] for row in found["rows"] if "version" in row})
    parts = [f"`make bench`, {found['machine']}, {', '.join(versions)}; {found['rounds']} rounds.",
             "### The network alone",
             "Milliseconds per photo: batch size 1, one thread. The highest probability that the engines give the "
             "photo must be the same for the same network."]
    parts += [table(rows["plain", network], {"ms": "small_network", "probability": "probability"})
              for network in ("large", "small", "reference")]
    functions = rows["handler", "large"] + rows["handler", "small"]
    functions += [row for row in rows["plain", "reference"] if row["engine"] in ("litert", "tflite-runtime")]
    for photo, (width, height) in found["photos"].items():
        parts += [f"### A whole request with a photo of {width} x {height}",
                  "Milliseconds from a JPEG to JSON, and of two parts alone: “decode” makes the network's input.",
                  table(functions, {"ms": f"{photo}_request", "decode": f"{photo}_decode",
                                    "network": f"{photo}_network"})]
    parts += ["### Cold start, memory and size",
              "Milliseconds from the start of a process to its first answer. Megabytes: the peak memory with that "
              "answer, and with a photo of 3000 x 4000; the model file. The last rows are engines alone.",
              table(functions + rows["plain", "large"], {
                  "ms": "start", "memory": "start_memory", "memory, large photo": "memory", "model": "model_size"})]
    return "\n\n".join(parts) + "\n"


def table(rows: list[dict], columns: dict[str, str]) -> str:
    """`columns`: heading -> key. The first one also gets its quartiles, and the ratio to the first row that has one."""
    (heading, main), *others = columns.items()
    lines = [["contender", "engine", heading, "quartiles", "ratio", *(name for name, _ in others)]]
    lines.append(["---", "---"] + ["--:"] * (len(columns) + 2))
    first = next((row[main]["median"] for row in rows if "error" not in row), None)
    for row in rows:
        cells = [NAMES[row["function"], row["network"]], ENGINES[row["engine"]]]
        if "error" in row:
            cells += [row["error"].replace("|", "\\|")] + [""] * (len(columns) + 1)
        else:
            q1, median, q3 = row[main].values()
            cells += [number(median), f"{number(q1)} – {number(q3)}", f"{number(median / first)} ×"]
            cells += [number(row[key]["median"]) for _, key in others]
        lines.append(cells)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(figure: float) -> str:
    """Three digits, or all those before the point."""
    return f"{figure:,.0f}" if figure >= 99.95 else f"{figure:#.3g}"
