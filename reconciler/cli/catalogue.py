"""The verbs as data: name, what it does in a line, and the module that does it.

This is all that `--help` needs, so it imports nothing.
"""

from __future__ import annotations

_PACKAGE = "reconciler.cli.verbs."

GROUPS: tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...] = (
    (
        "Stacks",
        (
            ("validate", "Check spec files and show what is wrong with them", "validate"),
            ("plan", "Show what apply would do, and why; change nothing", "plan"),
            ("apply", "Make the containers be what a spec says", "apply"),
            ("down", "Remove a stack's containers; its volumes stay", "down"),
            ("explain", "Show what a key of a spec means", "explain"),
        ),
    ),
    (
        "Containers",
        (
            ("ps", "List containers", "ps"),
            ("stats", "Show what containers use of the machine", "stats"),
            ("port", "Show where a container's ports are published", "port"),
            ("logs", "Show what a container wrote", "logs"),
            ("exec", "Run a command in a running container", "execute"),
            ("cp", "Copy files between the host and a container", "copy"),
            ("start", "Start containers", "start"),
            ("stop", "Stop containers, with their grace period", "stop"),
            ("restart", "Stop containers and start them again", "restart"),
            ("kill", "Send a signal to containers", "kill"),
            ("pause", "Freeze all processes of containers", "pause"),
            ("unpause", "Let paused containers run on", "unpause"),
            ("wait", "Wait until containers have ended, and print their exit codes", "wait"),
            ("rm", "Remove containers", "remove"),
            ("container", "The same as verbs of a noun: container ls ...; container prune", "container"),
            ("inspect", "Show all about containers, images or volumes as JSON", "inspection"),
        ),
    ),
    (
        "Images and volumes",
        (
            ("images", "List images", "images"),
            ("pull", "Fetch images from their registries", "pull"),
            ("login", "Log in to a registry", "login"),
            ("logout", "Log out of a registry", "logout"),
            ("load", "Load images from a docker-archive or an OCI layout", "load"),
            ("import", "Make an image of a root file system in a tar file", "import_image"),
            ("save", "Write images to an archive", "save"),
            ("tag", "Give an image another name", "tag"),
            ("rmi", "Remove images", "remove_image"),
            ("image", "The same as verbs of a noun: image ls, image rm ...; image prune", "image"),
            ("volume", "List, inspect, create, remove, unprotect and prune volumes", "volume"),
        ),
    ),
    (
        "This machine",
        (
            ("system", "system info, check and prune: what is here, and what is lacking", "system"),
            ("version", "Show versions and places, for a bug report", "version"),
        ),
    ),
)

MODULES: dict[str, str] = {name: _PACKAGE + module for _, verbs in GROUPS for name, _, module in verbs}
SUMMARIES: dict[str, str] = {name: summary for _, verbs in GROUPS for name, summary, _ in verbs}

ELSEWHERE: dict[str, str] = {
    "attach": "reconciler logs -f shows what a container writes",
    "build": "there is nothing that builds images: build elsewhere, and reconciler load the archive",
    "commit": "there is nothing that makes images of containers",
    "compose": "reconciler apply SPEC is compose up, reconciler down SPEC is compose down",
    "config": "reconciler validate checks a spec",
    "create": "containers come from a spec: reconciler apply SPEC",
    "df": "reconciler images and reconciler volume ls list what takes space, reconciler system prune makes room",
    "diff": "reconciler plan SPEC shows what has come apart from a spec",
    "events": "there is no stream of events yet",
    "history": "reconciler inspect IMAGE shows an image's layers",
    "info": "reconciler system info shows versions, places and how much there is",
    "ls": "reconciler ps -a lists containers",
    "network": "containers of all stacks share one network, and reach each other by links of the spec",
    "prune": "reconciler system prune makes room; container, image and volume have a prune of their own too",
    "push": "there is nothing that pushes images: reconciler save, then skopeo copy or docker push elsewhere",
    "rename": "give it another key in the spec and say so under moved, then reconciler apply SPEC",
    "run": "containers come from a spec: reconciler apply SPEC",
    "stack": "reconciler ps --stack STACK lists its containers; stop, start and restart take --stack too",
    "top": "reconciler exec NAME ps shows processes, where the image has ps",
    "up": "reconciler apply SPEC brings a stack up",
    "update": "change the spec, then reconciler apply SPEC",
}
"""What users of Docker and Compose type that is no verb here: what to do instead."""


def overview() -> str:
    """What `reconciler --help` prints."""
    lines = [
        "Usage: reconciler [OPTIONS] VERB ...",
        "",
        "Makes the containers on this machine be what a YAML file says they are.",
        "",
    ]
    for title, verbs in GROUPS:
        lines += [f"{title}:", *(f"  {name:<10}{summary}" for name, summary, _ in verbs), ""]
    lines += [
        "Options:",
        "  -h, --help        Show this, or with a verb what that verb takes",
        "  --version         Show the version",
        "  --runtime NAME    What carries things out: embedded",
        "  --debug           Show a traceback with an error",
        "",
        "Environment:",
        "  RECONCILER_ROOT   Keeps images, volumes and state (/var/lib/reconciler)",
        "  RECONCILER_RUN    Holds what a reboot may take (/run/reconciler)",
        "  RECONCILER_CONFIG This machine's configuration (/etc/reconciler/config.yaml)",
        "  RECONCILER_RUNTIME, DOCKER_CONFIG, HTTPS_PROXY, NO_PROXY, NO_COLOR",
        "",
        "Begin with: reconciler plan SPEC.yaml; reconciler apply SPEC.yaml",
    ]
    return "\n".join(lines)
