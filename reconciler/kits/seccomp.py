"""Seccomp profiles that users bring, in Docker's JSON form or the OCI's: read, checked, and written in one way.

Form only: what a profile means for a container's capabilities and this machine's processor is the engine's business
(`engine.containers.seccomp`). The text is hostile until it is parsed here. Anyone may import it.
Source: runtime-spec config-linux.md, Seccomp; moby, profiles/seccomp (includes, excludes, archMap); seccomp(2).
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

from reconciler.kits.errors import ReconcilerError
from reconciler.kits.text import listed, nearest, quote

ACTIONS = (
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
)
_COMPARISONS = tuple(f"SCMP_CMP_{name}" for name in ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"))
_FLAGS = tuple(f"SECCOMP_FILTER_FLAG_{name}" for name in ("TSYNC", "LOG", "SPEC_ALLOW", "WAIT_KILLABLE_RECV"))
_ARCHITECTURES = tuple(
    f"SCMP_ARCH_{name}"
    for name in (
        "X86", "X86_64", "X32", "ARM", "AARCH64", "MIPS", "MIPS64", "MIPS64N32", "MIPSEL", "MIPSEL64", "MIPSEL64N32",
        "PPC", "PPC64", "PPC64LE", "S390", "S390X", "PARISC", "PARISC64", "RISCV64", "LOONGARCH64", "M68K", "SH", "SHEB",
    )
)  # fmt: skip
_TOP = ("defaultAction", "defaultErrnoRet", "architectures", "archMap", "flags", "syscalls")
_RULE = ("name", "names", "action", "errnoRet", "args", "comment", "includes", "excludes")
_CONDITION = ("caps", "arches", "minKernel")
_ARGUMENT = ("index", "value", "valueTwo", "op")

MOST_RULES = 10_000
_MOST_ARGUMENT = 5
_MOST_NUMBER = 2**64 - 1


def parse(data: bytes) -> dict[str, Any]:
    """The profile in a file's bytes: known keys only, `names` for a single `name`, nothing that is null.

    Raises ReconcilerError with code "bad-seccomp": a message that begins with the place in the file.
    """
    try:
        document = json.loads(data.decode(), object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        _fail(f"line {error.lineno}, column {error.colno}", f"not JSON: {error.msg[:1].lower()}{error.msg[1:]}")
    except UnicodeDecodeError as error:
        _fail(f"byte {error.start + 1}", "not UTF-8")
    except RecursionError:
        _fail("line 1", "nested too deep")
    if not isinstance(document, dict):
        _fail("line 1", "a profile is an object")
    return _profile(document)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        _fail(f"key {quote(twice)}", "it is there twice in one object")
    return {name: value for name, value in pairs if value is not None}


def _fail(where: str, what: str) -> NoReturn:
    raise ReconcilerError(
        f"{where}: {what}", code="bad-seccomp", hint="a seccomp profile is JSON in Docker's form or the OCI's"
    )


def _profile(document: dict[str, Any]) -> dict[str, Any]:
    if "listenerPath" in document or "listenerMetadata" in document:
        _fail("listenerPath", "notifying another process is not supported")
    _keys(document, _TOP, "")
    found: dict[str, Any] = {"defaultAction": _one_of(document, "defaultAction", ACTIONS, "")}
    if "defaultErrnoRet" in document:
        found["defaultErrnoRet"] = _number(document, "defaultErrnoRet", "", 0xFFFF)
    if document.get("architectures") and document.get("archMap"):
        _fail("archMap", "a profile has architectures or an archMap, not both")
    if architectures := _strings(document, "architectures", "", _ARCHITECTURES):
        found["architectures"] = architectures
    if maps := _objects(document, "archMap", ""):
        found["archMap"] = [_map(entry, f"archMap[{index}].") for index, entry in enumerate(maps)]
    if flags := _strings(document, "flags", "", _FLAGS):
        found["flags"] = flags
    rules = _objects(document, "syscalls", "")
    if len(rules) > MOST_RULES:
        _fail("syscalls", f"more than {MOST_RULES} rules")
    found["syscalls"] = [_rule(rule, f"syscalls[{index}].") for index, rule in enumerate(rules)]
    return found


def _map(entry: dict[str, Any], at: str) -> dict[str, Any]:
    _keys(entry, ("architecture", "subArchitectures"), at)
    found: dict[str, Any] = {"architecture": _one_of(entry, "architecture", _ARCHITECTURES, at)}
    if below := _strings(entry, "subArchitectures", at, _ARCHITECTURES):
        found["subArchitectures"] = below
    return found


def _rule(rule: dict[str, Any], at: str) -> dict[str, Any]:
    _keys(rule, _RULE, at)
    name, names = _string(rule, "name", at), _strings(rule, "names", at)
    if name and names:
        _fail(f"{at}names", "a rule has a name or names, not both")
    if not name and not names:
        _fail(f"{at}names", "no system call is named")
    found: dict[str, Any] = {
        "names": names or [name],
        "action": _one_of(rule, "action", ACTIONS, at),
    }
    if "errnoRet" in rule:
        found["errnoRet"] = _number(rule, "errnoRet", at, 0xFFFF)
    if arguments := _objects(rule, "args", at):
        found["args"] = [_argument(one, f"{at}args[{index}].") for index, one in enumerate(arguments)]
    for key in ("includes", "excludes"):
        if condition := _typed(rule, key, dict, "an object", at):
            _keys(condition, _CONDITION, f"{at}{key}.")
            found[key] = _condition(condition, f"{at}{key}.")
    return found


def _condition(condition: dict[str, Any], at: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key in ("caps", "arches"):
        if names := _strings(condition, key, at):
            found[key] = names
    if version := _string(condition, "minKernel", at):
        major, dot, minor = version.partition(".")
        if not (major.isascii() and major.isdigit() and (not dot or (minor.isascii() and minor.isdigit()))):
            _fail(f"{at}minKernel", f"{quote(version)} is not a kernel version like 5.6")
        found["minKernel"] = version
    return found


def _argument(one: dict[str, Any], at: str) -> dict[str, Any]:
    _keys(one, _ARGUMENT, at)
    return {
        "index": _number(one, "index", at, _MOST_ARGUMENT),
        "value": _number(one, "value", at, _MOST_NUMBER),
        "valueTwo": _number(one, "valueTwo", at, _MOST_NUMBER),
        "op": _one_of(one, "op", _COMPARISONS, at),
    }


def _keys(document: dict[str, Any], known: tuple[str, ...], at: str) -> None:
    for key in document:
        if key not in known:
            near = nearest(key, known)
            _fail(f"{at}{key}"[:80], f"unknown key{f'; did you mean {near}?' if near else ''}")


def _typed(document: dict[str, Any], key: str, kind: Any, name: str, at: str) -> Any:
    value = document.get(key)
    if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
        _fail(f"{at}{key}", f"not {name}")
    return value


def _string(document: dict[str, Any], key: str, at: str, *, required: bool = False) -> str:
    value = _typed(document, key, str, "a string", at) or ""
    if required and not value:
        _fail(f"{at}{key}", "it is missing")
    if not value.isprintable():
        _fail(f"{at}{key}", f"{quote(value)} holds control characters")
    return str(value)


def _one_of(document: dict[str, Any], key: str, known: tuple[str, ...], at: str) -> str:
    value = _string(document, key, at, required=True)
    _known(value, known, f"{at}{key}")
    return value


def _known(value: str, known: tuple[str, ...], where: str) -> None:
    if value not in known:
        near = nearest(value, known)
        what = f"did you mean {near}?" if near else f"it is one of {listed(list(known), 'or')}"
        _fail(where, f"unknown value {quote(value)}; {what}")


def _number(document: dict[str, Any], key: str, at: str, most: int) -> int:
    value = _typed(document, key, int, "a whole number", at) or 0
    if not 0 <= value <= most:
        _fail(f"{at}{key}", f"{value} is not within 0 and {most}")
    return int(value)


def _strings(document: dict[str, Any], key: str, at: str, known: tuple[str, ...] = ()) -> list[str]:
    values = _typed(document, key, list, "a list of strings", at) or []
    if not all(isinstance(value, str) and value.isprintable() for value in values):
        _fail(f"{at}{key}", "not a list of strings")
    for value in values if known else ():
        _known(value, known, f"{at}{key}")
    return list(values)


def _objects(document: dict[str, Any], key: str, at: str) -> list[dict[str, Any]]:
    values = _typed(document, key, list, "a list of objects", at) or []
    if not all(isinstance(value, dict) for value in values):
        _fail(f"{at}{key}", "not a list of objects")
    return list(values)
