"""One scenario: two stacks on one machine, edits, drift, faults, applies that are killed or take turns; and its oracles.

A scenario is a function of its chance. Each has a twin, a machine to which the same is done and on which nothing fails:
where the twin ends, the other one must end, too, once faults have stopped.

    data      no volume loses what is in it, unless somebody asked for that
    owners    a key, an address, a host port has one owner, after every effect
    folders   nobody starts on a writable volume of who still runs and does not share it by any spec
    order     users stop before what they use and start after it; conditions are waited for
    rollout   a run that failed has taken down only what its plan said, and brought back all that nothing failed of
    calm      without faults a valid spec is applied without an error
    again     a second apply finds nothing to do
    settles   once faults have stopped, the plan is empty in three passes at the most, and stays so
    same      then all is as on the twin, and no volume was left over
    refused   what can't be is refused before anything is touched
    down      `down` leaves no container, and all volumes
"""

from __future__ import annotations

from collections import Counter

from watched import Watched, loose_in, shape

from reconciler.executor import virtual
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.frozen import replace
from reconciler.loop.converge import PassReporter
from reconciler.loop.pulling import pull_first
from reconciler.model.action import AwaitContainer, PullImage, RemoveVolume, StopContainer
from reconciler.model.desired import UPDATABLE, Link, Port
from reconciler.model.observed import PortBinding, Scope
from reconciler.model.plan import REMOVE, RESTART, START, STOP
from reconciler.planner import planning
from reconciler.planner.document import document
from reconciler.planner.options import Options
from reconciler.planner.scope import scope_of
from reconciler.planner.text import render
from reconciler.runtimes.simulated.faults import EFFECT_FAULTS, EVENT_FAULTS, LOOK_FAULTS, Crash
from reconciler.runtimes.simulated.oracle import broken_links, out_of_order, too_early
from reconciler.runtimes.simulated.world import SimulatedVolume
from specs import EXTERNAL, IMAGES, JOBS, REMOTE, Maker

KEYS = [*(f"c{number}" for number in range(10)), *JOBS]
OTHER_KEYS = ["d0", "d1", "d2", "d3"]
PORTS, OTHER_PORTS = [8080, 8081, 8082, 8083], [9080, 9081]
PASSES = 3
"""How many passes a stack may take to settle. Two: what was pulled may show more to do, and a job may have ended."""
PATIENCE = 40.0

DRIFTS = (
    "kill",
    "exit",
    "stop_by_hand",
    "remove_by_hand",
    "pause",
    "unpause",
    "break_down",
    "loosen",
    "tear",
    "sicken",
)
DRIFTS += ("give_up", "loop", "sick_for_good", "died_of_memory")


class Machine:
    """One of the two: the runtime, its clock, and what was counted."""

    def __init__(self, chance_of, make=Watched, planner=planning.plan, **more):
        self.clock = virtual.VirtualClock(1000.0)
        self.runtime = make(IMAGES, clock=self.clock, **more)
        self.runtime.faults.advance = self.clock.advance
        self.runtime.world.volumes[EXTERNAL] = SimulatedVolume(EXTERNAL)
        self.runtime.jobs = dict.fromkeys(JOBS, 0)
        self.planner = planner
        self.seed = chance_of
        self.last_event = 0.0

    @property
    def world(self):
        return self.runtime.world

    def look_and_plan(self, stack, options=Options()):  # noqa: B008
        self.runtime.wished(stack)
        seen = self.runtime.observe(scope_of(stack, options))
        return self.planner(stack, seen, options, self.runtime.capabilities)


