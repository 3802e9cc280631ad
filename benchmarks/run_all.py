"""Run every benchmark and write what they print to RESULTS.md, beside the command of each.

python benchmarks/run_all.py
"""

import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(__file__).parent
SCRIPTS = {
    "lanes.py": (),
    "size.py": (),
    "forward.py": (),
    "memory.py": (),
    "startup.py": (),
    "scaling.py": (str(FOLDER / "scaling.svg"),),
    "handwritten.py": (),
    "fits.py": ("0.3",),
    "step_gradient.py": (),
}


def section(script: str, arguments: tuple[str, ...]) -> str:
    """Run one script; return its part of the results."""
    begin = time.monotonic()
    command = [sys.executable, "-W", "ignore", str(FOLDER / script), *arguments]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    print(f"{script}: {time.monotonic() - begin:.0f} s, exit {run.returncode}", file=sys.stderr)
    text = (FOLDER / script).read_text(encoding="utf-8")
    title, _, rest = text.split('"""')[1].strip().partition("\n")
    shown = " ".join(Path(part).name if part.endswith(".svg") else part for part in arguments)
    figure = "\n\n![scaling](scaling.svg)" if script == "scaling.py" else ""
    return f"## {title}{without_usage(rest)}\n\n`python benchmarks/{script} {shown}`".rstrip(
        " `"
    ) + (f"`\n\n{as_markdown(run.stdout)}{figure}\n")


def as_markdown(printed: str) -> str:
    """Return printed tables with the empty line before each that Markdown asks for."""
    lines = printed.strip().splitlines()
    spaced = []
    for before, line in zip(["", *lines], lines, strict=False):
        if line.startswith("|") and before and not before.startswith("|"):
            spaced.append("")
        spaced.append(line)
    return "\n".join(spaced)


def without_usage(text: str) -> str:
    """Return a description without its indented command."""
    lines = [
        line
        for line in text.splitlines()
        if not line.startswith("    ") and "python benchmarks/" not in line
    ]
    return "\n\n" + "\n".join(lines).replace("\n\n\n", "\n\n").strip() if any(lines) else ""


def main() -> None:
    parts = [section(script, arguments) for script, arguments in SCRIPTS.items()]
    head = (
        "# Benchmarks\n\nWritten by `make bench`. Ratios carry over to other machines better than times do; all peers of a\n"
        "table ran in the same process or one after the other on the same idle machine.\n"
    )
    scratch = FOLDER / "RESULTS.md.tmp"
    scratch.write_text("\n".join([head, *parts]), encoding="utf-8")
    scratch.replace(FOLDER / "RESULTS.md")


if __name__ == "__main__":
    main()
