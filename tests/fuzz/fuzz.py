"""The same targets under a coverage-guided fuzzer: python fuzz.py TARGET SECONDS. What it finds becomes a test case.

Exits with 1 when an input made a target fail; the input is kept as build/fuzz/TARGET/crash-*, and replayed by
`python fuzz.py TARGET FILE`. Needs atheris (`make fuzz` installs it).
"""

from __future__ import annotations

import os
import sys

PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def main(name: str, what: str) -> None:
    import atheris  # noqa: PLC0415

    sys.path.insert(0, PROJECT)
    with atheris.instrument_imports(include=["reconciler", "tarfile"]):
        import targets  # noqa: PLC0415

    target, seeds = targets.TARGETS[name]
    if not what.isdecimal():
        with open(what, "rb") as file:
            target(file.read())
        return
    folder = os.path.join(PROJECT, "build", "fuzz", name)
    os.makedirs(folder, exist_ok=True)
    for number, seed in enumerate(seeds):
        with open(os.path.join(folder, f"seed-{number}"), "wb") as file:
            file.write(seed)
    options = [f"-max_total_time={what}", "-max_len=65536", "-timeout=30", f"-artifact_prefix={folder}/", folder]
    atheris.Setup([sys.argv[0], *options], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