class Scenario:
    """Runs at once when it is made; then `violations` says what was wrong and the counters what was tried."""

    def __init__(self, chance, *, make=Watched, planner=planning.plan):
        self.chance = chance
        pull = chance.odds(60)
        more = {
            "registry": REMOTE if pull else None,
            "prepare": chance.odds(80),
            "update_in_place": chance.one(
                [UPDATABLE, UPDATABLE, UPDATABLE, frozenset(), frozenset({"labels", "ports"})]
            ),
        }
        self.machine = Machine(chance.below(1000), make, planner, **more)
        self.twin = Machine(0, Watched, planning.plan, **more)
        self.makers = {
            "s": Maker(chance, "s", KEYS, PORTS, pull=pull),
            "t": Maker(chance, "t", OTHER_KEYS, OTHER_PORTS, pull=pull),
        }
        self.wishes = {"s": self.makers["s"].first(6, 10), "t": self.makers["t"].first(1, 4)}
        self.sizes = [len(self.wishes["s"].containers)]
        self.kinds = Counter()
        self.passes = 0
        self._run()

    @property
    def violations(self):
        return [*self.machine.runtime.violations, *((f"twin: {o}", text) for o, text in self.twin.runtime.violations)]

    @property
    def actions(self):
        return Counter(type(action).__name__ for action in self.machine.runtime.trace)

    @property
    def struck(self):
        return self.machine.runtime.faults.struck

    # What happens.

    def _run(self):
        self._first_up()
        for _ in range(self.chance.one([1, 2, 2, 3])):
            self._episode()
        self._settle()
        self._compare()
        if self.chance.odds(30):
            self._down(self.machine, "s", Options(remove_volumes=self.chance.odds(50)), honest=True)

    def _first_up(self):
        for wish in self.wishes.values():
            self._apply(self.twin, wish.stack)
        if self.chance.odds(50):
            for wish in self.wishes.values():
                self._apply(self.machine, wish.stack)
        else:
            self._with_faults()
        self._quiet()

    def _quiet(self):
        self.machine.runtime.faults.clear()
        self.machine.runtime.sick.clear()
        for one in (self.machine, self.twin):
            for container in one.world.containers.values():
                if container.state == "restarting":
                    container.state = "running"
                    container.health = "starting" if one.runtime._is_checked(container) else ""

    def _episode(self):
        for _ in range(self.chance.one([0, 1, 1, 2])):
            name = self.chance.one("ssst")
            self.wishes[name] = self.makers[name].edited(self.wishes[name])
        self.sizes.append(len(self.wishes["s"].containers))
        for _ in range(self.chance.below(4)):
            self._drift()
        for wish in self.wishes.values():
            self._apply(self.twin, wish.stack)
        ways = [self._with_faults] * 6 + [self._at_once] * 2
        ways += [
            self._blind,
            self._watching,
            self._meddled,
            self._cancelled,
            self._by_hand,
            self._refused,
            self._taken_down,
        ]
        way = self.chance.one(ways)
        self.kinds[way.__name__.strip("_")] += 1
        way()
        self._quiet()

    def _drift(self):
        chance = self.chance
        what = chance.below(10)
        both = (self.machine, self.twin)
        if what == 0:
            reference, image = chance.one(["app:1", "app:2"]), f"sha256:moved{chance.below(3)}"
            for one in both:
                one.runtime.tag(reference, image)
        elif what == 1:
            reference, image = chance.one(["app:1", "app:2", "new:1", "new:2"]), f"sha256:pushed{chance.below(3)}"
            for one in both:
                one.runtime.publish(reference, image)
        elif what == 2:
            for one in both:
                one.runtime.lose_network()
        elif what == 3 and chance.odds(30) and self.machine.runtime.capabilities.pull:
            for one in both:
                one.world.images.pop("app:2", None)
                one.world.registry.setdefault("app:2", IMAGES[1])
        else:
            name = chance.one("ssst")
            key, way = chance.one(list(self.wishes[name].containers)), chance.one(DRIFTS)
            for one in both:
                drift(one.runtime, name, key, way)

    def _strike(self, most=60):
        faults = self.machine.runtime.faults
        for _ in range(self.chance.one([1, 1, 1, 2, 3])):
            faults.strikes[faults.effects + 1 + self.chance.below(most)] = self.chance.one(EFFECT_FAULTS)
        if self.chance.odds(20):
            self.machine.runtime.sick.add(self.chance.one(KEYS))
        if self.chance.odds(10):
            faults.fail_actions[faults.actions + 1 + self.chance.below(20)] = "no luck"

    def _with_faults(self):
        self._strike()
        for wish in self.wishes.values():
            self._apply(self.machine, wish.stack, self._options(), calm=False)

    def _options(self):
        return Options(wait=self.chance.odds(30), pull=self.chance.one(["", "", "", "missing"]))

    def _at_once(self):
        """Two stacks are applied at the same time, step by step in turns; one of the two may be killed."""
        if self.chance.odds(60):
            self._strike()
        runs = {}
        for name, wish in self.wishes.items():
            if made := self._planned(self.machine, wish.stack, Options(), calm=False):
                runs[name] = self._stepwise(self.machine, made)
        while runs:
            name = self.chance.one(list(runs))
            try:
                next(runs[name])
            except StopIteration as end:
                self._judge(self.machine, end.value, calm=False, honest=False)
                del runs[name]
            except Crash:
                del runs[name]

    def _blind(self):
        self.machine.runtime.faults.look = self.chance.one(LOOK_FAULTS)  # who has a folder may not be seen
        if self.chance.odds(50):
            self._strike()
        for wish in self.wishes.values():
            self._apply(self.machine, wish.stack, calm=False, honest=False)

    def _watching(self):
        """Something passes whenever it is told that something has happened, and now and then without being told."""
        faults = self.machine.runtime.faults
        for tick in range(3):
            self._drift_one()
            faults.hints = self.chance.one(EVENT_FAULTS)
            told = list(self.machine.runtime.events(self.machine.last_event, lambda: False))
            self.machine.last_event = max([self.machine.last_event, *(event.at for event in told)])
            if told or tick == 2:
                for wish in self.wishes.values():
                    self._apply(self.machine, wish.stack, calm=False)

    def _drift_one(self):
        key = self.chance.one(list(self.wishes["s"].containers))
        drift(self.machine.runtime, "s", key, self.chance.one(["kill", "remove_by_hand", "stop_by_hand"]))

    def _meddled(self):
        """Other hands are at work while a plan is carried out."""
        for wish in self.wishes.values():
            made = self._planned(self.machine, wish.stack, Options(), calm=False)
            run = self._stepwise(self.machine, made) if made else iter(())
            for _ in run:
                if self.chance.odds(15):
                    self._drift_one()

    def _cancelled(self):
        left = len(self.machine.runtime.trace) + 1 + self.chance.below(15)
        for wish in self.wishes.values():
            self._apply(self.machine, wish.stack, calm=False, cancel=lambda: len(self.machine.runtime.trace) >= left)

    def _by_hand(self):
        """A user stops, starts or restarts some or all, and may be killed at it."""
        if self.chance.odds(50):
            self._strike(10)
        seen = self.machine.runtime.observe(Scope("s"))
        keys = sorted(seen.of_stack("s"))
        chosen = self.chance.some(keys, 3) if self.chance.odds(50) else []
        change = self.chance.one([STOP, START, RESTART])
        if self.chance.odds(10):
            self._must_refuse(lambda: planning.plan_by_hand("s", seen, change, ["nosuch"]), "not-found")
        made = planning.plan_by_hand("s", seen, change, chosen, prepare=self.machine.runtime.capabilities.prepare)
        render(made)
        self._execute(self.machine, made, calm=False, honest=False)
        if change == STOP and not self.struck and not chosen:
            up = [c.name for c in self.machine.world.containers.values() if c.stack == "s" and c.live]
            if up and not self.machine.runtime.faults.strikes:
                self.machine.runtime.violated("down", f"still up after stop: {up}")

    def _taken_down(self):
        if self.chance.odds(50):
            self._strike(30)
        options = Options(remove_volumes=self.chance.odds(40))
        name = self.chance.one("st")
        self._down(self.machine, name, options, honest=False)
        self._down(self.twin, name, options, honest=True)
        self._apply(self.twin, self.wishes[name].stack)

    def _down(self, machine, name, options, *, honest):
        runtime = machine.runtime
        before = set(machine.world.volumes)
        wish = self.wishes[name]
        made = planning.plan_down(
            name, runtime.observe(Scope(name)), options, source=wish.stack.source, origin=wish.stack.origin
        )
        render(made)
        document(made)
        runtime.mourned |= {step.action.name for step in made.steps if isinstance(step.action, RemoveVolume)}
        self._execute(machine, made, calm=honest, honest=honest)
        runtime.check_data(before)
        if honest:
            left = [c.name for c in machine.world.containers.values() if c.stack == name]
            if left:
                runtime.violated("down", f"still there after down: {left}")

    def _refused(self):
        """What can't be: nothing is touched, and the reason is the one that was planted."""
        wish = self.wishes["s"]
        stack = wish.stack
        first = next(iter(stack.containers))
        container = stack.containers[first]
        last = list(stack.containers)[-1]
        runtime = self.machine.runtime
        name, port = "s-taken", 8099

        def having(one):
            return replace(stack, containers={**stack.containers, first: one})

        runtime.by_hand(name, (PortBinding(80, "tcp", "", port),))
        external = {**stack.volumes, "x": replace(stack.volumes["v0"], name="nosuch", external=True)}
        foreign = {**stack.volumes, "x": replace(stack.volumes["v0"], name="t_foreign")}
        self.machine.world.volumes["t_foreign"] = SimulatedVolume("t_foreign", "t", "foreign")
        new_links = (*container.links, Link(last, "circle")) if last != first else (Link(first, "self"),)
        wrong = [
            (having(replace(container, links=(Link("nosuch", "x"),))), "unknown-container"),
            (replace(having(replace(container, links=new_links)), origin=stack.origin), None),
            (having(replace(container, name=name, user="new")), "name-taken"),
            (having(replace(container, ports=(*container.ports, Port(99, host_port=port)), user="n")), "port-taken"),
            (replace(stack, volumes=external), "no-volume"),
            (replace(stack, volumes=foreign), "volume-taken"),
            (replace(stack, origin="/other.yaml"), "other-origin"),
            (having(replace(container, image="nosuch:1", user="new", pull_policy="never")), "no-image"),
        ]
        asked, code = self.chance.one(wrong)
        before = list(runtime.wishes.get("s", ()))
        self._must_refuse(lambda: self.machine.look_and_plan(asked), code)
        del self.machine.world.volumes["t_foreign"]
        del self.machine.world.containers[name]
        runtime.wishes["s"] = before

    def _must_refuse(self, call, code):
        before = self.machine.runtime.faults.effects
        there = any(c.stack == "s" and c.origin for c in self.machine.world.containers.values())
        try:
            call()
        except ReconcilerError as error:
            codes = {problem.code for problem in getattr(error, "problems", (error,))}
            str(error)
            if code and code not in codes:
                self.machine.runtime.violated("refused", f"{codes} instead of {code}")
        else:
            if code and (there or code != "other-origin"):
                self.machine.runtime.violated("refused", f"{code} was planned")
        if self.machine.runtime.faults.effects != before:
            self.machine.runtime.violated("refused", "something was touched")

    # One pass, and what must be true of it.

    def _planned(self, machine, stack, options, *, calm):
        try:
            made = machine.look_and_plan(stack, options)
        except ReconcilerError as error:
            if calm:
                machine.runtime.violated("calm", f"refused: {error}")
            return None
        text = render(made)
        if self.chance.odds(5):
            document(made)
            if (
                render(machine.look_and_plan(shuffled(stack, self.chance), options)) != text
                and not machine.runtime.faults.look
            ):
                machine.runtime.violated("calm", "another order of the same spec gives another plan")
        return made

    def _apply(self, machine, stack, options=Options(), *, calm=True, honest=True, cancel=None):  # noqa: B008
        """A pass as `apply` makes it. Calm: nothing fails. Honest: nobody but this pass changes anything meanwhile."""
        lost = machine.world.network_faults
        made = self._planned(machine, stack, options, calm=calm)
        if made is None:
            return
        if made.empty:
            return
        if isinstance(made.steps[0].action, PullImage):
            try:
                pull_first(
                    made,
                    stack,
                    machine.runtime,
                    options,
                    lambda steps: self._execute(machine, steps, calm=calm, honest=honest, cancel=cancel),
                    PassReporter(),
                )
            except ReconcilerError as error:
                if calm:
                    machine.runtime.violated("calm", f"refused after the pull: {error}")
            except Crash:
                return
        else:
            self._execute(machine, made, calm=calm, honest=honest, cancel=cancel)
        looping = any(c.state == "restarting" for c in machine.world.containers.values())
        if calm and not looping and not (again := machine.look_and_plan(stack, options)).empty:
            missed = lost and {step.action.verb for step in again.steps} == {
                "repair"
            }  # nothing ran that it was missed by
            for text in [] if missed else [render(again)]:
                machine.runtime.violated("again", text)

    def _stepwise(self, machine, plan, cancel=None):
        deadline = machine.clock() + PATIENCE if machine is self.machine else None
        more = {"cancel": cancel} if cancel else {}
        self.passes += machine is self.machine
        seed = self.chance.below(1000)
        return virtual.stepwise(plan, machine.runtime, seed=seed, clock=machine.clock, deadline=deadline, **more)

    def _execute(self, machine, plan, *, calm, honest, cancel=None):
        """Carry a plan out; a crash comes out as an empty result, or, in the middle of a pull, as itself."""
        runtime = machine.runtime
        begin, started = len(runtime.trace), len(runtime.starts)
        live = {(c.stack, c.key) for c in machine.world.containers.values() if c.live}
        volumes = set(machine.world.volumes)
        runtime.remember_data()
        run = self._stepwise(machine, plan, cancel)
        result = None
        try:
            while True:
                next(run)
        except StopIteration as end:
            result = end.value
        except Crash:
            if plan.steps and isinstance(plan.steps[0].action, PullImage):
                raise
        finally:
            runtime.check_data(volumes)
        stack = (runtime.wishes.get(plan.stack) or [None])[-1]
        if honest and stack:
            wrong = out_of_order(stack, runtime.trace[begin:]) if len(runtime.wishes[plan.stack]) == 1 else []
            wrong += too_early(stack, runtime.starts[started:])
            own = {c.name for c in machine.world.containers.values() if c.stack == plan.stack}
            whole = result and result.ok and not _overlooked(machine)
            if whole and plan.steps and not isinstance(plan.steps[-1].action, PullImage):
                wrong += [text for text in broken_links(machine.world) if text.split()[0] in own]
            for text in wrong:
                runtime.violated("order", text)
        if result:
            self._judge(machine, result, calm=calm, honest=honest, live=live)
        return result or virtual.Result(plan)

    def _judge(self, machine, result, *, calm, honest, live=frozenset()):
        error = result.error()
        if calm and error and not all(_waits_for_a_loop(machine, step) for step, _ in result.failed):
            machine.runtime.violated("calm", str(error))
        if not honest or not error or result.interrupted:
            return
        blocked = {step.number for step, _ in result.failed}
        for step in result.plan.steps:
            if blocked & set(step.after):
                blocked.add(step.number)
        told, excused = set(), set()
        for step in result.plan.steps:
            if isinstance(step.action, StopContainer):
                told.add(step.action.key)
                if step.change == REMOVE:
                    excused.add(step.action.key)
            key = getattr(step.action, "key", "") or getattr(getattr(step.action, "container", None), "key", "")
            if step.number in blocked and not isinstance(step.action, AwaitContainer):
                excused.add(key)
        for stack, key in sorted(live):
            now = machine.world.find(stack, key)
            if stack == result.plan.stack and not (now and now.live) and key not in machine.runtime.jobs:
                if key not in told:
                    machine.runtime.violated("rollout", f"{key} went down, of which the plan said nothing")
                elif key not in excused:
                    machine.runtime.violated("rollout", f"{key} was left down, and nothing of it had failed")

    # The end.

    def _settle(self):
        runtime = self.machine.runtime
        self._quiet()
        for _ in range(PASSES):
            plans = [self._planned(self.machine, wish.stack, Options(), calm=True) for wish in self.wishes.values()]
            if all(made is not None and made.empty for made in plans):
                break
            for wish in self.wishes.values():
                self._apply(self.machine, wish.stack)
        for wish in self.wishes.values():
            self._apply(self.twin, wish.stack)
        self.machine.clock.advance(1e6)
        for wish in self.wishes.values():
            made = self._planned(self.machine, wish.stack, Options(), calm=True)
            if made is not None and not made.empty:
                runtime.violated("settles", render(made))

    def _compare(self):
        world, twin = self.machine.world, self.twin.world
        unsure = set()
        for name, wish in self.wishes.items():
            loose = loose_in(wish.stack)
            if _overlooked(self.machine):
                loose |= {key for key, container in wish.stack.containers.items() if container.volumes_from}
            unsure |= {(name, key) for key in loose}
            mine, theirs = shape(world, name, loose), shape(twin, name, loose)
            for key in sorted({*mine, *theirs}):
                if mine.get(key) != theirs.get(key):
                    self.machine.runtime.violated("same", f"{name}/{key}: {mine.get(key)} instead of {theirs.get(key)}")
            for key, seen in mine.items():
                if not seen[1] or not seen[2]:
                    self.machine.runtime.violated("same", f"{name}/{key} is not as it shall be: {seen}")
        deleted = self.machine.runtime.mourned
        known = {volume.owner or volume.name for volume in twin.volumes.values()}
        for volume in world.volumes.values():
            known_or_lost = (volume.owner or volume.name) in known or volume.name in deleted
            if not known_or_lost and volume.owner[:2] not in unsure and not _overlooked(self.machine):
                self.machine.runtime.violated("same", f"volume {volume.owner or volume.name} is left over")


