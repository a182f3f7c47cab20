"""The stacks that are there before and after the guest's reboot, and the installed command."""

from __future__ import annotations

import json
import subprocess
from typing import Any

SPEC = "/root/stack.yaml"  # /tmp is emptied at boot
ENDED = "/root/ended.yaml"
OTHER = "/root/other.yaml"
STACK = """\
apiVersion: reconciler/v1
kind: Stack
name: stack
containers:
  data:
    image: tiny
    command: [sh, -c, "echo started >> /data/index.html; exec httpd -f -h /data"]
    volumes: ["files:/data"]
    restart: always
  web:
    image: tiny
    command: [httpd, -f, -h, /www]
    links: [data]
    ports: ["8080:80"]
  proper:
    image: tiny
    command: [sh, -c, "trap 'echo ended >> /data/proper; exit 0' TERM; echo began >> /data/proper; while sleep 1; do :; done"]
    volumes: ["files:/data"]
    restart: always
  stopped: {image: tiny, command: [sleep, "100000"], restart: unless-stopped}
volumes:
  files: {}
"""
ENDED_STACK = """\
apiVersion: reconciler/v1
kind: Stack
name: ended
containers:
  job: {image: tiny, command: [echo, ran]}
  exhausted: {image: tiny, command: [sh, -c, "echo ran; exit 3"], restart: "on-failure:2"}
"""
OTHER_STACK = """\
apiVersion: reconciler/v1
kind: Stack
name: other
containers:
  other: {image: tiny, command: [sleep, "100000"], restart: always, stop_grace_period: 0s}
"""


def write(path: str, text: str) -> str:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def reconciler(*arguments: str, code: int | None = 0) -> str:
    """Run the installed command, and see that it ends with `code` (None: whatever); its standard output."""
    done = subprocess.run(["reconciler", *arguments], capture_output=True, text=True, check=False)
    assert code is None or done.returncode == code, done
    assert "Traceback" not in done.stderr, done
    return done.stdout


def listed() -> dict[str, dict[str, Any]]:
    """All containers by their names, as `ps` knows them."""
    return {one["name"]: one for one in json.loads(reconciler("ps", "-a", "--json"))}


def runs(name: str) -> int:
    """How often one that says so was run."""
    return reconciler("logs", name).count("ran\n")
