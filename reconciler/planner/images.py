"""Which images are pulled and why, and which names stand for another image now. For `planning` and `scope`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.kits.errors import ReconcilerError
from reconciler.kits.frozen import replace
from reconciler.model.plan import ASKED, IMAGE, REPLACE, Reason

if TYPE_CHECKING:
    from reconciler.kits.source import Position
    from reconciler.model.desired import Container, Stack
    from reconciler.model.observed import Observed, ObservedContainer, RemoteImage
    from reconciler.planner.decisions import Decision, Decisions
    from reconciler.planner.options import Options

    Pulls = dict[str, tuple[Reason, ...]]

KNOWN_AFTER_PULL = ("image id", "exposed ports", "declared volumes")
"""What only an image can tell, while it is not here."""


def policy_of(container: Container, options: Options) -> str:
    """When the container's image is pulled: what was asked for this run, else what the spec says.

    What this run has pulled already is taken as it is, and a digest names the same content for ever.
    """
    policy = options.pull or container.pull_policy
    if policy == "always" and ("@" in container.image or container.image in options.pulled):
        return "missing"
    return policy


def compare_image(
    decision: Decision, wanted: Container, seen: ObservedContainer, observed: Observed, options: Options
) -> None:
    """A name that stands for another image now: replaced, unless the name itself changes and says so already."""
    if seen.settings.get("image", wanted.image) != wanted.image:
        return
    image = observed.images.get(wanted.image)
    if image is not None and seen.image_id and image.id != seen.image_id:
        old, new = (f"{wanted.image} {short_digest(digest)}" for digest in (seen.image_id, image.id))
        decision.because(
            REPLACE, Reason("its image's name stands for another image now", "image", old, new, kind=IMAGE)
        )
    elif image is not None and policy_of(wanted, options) == "always":
        remote = observed.remote.get(wanted.image)
        if remote and remote.digest and remote.digest != image.digest:
            decision.because(REPLACE, _moved("its image's tag has moved", image.digest, remote))


def _moved(text: str, here: str, remote: RemoteImage) -> Reason:
    return Reason(text, "digest", short_digest(here) if here else None, short_digest(remote.digest), kind=IMAGE)


def short_digest(digest: str) -> str:
    """The algorithm and twelve digits."""
    algorithm, _, rest = digest.rpartition(":")
    return f"{algorithm}:{rest[:12]}" if algorithm else rest[:12]


def needed_pulls(
    stack: Stack,
    observed: Observed,
    decisions: Decisions,
    options: Options,
    pull: bool,
    problems: list[ReconcilerError],
) -> Pulls:
    """By reference, sorted, why an image is pulled; a problem for each that is needed and can't be had.

    `pull` is whether the runtime can. An image is needed by a container that is created; one that is always to be
    pulled is pulled when its registry has another one, or can't say.
    """
    users: dict[str, list[Decision]] = {}
    for decision in decisions.values():
        if decision.wanted is not None:
            users.setdefault(decision.wanted.image, []).append(decision)
    pulls: Pulls = {}
    for reference, using in sorted(users.items()):
        eager = [d for d in using if d.wanted and policy_of(d.wanted, options) == "always"]
        needing = [d for d in using if d.creates] if reference not in observed.images else []
        if problem := _problem(stack, observed, options, pull, eager, needing):
            problems.append(problem)
        elif needing:
            pulls[reference] = (Reason(f"it is not here, and needed by {_keys(needing)}", kind=IMAGE),)
        elif eager and (reasons := _newer(observed, options, reference, eager)):
            pulls[reference] = reasons
    return pulls


def _newer(observed: Observed, options: Options, reference: str, eager: list[Decision]) -> tuple[Reason, ...]:
    always = Reason(f"pull_policy of {_keys(eager)} is always")
    if options.pull:
        always = Reason("--pull is always", kind=ASKED)
    here, remote = observed.images.get(reference), observed.remote.get(reference)
    if here is None or remote is None:
        return (always,)
    if here.digest == remote.digest:
        return ()
    if not here.digest:
        always = replace(always, text=f"{always.text}, and what is here did not come from a registry")
    return always, _moved("its tag has moved", here.digest, remote)


def _problem(
    stack: Stack, observed: Observed, options: Options, pull: bool, eager: list[Decision], needing: list[Decision]
) -> ReconcilerError | None:
    """Why an image can't be had as it is asked for."""
    if needing and (clash := _platform_clash(stack, needing)):
        return clash
    unwilling = [d.wanted for d in needing if d.wanted and (not pull or policy_of(d.wanted, options) == "never")]
    if unwilling:
        return _absent(unwilling[0], pull, options, _position(stack, unwilling[0], "image"))
    wanted = eager[0].wanted if eager else None
    if wanted is None:
        return None
    position = _position(stack, wanted, "image" if options.pull else "pull_policy")
    if not pull:
        return ReconcilerError(
            f"container {wanted.key} asks to pull {wanted.image} always, which this runtime can't",
            code="unsupported",
            position=position,
            hint="use pull_policy: missing, and `reconciler load FILE` for a newer image",
        )
    remote = observed.remote.get(wanted.image)
    if remote and remote.error:
        way_out = "--pull missing takes the image that is here" if wanted.image in observed.images else ""
        return ReconcilerError(
            f"what {wanted.image} of container {wanted.key} stands for can't be found out, and "
            f"{'--pull' if options.pull else 'its pull_policy'} is always: {remote.error}",
            code=remote.code,
            position=position,
            hint="; ".join(text for text in (remote.hint, way_out) if text),
        )
    return None


def _platform_clash(stack: Stack, needing: list[Decision]) -> ReconcilerError | None:
    """One name stands for one image here, so two containers can't have it for two platforms."""
    first = needing[0].wanted
    other = next((d.wanted for d in needing if d.wanted and first and d.wanted.platform != first.platform), None)
    if first is None or other is None:
        return None
    return ReconcilerError(
        f"containers {first.key} and {other.key} want image {other.image} for different platforms "
        f"({first.platform or 'this one'} and {other.platform or 'this one'})",
        code="platform",
        position=_position(stack, other, "platform"),
        hint="name one of them by its digest: IMAGE@sha256:...",
    )


def _position(stack: Stack, wanted: Container, field: str) -> Position | None:
    return stack.position_of("containers", wanted.key, field)


def _absent(wanted: Container, pull: bool, options: Options, position: Position | None) -> ReconcilerError:
    if not pull:
        why, hint = "", "load it with `reconciler load FILE`; `make images` builds the ones of the examples"
    elif options.pull:
        why, hint = " and --pull is never", "load it with `reconciler load FILE`, or leave --pull never out"
    else:
        why = " and its pull_policy is never"
        hint = "load it with `reconciler load FILE`, or let it be pulled with pull_policy: missing"
    return ReconcilerError(
        f"image {wanted.image} of container {wanted.key} is not here{why}",
        code="no-image",
        position=position,
        hint=hint,
    )


def _keys(decisions: list[Decision]) -> str:
    return ", ".join(decision.key for decision in decisions)


def notes_about_pulls(pulls: Pulls, observed: Observed, decisions: Decisions) -> tuple[str, ...]:
    """Who may have to be replaced, for all that is known before a pull."""
    return tuple(
        f"whether {d.key} is replaced is known after the pull of {d.wanted.image}"
        for d in decisions.values()
        if d.wanted and d.seen and not d.creates and d.wanted.image in pulls and d.wanted.image not in observed.images
    )
