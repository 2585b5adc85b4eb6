"""bench.json as Markdown: one table per measure, one row per contender."""
from bench.engines import ENGINES

NAMES = {("handler", "large"): "our function, large model", ("handler", "small"): "our function, small model",
         ("plain", "large"): "our large network, int8", ("plain", "small"): "our small network, int8",
         ("plain", "reference"): "the reference, float32"}


def markdown(found: dict) -> str:
    def rows(function: str, *networks: str) -> list[dict]:
        return [row for row in found["rows"] if row["function"] == function and row["network"] in networks]

    parts = [origin(found), "### The network alone",
             "Milliseconds per photo: batch size 1, one thread. The highest probability that the engines give the "
             "photo must be the same for the same network."]
    for network in ("large", "small", "reference"):
        parts.append(table(rows("plain", network), {"ms": "small_network", "probability": "probability"}))
    functions = rows("handler", "large", "small")
    functions += [row for row in rows("plain", "reference") if row["engine"] in ("litert", "tflite-runtime")]
    for photo, (width, height) in found["photos"].items():
        parts += [f"### A whole request with a photo of {width} x {height}",
                  "Milliseconds from a JPEG to JSON, and those of its parts measured alone: “decode” turns the JPEG "
                  "into the network's input. Our function reads an event of API Gateway, with the JPEG as base64.",
                  table(functions, {"ms": f"{photo}_request", "decode": f"{photo}_decode",
                                    "network": f"{photo}_network"})]
    parts += ["### Cold start, memory and size",
              "Milliseconds from the start of a process to its first answer, with all files in the page cache. "
              "Megabytes: the peak memory with that answer, and with a photo of 3000 x 4000; the model file. The last "
              "rows are engines with only our preprocessing.",
              table(functions + rows("plain", "large"), {
                  "ms": "start", "memory": "start_memory", "memory, large photo": "memory", "model": "model_size"})]
    return "\n\n".join(parts) + "\n"


def origin(found: dict) -> str:
    versions = sorted({row["version"] for row in found["rows"] if "version" in row})
    return (f"`make bench`, {found['date']}, commit {found['commit']}: {found['cpu']}, {found['cores']} cores, "
            f"{found['system']}, Python {found['python']}, {', '.join(versions)}; {found['rounds']} rounds.")


def table(rows: list[dict], columns: dict[str, str]) -> str:
    """`columns`: heading -> key. The first one also gets its quartiles, and the ratio to the first row's median."""
    (heading, main), *others = columns.items()
    first = rows[0].get(main, {}).get("median")
    lines = [["contender", "engine", heading, "quartiles", "ratio", *(name for name, _ in others)]]
    lines.append(["---", "---"] + ["--:"] * (len(lines[0]) - 2))
    for row in rows:
        cells = [NAMES[row["function"], row["network"]], ENGINES[row["engine"]].name]
        if "error" in row:
            cells.append(row["error"].replace("|", "\\|"))
        else:
            cells += [number(row[main]), f"{number(row[main]['q1'])} – {number(row[main]['q3'])}",
                      f"{number(row[main]['median'] / first)} ×" if first else "–",
                      *(number(row[key]) for _, key in others)]
        lines.append(cells + [""] * (len(lines[0]) - len(cells)))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(figure: float | dict[str, float]) -> str:
    """A figure, or the median of several: three digits, or all those before the point."""
    value = figure["median"] if isinstance(figure, dict) else figure
    digits = sum(value < limit for limit in (0.9995, 9.995, 99.95))
    return f"{value:,.{digits}f}"
