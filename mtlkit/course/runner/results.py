"""What a course run leaves: `index.html` for people, `results.json` for programs."""

import json
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mtlkit.course.runner.notebooks import NotebookRun
from mtlkit.course.runner.report import write_report
from mtlkit.files import write_text


def environment_facts(mode: str, shop: int = 0) -> dict[str, str]:
    """What a reader of the report must know: versions, platform, threads, mode, shop, date."""
    try:
        import torch

        device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "CPU"
        version, threads = str(torch.__version__), f"{torch.get_num_threads()} threads"
    except ImportError:  # every notebook has failed then, and the report still says why
        device, version, threads = "unknown", "not installed", "no threads counted"
    return {
        "Sizes": "full lessons" if mode == "full" else "smoke (small, fast; numbers are rough)",
        **({"Shop": f"seed {shop}, in notebooks that take one"} if shop else {}),
        "Date": time.strftime("%Y-%m-%d %H:%M"),
        "Python": platform.python_version(),
        "PyTorch": version,
        "Device": f"{device}, {threads}",
        "System": f"{platform.system()} {platform.machine()}",
    }


def write_results(
    runs: Sequence[NotebookRun], output: Path, mode: str, seconds: float, shop: int = 0
) -> None:
    """Write ``index.html`` for people and ``results.json`` for programs."""
    facts = environment_facts(mode, shop)
    rows = []
    for run in runs:
        row: dict[str, Any] = {"notebook": run.name, "copy": run.copy, "title": run.title}
        row |= {"status": run.status, "seconds": round(run.seconds, 2)}
        row["failure"] = run.failure.sentence() if run.failure else None
        rows.append(row | {"records": run.records})
    summary = {"mode": mode, "seconds": round(seconds, 2), "facts": facts, "notebooks": rows}
    text = json.dumps(summary, ensure_ascii=False, indent=1) + "\n"
    write_text(output / "results.json", text, errors="replace")
    write_report(runs, output / "index.html", facts, seconds)
