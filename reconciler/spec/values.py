"""What single values of a spec mean: durations, sizes, names, signals, restart policies, commands.

Text in, value out; `BadValueError` says what is wrong with a text. For the spec room only.
"""

from __future__ import annotations

import re

from reconciler.kits import units
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.text import quote
from reconciler.model.desired import Restart
from reconciler.spec.findings import BadValueError, did_you_mean

_LONGEST = 100 * 365 * 86400.0

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*", re.ASCII)
_STACK_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*", re.ASCII)
_HOST_NAME = re.compile(r"[a-zA-Z0-9_]([a-zA-Z0-9_.-]*[a-zA-Z0-9_])?", re.ASCII)
_LONGEST_NAME = 128
_LONGEST_HOST_NAME = 64
"""The kernel's limit (uname(2), HOST_NAME_MAX)."""
_LONGEST_DOMAIN = 253

_POLICIES = ("no", "always", "on-failure", "unless-stopped")
_PULL_POLICIES = {"missing": "missing", "if_not_present": "missing", "always": "always", "never": "never"}
_LAST_SIGNAL = 64


def duration(text: str) -> float:
    """Seconds: "1m30s", "500ms", as Go spells them, with d and w as in Compose; a bare number is seconds."""
    try:
        total = units.parse_duration(text)
    except ReconcilerError:
        raise BadValueError(f"{quote(text)} is not a duration", "write it as 30s, 1m30s or 500ms") from None
    if total > _LONGEST:
        raise BadValueError(f"{quote(text)} is longer than 100 years")
    return round(total, 9)


def size(text: str) -> int:
    """Bytes: "10m" is ten times 1024 times 1024, as in Docker; a bare number is bytes."""
    try:
        return units.parse_size(text)
    except ReconcilerError:
        raise BadValueError(f"{quote(text)} is not a size", "write it as 500k, 10m or 1g") from None


def count(text: str, lowest: int = 0) -> int:
    """A whole number that is not below `lowest`."""
    if not (text.isascii() and text.isdigit()) or len(text) > 9 or int(text) < lowest:
        raise BadValueError(f"{quote(text)} is not a whole number from {lowest} on")
    return int(text)


def name(text: str, what: str) -> str:
    """A container's or volume's name, by Docker's rule; one letter is enough."""
    if not _NAME.fullmatch(text):
        hint = "letters, digits, '_', '.' and '-', the first a letter or digit"
        raise BadValueError(f"bad name {quote(text)} for {what}", hint)
    if len(text) > _LONGEST_NAME:
        raise BadValueError(f"the name {quote(text)} for {what} is longer than {_LONGEST_NAME} characters")
    return text


def stack_name(text: str) -> str:
    """A stack's name: as in Compose, lower case."""
    if not _STACK_NAME.fullmatch(text):
        lower = re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-_")
        near = lower if 2 * len(re.sub("[^a-z0-9]", "", lower)) > len(text) else ""  # half of it lost is no suggestion
        hint = "a-z, 0-9, '_' and '-', the first a letter or digit" + (f": {near}" if near else "")
        raise BadValueError(f"bad name {quote(text)} for a stack", hint)
    if len(text) > _LONGEST_NAME:
        raise BadValueError(f"the stack's name is longer than {_LONGEST_NAME} characters")
    return text


def host_name(text: str, what: str) -> str:
    """A name that goes into hosts files: hostnames and link aliases."""
    if not _HOST_NAME.fullmatch(text):
        hint = "letters, digits, '_', '.' and '-', the first and last a letter, digit or '_'"
        raise BadValueError(f"bad {what} {quote(text)}", hint)
    if len(text) > _LONGEST_HOST_NAME:
        raise BadValueError(f"the {what} {quote(text)} is longer than {_LONGEST_HOST_NAME} characters")
    return text


def domain(text: str, what: str) -> str:
    """A domain of several labels."""
    if not _HOST_NAME.fullmatch(text) or len(text) > _LONGEST_DOMAIN:
        raise BadValueError(f"bad {what} {quote(text)}", "letters, digits, '_', '.' and '-', as in example.org")
    return text


