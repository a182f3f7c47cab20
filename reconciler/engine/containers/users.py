"""Who a container's process is: a user as Docker takes it, looked up in the image's own passwd and group files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.kits.errors import ReconcilerError
from reconciler.kits.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_ID = 2**31 - 1


class User(Frozen):
    """Numbers for the kernel, and the home folder for $HOME."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


def resolve(spec: str, passwd: str, group: str) -> User:
    """`spec` is "", USER, UID, USER:GROUP or UID:GID; `passwd` and `group` are the files' texts, "" if absent.

    As in Docker: a bare number need not be in passwd (its group is 0); a name must be. Raises ReconcilerError.
    """
    name, _, group_name = (spec or "0").partition(":")
    entry = _find_user(name or "0", passwd)
    if entry is None:
        if not name.isdecimal() or int(name) > _MAX_ID:
            raise ReconcilerError(
                f"unable to find user {name}: no matching entries in passwd file",
                code="user",
                hint="use a user of the image, or a number",
            )
        login, uid, gid, home = "", int(name), 0, "/"
    else:
        login, uid, gid, home = entry
    groups = tuple(sorted({number for _, number, members in _groups(group) if login and login in members}))
    if group_name:
        gid, groups = _group_id(group_name, group), ()
    return User(uid, gid, groups or (gid,), home or "/")


def _find_user(name: str, passwd: str) -> tuple[str, int, int, str] | None:
    for line in passwd.splitlines():
        parts = line.split(":")
        if len(parts) < 6 or not (parts[2].isdecimal() and parts[3].isdecimal()):
            continue
        if name in (parts[0], parts[2]):
            return parts[0], int(parts[2]), int(parts[3]), parts[5]
    return None


def _groups(group: str) -> Iterator[tuple[str, int, tuple[str, ...]]]:
    for line in group.splitlines():
        parts = line.split(":")
        if len(parts) >= 4 and parts[2].isdecimal():
            yield parts[0], int(parts[2]), tuple(parts[3].split(","))


def _group_id(name: str, group: str) -> int:
    for found, number, _ in _groups(group):
        if name == found:
            return number
    if name.isdecimal() and int(name) <= _MAX_ID:
        return int(name)
    raise ReconcilerError(
        f"unable to find group {name}: no matching entries in group file",
        code="user",
        hint="use a group of the image, or a number",
    )
