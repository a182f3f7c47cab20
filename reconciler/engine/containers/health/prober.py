"""The prober: the one process of a pair of roots that runs health checks, for as long as a container that runs has one.

Apart from the keeper, because entering a container takes a fork, and a fork a process without other threads; so hostile
images are also kept away from what restarts containers. It holds no state: killed, it is started again by whoever
starts, changes or looks at containers next, and goes on with the verdicts that it finds. How it is woken: `upkeep`.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from typing import TYPE_CHECKING

from reconciler.engine.containers import bundle, catalog, helpers, status, stopping
from reconciler.engine.containers.health import journal, upkeep, verdict
from reconciler.engine.containers.health.check import check_of
from reconciler.engine.containers.health.confining import confinement_of
from reconciler.engine.containers.health.probe import PART, Probe
from reconciler.engine.containers.health.verdict import FAILED, Result, Verdict
from reconciler.engine.facade import Engine
from reconciler.engine.kernel import cgroups, files, inside, locks, notify, processes
from reconciler.kits.errors import ReconcilerError

if TYPE_CHECKING:
    from reconciler.engine.containers.catalog import Record
    from reconciler.engine.containers.health.check import Check
    from reconciler.engine.kernel.inside import Confinement
    from reconciler.engine.paths import Paths
    from reconciler.engine.records import ImageConfig

LINGER = 5.0
"""Seconds that the prober stays when no container is left to be probed: one that is being restarted comes back."""

RESYNC = 30.0
"""Seconds between looks at everything, for what nobody told of."""

LOOKS_APART = 0.25
"""Seconds between looks at everything that are asked for: many containers may be started at a time."""

SPREAD = 5.0
"""Seconds over which the probes that are overdue when a prober begins are spread."""

LATER = 1.0
"""Seconds until one that can't be probed just now (it is paused, or about to end) is looked at again."""

SOON = 0.05
"""Seconds until the remains of its last probe are looked at again."""


def main(arguments: list[str]) -> int:
    """`ROOT RUN`. What goes wrong is told in RUN/after.log."""
    os.umask(0o022)
    engine = Engine(*arguments)
    group = f"{engine.paths.cgroup}/monitors"
    try:
        lock = locks.take_over(engine.paths.prober_lock)
        if lock is None:
            return 0
        inside.be_ready()
        # Out of the session or unit of whoever started us, and at the end out of the group that may go away.
        cgroups.enter(group, os.getpid())
        while lock is not None:
            Prober(engine).work()
            os.close(lock)
            # Who found the lock held meanwhile has left its container to us.
            lock = locks.take_over(engine.paths.prober_lock) if Prober(engine).look() else None
        engine.leave()
    except Exception as error:
        helpers.note(engine.paths, f"health checks: {error!r}")
        return 1
    return 0


class Patient:
    """A container that runs and is checked; `due` is when to probe it next, in monotonic seconds."""

    def __init__(self, record: Record, image: ImageConfig, check: Check, found: Verdict) -> None:
        self.record = record
        self.image = image
        self.check = check
        self.verdict = found
        self.due = time.monotonic() + self._first_pause()
        self.probe: Probe | None = None
        self.confinement: Confinement | None = None
        self.part = ""
        self.kill_at = 0.0
        self.blocked_since = 0.0

    def _first_pause(self) -> float:
        """Counted from the last probe or the start; what is overdue when a prober begins is spread a little."""
        since = self.verdict.log[-1].end if self.verdict.log else self.record.started
        left = self._pause() - (time.time() - since)
        return left if left > 0 else self._share(min(self.check.interval, SPREAD))

    def _pause(self) -> float:
        ran = max(0.0, time.time() - self.record.started)
        return self.check.pause(ran, starting=self.verdict.status == verdict.STARTING)

    def _share(self, seconds: float) -> float:
        """A part of a time that is another one for each container, and always the same."""
        return seconds * int(self.record.id[:6], 16) / 0x1000000

    def plan_next(self, before: Verdict) -> None:
        """After a probe. Once, when it has become healthy, the pause is shorter, so that not all are probed at a time."""
        pause = self._pause()
        if before.status == verdict.STARTING and self.verdict.status == verdict.HEALTHY:
            pause = self._share(pause)
        self.due = time.monotonic() + pause