def restart(text: str) -> Restart:
    """Docker's restart policies."""
    policy, colon, times = text.partition(":")
    if policy not in _POLICIES:
        hint = "write no" if text.lower() in ("false", "off", "never", "none") else f"one of {', '.join(_POLICIES)}"
        raise BadValueError(f"unknown restart policy {quote(text)}{did_you_mean(policy, _POLICIES)}", hint)
    if not colon:
        return Restart(policy)
    if policy != "on-failure":
        raise BadValueError(f"the restart policy {policy} takes no number", "only on-failure:TIMES does")
    try:
        return Restart(policy, count(times))
    except BadValueError as error:
        raise BadValueError(f"bad restart policy {quote(text)}: {error.message}", "write on-failure:5") from None


def unhealthy_policy(text: str) -> str:
    """What to do when a container becomes unhealthy: none, restart, restart:TIMES."""
    word, colon, times = text.partition(":")
    if word not in ("none", "restart") or (word == "none" and colon):
        raise BadValueError(
            f"unknown policy {quote(text)}{did_you_mean(word, ('none', 'restart'))}", "none, restart, restart:3"
        )
    return f"restart:{count(times, 1)}" if colon else word


def pull_policy(text: str) -> str:
    """When an image is fetched; if_not_present is another word for missing."""
    if text in ("build", "daily", "weekly", "refresh") or text.startswith("every_"):
        hint = "missing, always or never"
        raise BadValueError(f"the pull policy {quote(text)} is Compose's, but not supported yet", hint)
    if text not in _PULL_POLICIES:
        message = f"unknown pull policy {quote(text)}{did_you_mean(text, _PULL_POLICIES)}"
        raise BadValueError(message, "missing, always or never")
    return _PULL_POLICIES[text]


def stop_signal(text: str) -> str:
    """A signal by name (with or without SIG) or number; names come out as SIGTERM."""
    import signal  # noqa: PLC0415 - few specs name one

    if text.isascii() and text.isdigit():
        if len(text) < 4 and 1 <= int(text) <= _LAST_SIGNAL:
            return str(int(text))
        raise BadValueError(f"there is no signal {quote(text)}", f"signals are numbered 1 to {_LAST_SIGNAL}")
    word = "SIG" + text.upper().removeprefix("SIG")
    known = [each.name for each in signal.Signals]
    if word in known:
        return word
    real_time = re.fullmatch(r"SIGRT(MIN\+|MAX-)([0-9]{1,2})", word, re.ASCII)
    if real_time and int(real_time[2]) <= signal.SIGRTMAX - signal.SIGRTMIN:
        return word
    raise BadValueError(f"there is no signal {quote(text)}{did_you_mean(word, known)}")


def user(text: str) -> str:
    """A user, or user:group, by name or number."""
    first, colon, group = text.partition(":")
    if not first or (colon and not group) or ":" in group or not text.isprintable() or " " in text:
        raise BadValueError(f"bad user {quote(text)}", "write NAME, NAME:GROUP, or numbers: 1000:1000")
    return text


def words(text: str) -> tuple[str, ...]:
    """A command given as a string, split as a shell does, without any expansion."""
    import shlex  # noqa: PLC0415 - lists need no splitting

    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        why = "a quote is not closed" if "quotation" in str(error) else "it ends with a lone backslash"
        raise BadValueError(f"the command cannot be split: {why}", "or write it as a list") from None


def variable_name(text: str) -> str:
    """A name of an environment variable."""
    if not text:
        raise BadValueError("an environment variable has no name", "write NAME=value")
    if "=" in text or "\0" in text:
        raise BadValueError(f"the variable's name {quote(text)} holds {'=' if '=' in text else 'NUL'!r}")
    if any(c.isspace() for c in text):
        raise BadValueError(f"the variable's name {quote(text)} holds white space", "write NAME=value, without spaces")
    return text
