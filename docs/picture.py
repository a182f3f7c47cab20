"""Draws docs/terminal.svg: the README's picture, from what the command really prints.

    .venv/bin/python docs/picture.py      (as root; images as `make images` builds them)

Works in roots of its own and leaves nothing behind.
"""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import tempfile

from rich.console import Console
from rich.text import Text

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(HERE)
COMMAND = os.path.join(TOP, ".venv", "bin", "reconciler")
WIDTH = 152


def on_terminal(arguments: list[str], environment: dict[str, str], folder: str) -> str:
    """What a command prints on a terminal, colours included."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(arguments, stdin=follower, stdout=follower, stderr=follower, env=environment, cwd=folder)
    os.close(follower)
    chunks = []
    while True:
        try:
            data = os.read(leader, 65536)
        except OSError:  # EIO: the other end is closed
            break
        if not data:
            break
        chunks.append(data)
    process.wait()
    os.close(leader)
    return b"".join(chunks).decode().replace("\r\n", "\n")


def main() -> None:
    console = Console(record=True, width=WIDTH, file=open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    folder = tempfile.mkdtemp(prefix="rp")
    try:
        draw(console, folder)
    finally:
        while os.path.exists(folder):  # the network is removed in the background, and takes notes in the root
            shutil.rmtree(folder, ignore_errors=True)
    console.save_svg(os.path.join(HERE, "terminal.svg"), title="reconciler")


def draw(console: Console, folder: str) -> None:
    environment = {
        **os.environ,
        "RECONCILER_ROOT": os.path.join(folder, "root"),
        "RECONCILER_RUN": os.path.join(folder, "run"),
        "TERM": "xterm-256color",
        "COLUMNS": str(WIDTH),
    }

    def run(*arguments: str) -> str:
        return on_terminal([COMMAND, *arguments], environment, folder)

    def show(*arguments: str) -> None:
        console.print(Text("$ ", style="bold green") + Text(f"reconciler {' '.join(arguments)}", style="bold"))
        if printed := run(*arguments).rstrip("\n"):
            console.print(Text.from_ansi(printed))
        console.print()

    for name in ("mariadb", "wordpress"):
        run("load", "--quiet", os.path.join(TOP, "build", "images", f"{name}.tar"))
    os.mkdir(os.path.join(folder, "specs"))
    spec = os.path.join(folder, "specs", "wordpress.yaml")
    with open(os.path.join(TOP, "specs", "wordpress.yaml"), encoding="utf-8") as file:
        text = file.read()
    with open(spec, "w", encoding="utf-8") as file:
        file.write(text)
    try:
        run("apply", "specs/wordpress.yaml")
        changed = re.sub(r"( +)(MYSQL_DATABASE: wordpress)", r"\1\2\n\1MARIADB_AUTO_UPGRADE: yes", text)
        with open(spec, "w", encoding="utf-8") as file:
            file.write(changed)
        show("plan", "specs/wordpress.yaml")
        show("apply", "-q", "specs/wordpress.yaml")
        show("apply", "specs/wordpress.yaml")
        show("ps")
    finally:
        run("down", "specs/wordpress.yaml", "--volumes", "--yes")


if __name__ == "__main__":
    main()