class Prober:
    """Probes whoever is due, and waits for nobody."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._paths: Paths = engine.paths
        self._patients: dict[str, Patient] = {}
        self._leaving: list[tuple[str, Probe]] = []
        self._look_at = 0.0
        self._poll = select.poll()
        self._polled: set[int] = set()

    def work(self) -> None:
        """Probe until no container that is checked has run for a while."""
        with notify.Folder(upkeep.folder_of(self._paths)) as folder:
            self._poll.register(folder.descriptor, select.POLLIN)
            looked = idle_since = 0.0
            while True:
                now = time.monotonic()
                if now >= self._look_at:
                    self.look()
                    self._look_at = now + RESYNC
                    looked = now
                for patient in list(self._patients.values()):
                    self._attend(patient)
                self._leaving = [(one, probe) for one, probe in self._leaving if not self._has_left(probe)]
                if self._patients or self._leaving:
                    idle_since = now
                elif now - idle_since > LINGER or self._engine.containers.none_left():
                    return
                if self._wait(folder):
                    self._look_at = min(self._look_at, max(now, looked + LOOKS_APART))

    def look(self) -> bool:
        """See which containers are to be probed, and how; returns whether there are any."""
        found = {}
        images: dict[str, ImageConfig] = {}
        for record in self._engine.containers.every():
            if not self._is_checked(record):
                continue
            try:
                if record.image not in images:
                    images[record.image] = self._engine.images.resolve(record.image)
            except ReconcilerError as error:
                helpers.note(self._paths, f"health check of container {record.name}: {error}")
                continue
            if check := check_of(record.config.health, images[record.image]):
                found[record.id] = self._patient(record, images[record.image], check)
        for container_id in self._patients.keys() - found.keys():
            self._drop(self._patients[container_id])
        self._patients = found
        return bool(found)

    def _is_checked(self, record: Record) -> bool:
        """Whether it runs, and not just waits to be let go, and its run is one that is checked."""
        lives = record.state == catalog.RUNNING and status.lives(record)
        return lives and bool(journal.status(self._paths, record)) and not status.waits(self._paths, record)

    def _patient(self, record: Record, image: ImageConfig, check: Check) -> Patient:
        known = self._patients.get(record.id)
        if known and known.record.generation == record.generation:
            known.record = record
            if known.check != check:
                known.check = check
                known.plan_next(known.verdict)
            return known
        if known:
            self._drop(known)
        return Patient(record, image, check, journal.read(self._paths, record) or Verdict())

    def _drop(self, patient: Patient) -> None:
        """It does not run any more, or is not to be probed; so its probe is not wanted any more either."""
        self._patients.pop(patient.record.id, None)
        if patient.probe:
            patient.probe.give_up()
            self._let_go(patient)

    def _let_go(self, patient: Patient) -> None:
        """Its probe is over, or not wanted any more. Until nothing is left of it there is no next one."""
        if patient.probe and not self._has_left(patient.probe):
            self._leaving.append((patient.record.id, patient.probe))
        patient.probe = None

    def _has_left(self, probe: Probe) -> bool:
        """Also where that can't be found out: the next probe's start sees what is in the way."""
        try:
            return probe.leave()
        except Exception as error:
            helpers.note(self._paths, f"the end of a probe: {error!r}")
            probe.close()
            return True

    # --- one container ------------------------------------------------------------------------------------------------

    def _attend(self, patient: Patient) -> None:
        """Do what is to be done for a container now; its trouble is nobody else's."""
        try:
            if patient.probe:
                result = patient.probe.advance(lambda: self._is_frozen(patient))
                if result:
                    self._let_go(patient)
                    self._note(patient, result)
            elif patient.due <= time.monotonic():
                self._begin(patient)
            if patient.kill_at and patient.kill_at <= time.monotonic():
                stopping.send(patient.record, signal.SIGKILL)
                patient.kill_at = 0.0
        except Exception as error:
            helpers.note(self._paths, f"health check of container {patient.record.name}: {error!r}")
            patient.due = time.monotonic() + patient.check.interval
            if patient.probe:
                patient.probe.give_up()
                self._let_go(patient)

    def _is_frozen(self, patient: Patient) -> bool:
        return cgroups.is_frozen(f"{self._paths.cgroup}/{patient.record.id}")

    def _begin(self, patient: Patient) -> None:
        record = patient.record
        pidfd = processes.open_process(record.pid, record.pid_start)
        if pidfd < 0:
            self._drop(patient)
            return
        try:
            if record.ailing:  # a prober was killed before it could end it
                self._end(patient)
            elif not self._is_frozen(patient):
                patient.probe = self._started(patient, pidfd)
                return
            patient.due = time.monotonic() + LATER
            patient.blocked_since = 0.0
        except (OSError, ReconcilerError) as error:
            now = time.time()
            self._note(patient, Result(now, now, FAILED, getattr(error, "message", str(error))))
        finally:
            os.close(pidfd)

    def _started(self, patient: Patient, pidfd: int) -> Probe | None:
        if patient.check.fault:
            raise ReconcilerError(patient.check.fault, code="probe")
        if patient.confinement is None:
            group = f"{self._paths.cgroup}/{patient.record.id}"
            patient.part, joined = cgroups.part(group, PART)
            patient.confinement = confinement_of(self._paths, patient.record.id, joined)
        leaves = any(patient.record.id == one for one, _ in self._leaving)
        if leaves or not cgroups.kill_part(patient.part):  # or one of a prober that was killed
            self._put_off(patient)
            return None
        patient.blocked_since = 0.0
        return Probe(pidfd, patient.confinement, patient.check, patient.part)

    def _put_off(self, patient: Patient) -> None:
        """Its last probe is not gone yet. One that can't be killed is no excuse: after the timeout that is a failure, too."""
        now = time.monotonic()
        patient.blocked_since = patient.blocked_since or now
        waited = now - patient.blocked_since
        if waited >= patient.check.timeout:
            patient.blocked_since = 0.0
            raise ReconcilerError(
                f"no probe could be started for {patient.check.timeout:g}s: processes of the last one do not end",
                code="probe",
            )
        patient.due = now + max(SOON, waited / 4)

    def _note(self, patient: Patient, result: Result) -> None:
        """A probe is over: keep what has come of it, and act on it."""
        record = patient.record
        if not status.lives(record):
            self._drop(patient)
            return
        before = patient.verdict
        patient.verdict = verdict.judge(before, result, patient.check, record.started)
        journal.write(self._paths, record.id, record.generation, patient.verdict)
        # Who switches a check off commits that before the journal is forgotten: what is written after that is found out here.
        now = self._engine.containers.get(record.id)
        if now is None or check_of(now.config.health, patient.image) is None:
            journal.forget(self._paths, record.id)
            self._drop(patient)
            return
        patient.plan_next(before)
        if patient.verdict.status == verdict.HEALTHY and record.health_restarts:
            with self._engine.store.write() as connection:
                catalog.change(connection, record.id, health_restarts=0)
                patient.record = catalog.get(connection, record.id) or record
        elif patient.verdict.status == verdict.UNHEALTHY != before.status:
            self._treat(patient)

    def _treat(self, patient: Patient) -> None:
        """It has become unhealthy: have it restarted, if that is wanted and has not been tried too often."""
        limit = patient.check.restarts
        if limit is None:
            return
        with self._engine.store.write() as connection:
            record = catalog.get(connection, patient.record.id)
            if record is None or record.generation != patient.record.generation or record.wanted != catalog.WANTED:
                return
            if limit and record.health_restarts >= limit:
                return
            catalog.change(connection, record.id, ailing=1, health_restarts=record.health_restarts + 1)
            patient.record = catalog.get(connection, record.id) or record
        self._end(patient)

    def _end(self, patient: Patient) -> None:
        """End the container's first process; its exit hook does the rest, as with any end."""
        if patient.kill_at:
            return
        record = patient.record
        files.write_file(os.path.join(self._paths.bundle(record.id), bundle.SETTLE_MARK), b"")
        patient.kill_at = time.monotonic() + record.config.stop_timeout
        stopping.send(record, stopping.stop_signal(record.config, patient.image))

    # --- waiting ------------------------------------------------------------------------------------------------------

    def _wait(self, folder: notify.Folder) -> bool:
        """Until something is to be done; returns whether somebody asks for a look at everything."""
        now = time.monotonic()
        wakes = min(self._look_at, now + (RESYNC if self._patients else LINGER))
        wanted: set[int] = set()
        for _, probe in self._leaving:
            wanted.update(probe.descriptors)
            wakes = min(wakes, probe.wakes_at)
        for patient in self._patients.values():
            if patient.probe:
                wanted.update(patient.probe.descriptors)
                wakes = min(wakes, patient.probe.wakes_at)
            else:
                wakes = min(wakes, patient.due)
            if patient.kill_at:
                wakes = min(wakes, patient.kill_at)
        for fd in self._polled - wanted:
            self._poll.unregister(fd)
        for fd in wanted - self._polled:
            self._poll.register(fd, select.POLLIN)
        self._polled = wanted
        ready = {fd for fd, _ in self._poll.poll(max(0.0, wakes - now) * 1000)}
        return folder.descriptor in ready and upkeep.POKE in folder.names(0.0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
