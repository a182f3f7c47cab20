"""Who a container's process is: a user as Docker takes it, looked up in the image's own passwd and group files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.kits.errors import ReconcilerError
from reconciler.kits.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_MAX_ID = 2**31 - 1


class User(Frozen):
    """Numbers for the kernel, and the home folder for $HOME."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


def resolve(spec: str, passwd: str, group: str, added: Sequence[str] = ()) -> User:
    """`spec` is "", USER, UID, USER:GROUP or UID:GID; `passwd` and `group` are the files' texts, "" if absent.

    As in Docker: a bare number need not be in passwd (its group is 0); a name must be. `added` are further groups, by
    name or number; the primary group is always among the supplementary ones, so that it is kept over a change of the
    primary one. Raises ReconcilerError.
    """
    name, _, group_name = (spec or "0").partition(":")
    entry = _find_user(name or "0", passwd)
    if entry is None:
        number = _number(name)
        if number is None:
            raise ReconcilerError(
                f"unable to find user {name}: no matching entries in passwd file",
                code="user",
                hint="use a user of the image, or a number",
            )
        login, uid, gid, home = "", number, 0, "/"
    else:
        login, uid, gid, home = entry
    groups = tuple(sorted({number for _, number, members in _groups(group) if login and login in members}))
    if group_name:
        gid, groups = _group_id(group_name, group), ()
    further = (_group_id(name, group, "group") for name in added)
    return User(uid, gid, tuple(dict.fromkeys((gid, *groups, *further))), home or "/")


def _find_user(name: str, passwd: str) -> tuple[str, int, int, str] | None:
    for line in passwd.split("\n"):
        parts = line.split(":")
        if len(parts) < 6 or name not in (parts[0], parts[2]):
            continue
        uid, gid = _number(parts[2]), _number(parts[3])
        if uid is not None and gid is not None:
            return parts[0], uid, gid, parts[5].replace("\0", "")
    return None


def _groups(group: str) -> Iterator[tuple[str, int, tuple[str, ...]]]:
    for line in group.split("\n"):
        parts = line.split(":")
        if len(parts) >= 4 and (number := _number(parts[2])) is not None:
            yield parts[0], number, tuple(parts[3].split(","))


def _group_id(name: str, group: str, code: str = "user") -> int:
    for found, number, _ in _groups(group):
        if name == found:
            return number
    if (given := _number(name)) is not None:
        return given
    raise ReconcilerError(
        f"unable to find group {name}: no matching entries in group file",
        code=code,
        hint="use a group of the image, or a number",
    )


def _number(text: str) -> int | None:
    """An id as the kernel takes it; the files are a stranger's, so its length is looked at first."""
    if not (text.isascii() and text.isdecimal()) or len(text) > 10 or int(text) > _MAX_ID:
        return None
    return int(text)
