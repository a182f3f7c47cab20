"""A layer on its way: its bytes lie in ROOT/downloads under their digest, and are read there while they still come.

What came before a broken connection, or before a run that was killed, is kept: the next try goes on behind it. Whoever
reads takes the digest over everything, so nothing that lies there is trusted. Only this room may import it.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from typing import TYPE_CHECKING

from reconciler.engine.images.configuration import bad_image
from reconciler.engine.images.registry.wire import WireError
from reconciler.engine.images.streams import Span
from reconciler.engine.kernel import files, locks
from reconciler.kits.backoff import retry_delay
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from reconciler.engine.images.registry.client import Repository
    from reconciler.engine.images.registry.manifests import Blob
    from reconciler.engine.images.registry.watching import Watch
    from reconciler.engine.images.registry.wire import Answer

_PIECE = 256 << 10
_READ = 1 << 20
_TRIES = 5
_OLD = 7 * 86400.0
"""Seconds after which what nobody went on with is given up."""
_SOME = 0.05


class Arrival:
    """What has come of a blob, and who waits for the rest."""

    def __init__(self, size: int, there: int, check: Callable[[], None]) -> None:
        """`check` raises when nobody wants it any more."""
        self.size = size
        self._check = check
        self._there = there
        self._wanted = 0
        self._news = threading.Condition()
        self._error: BaseException | None = None

    def grow(self, count: int) -> None:
        """So many bytes more are in the file."""
        with self._news:
            self._there += count
            if self._there >= self._wanted:
                self._news.notify_all()

    def fail(self, error: BaseException) -> None:
        """No more will come."""
        with self._news:
            self._error = error
            self._news.notify_all()

    def wait(self, count: int) -> int:
        """How many bytes there are, as soon as it is `count` or all; raises why no more will come. For one reader."""
        self._check()  # also when all is here: there is much to do with it
        with self._news:
            self._wanted = min(count, self.size)
            while self._there < self._wanted:
                if self._error is not None:
                    raise self._error
                self._news.wait()
            return self._there


class ArrivingSpan(Span):
    """The whole of a file that is still being written."""

    arrival: Arrival

    def head(self, count: int) -> bytes:
        self.arrival.wait(count)
        return super().head(count)

    def pieces(self) -> Iterator[memoryview]:
        buffer = memoryview(bytearray(min(_READ, max(self.size, 1))))
        position = 0
        while position < self.size:
            there = self.arrival.wait(position + _READ)  # or they wake each other up for every packet
            count = os.preadv(self.fd, [buffer[: there - position]], position)
            if not count:
                return
            position += count
            yield buffer[:count]


class Download:
    """One blob from one of several repositories, in order. `report(phase, done)` hears how it goes."""

    def __init__(
        self,
        folder: str,
        blob: Blob,
        what: str,
        repositories: Sequence[Repository],
        watch: Watch,
        slots: threading.Semaphore,
        report: Callable[[str, int], None],
    ) -> None:
        self.path = os.path.join(folder, blob.digest.partition(":")[2])
        self._blob = blob
        self._what = what
        self._repositories = list(repositories)
        self._watch = watch
        self._slots = slots
        self._report = report
        self.resumed = False
        """Part of it is from an earlier run or another answer: a digest that does not match may be that part's fault."""

    @contextlib.contextmanager
    def opened(self) -> Iterator[ArrivingSpan]:
        """The bytes, while they come."""
        fd = self._own_file()
        try:
            there = os.fstat(fd).st_size
            if there > self._blob.size:
                files.truncate(fd, 0)
                there = 0
            self.resumed = there > 0
            arrival = Arrival(self._blob.size, there, self._watch.check)
            done = threading.Event()
            thread = threading.Thread(target=self._fetch, args=(fd, arrival, there, done), daemon=True)
            if there < self._blob.size:
                thread.start()
            try:
                yield ArrivingSpan(fd, 0, self._blob.size, arrival)
            finally:
                done.set()
                if thread.ident is not None:
                    thread.join()
        finally:
            os.close(fd)

    def forget(self) -> None:
        """Begin anew the next time."""
        files.remove_file(self.path)

    def _own_file(self) -> int:
        """The file, locked: one that its last owner has just removed is another file."""
        while True:
            fd = files.open_for_writing(self.path, os.O_RDWR | os.O_CREAT)
            try:
                while not locks.take(fd):
                    self._watch.sleep(_SOME)
                with contextlib.suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(fd), os.stat(self.path)):
                        return fd
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)

    # In a thread of its own

    def _fetch(self, fd: int, arrival: Arrival, there: int, done: threading.Event) -> None:
        try:
            self._report("Waiting", there)
            while not self._slots.acquire(timeout=_SOME):
                self._watch.check()
            try:
                self._fetch_all(fd, arrival, there, done)
            finally:
                self._slots.release()
            self._report("Download complete", self._blob.size)
        except BaseException as error:
            arrival.fail(error)

    def _fetch_all(self, fd: int, arrival: Arrival, there: int, done: threading.Event) -> None:
        failed = 0
        os.lseek(fd, there, os.SEEK_SET)
        while there < self._blob.size and not done.is_set():
            before = there
            self._report("Downloading", there)
            try:
                with self._answer(there) as answer:
                    for count in self._received(answer, there, fd):
                        there += count
                        arrival.grow(count)
                        self._report("Downloading", there)
                        if done.is_set():
                            return
                error = WireError(f"{self._repositories[0].site} closed the connection in the middle of a layer")
            except WireError as trouble:
                error = trouble
            if there == self._blob.size:
                return
            self.resumed = self.resumed or there > 0
            failed = 1 if there > before else failed + 1
            if not error.passing or failed >= _TRIES:
                raise ReconcilerError(
                    f"{self._what}: {error}", code="unreachable", hint="what came so far is kept: pull again to go on"
                )
            self._pause(str(error), retry_delay(failed))

    def _answer(self, there: int) -> Answer:
        """From the first repository that has it; those that do not are asked no more."""
        while True:
            try:
                return self._repositories[0].blob(self._blob.digest, there, self._told)
            except ReconcilerError:
                self._watch.check()
                if len(self._repositories) == 1:
                    raise
                self._repositories.pop(0)

    def _received(self, answer: Answer, there: int, fd: int) -> Iterator[int]:
        """Write what comes behind the first `there` bytes; the counts."""
        skip = self._start_of(answer, there)
        buffer = memoryview(bytearray(_PIECE))
        while skip and (count := answer.readinto(buffer[: min(skip, _PIECE)])):
            skip -= count
        left = self._blob.size - there
        while left and not skip:
            count = answer.readinto(buffer[: min(left, _PIECE)])
            if not count:
                return
            files.write_all(fd, buffer[:count])
            left -= count
            yield count

    def _start_of(self, answer: Answer, there: int) -> int:
        """Bytes to pass over before the ones that are wanted; the sizes must be as the manifest says."""
        total, start = answer.length, 0
        if answer.status == 206:
            found = re.fullmatch(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", answer.header("Content-Range").strip())
            if not found or int(found[1]) > there:
                raise WireError(f"{self._repositories[0].site} sends another part than was asked for", passing=False)
            start, total = int(found[1]), int(found[3]) if found[3] != "*" else None
        if total is not None and total != self._blob.size:
            raise bad_image(
                self._what, f"the size does not match: expected {self._blob.size} bytes, the registry has {total}"
            )
        return there - start

    def _told(self, why: str, seconds: float) -> None:
        self._report(f"{printable(why)}: retrying in {seconds:.3g} s", 0)

    def _pause(self, why: str, seconds: float) -> None:
        self._told(why, seconds)
        self._watch.sleep(seconds)


def free(folder: str, digests: Collection[str]) -> None:
    """Remove what has come of these blobs, and of others what nobody has gone on with for a week."""
    names = {digest.partition(":")[2] for digest in digests}
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                if entry.name in names or time.time() - entry.stat().st_mtime > _OLD:
                    _remove_unused(entry.path)


def _remove_unused(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if locks.take(fd):
            files.remove_file(path)
    finally:
        os.close(fd)


def size_of(folder: str, digest: str) -> int:
    """Bytes that are here of a blob."""
    try:
        return os.stat(os.path.join(folder, digest.partition(":")[2])).st_size
    except FileNotFoundError:
        return 0
