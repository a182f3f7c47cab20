"""The stack that is there before and after the guest's reboot, and the installed command."""

from __future__ import annotations

import subprocess

SPEC = "/root/stack.yaml"  # /tmp is emptied at boot
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


def reconciler(*arguments: str, code: int = 0) -> str:
    """Run the installed command; its standard output."""
    done = subprocess.run(["reconciler", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == code, done
    assert "Traceback" not in done.stderr, done
    return done.stdout