def _overlooked(machine):
    """Whether some look was not the truth: a user of what was made anew then, and its volumes, may be as they were."""
    return any(machine.runtime.faults.struck[kind] for kind in LOOK_FAULTS)


def _waits_for_a_loop(machine, step):
    """What crashes in a loop gets healthy for nobody."""
    found = isinstance(step.action, AwaitContainer) and machine.world.find(step.action.stack, step.action.key)
    return bool(found) and found.state == "restarting"


def drift(machine, stack, key, way):
    """Let one container go astray, if it is there and made."""
    found = machine.world.find(stack, key)
    if found is None or found.state == "dead" or (way == "pause" and key in JOBS):
        return
    if way in ("kill", "exit", "loop", "give_up", "stop_by_hand", "pause") and not found.live:
        return  # what has ended has nobody to end it once more
    if way == "exit":
        machine.exit(stack, key, 0)
    elif way == "sick_for_good":
        machine.sicken(stack, key)
        found.health_restarts = 2 if found.health == "unhealthy" else 0
    elif way == "died_of_memory":
        found.error = "one was killed for memory" if found.live else found.error
    else:
        getattr(machine, way)(stack, key)


def shuffled(stack, chance):
    """The same, with its maps in another order."""
    keys = chance.shuffled(list(stack.containers))
    return replace(stack, containers={key: stack.containers[key] for key in keys})
