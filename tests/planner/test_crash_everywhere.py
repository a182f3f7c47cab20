"""By exhaustion: each way from one stack to another is killed before and after every effect, and the next apply arrives."""

import pytest
from planner_cases import stack
from random_stacks import apply, look_and_plan, shape

from reconciler.runtimes.simulated.faults import Crash
from reconciler.runtimes.simulated.oracle import broken_links, too_early
from reconciler.runtimes.simulated.runtime import Simulated

PAIR = """
containers:
  db: {image: db, volumes: ["data:/data", "/anonymous"]}
  web: {image: app, links: [db], ports: ["80", "8080:81"]}
  side: {image: app, volumes_from: [db], depends_on: [web]}
volumes: {data: }
"""

JOB_FIRST = """
containers:
  db: {image: db, healthcheck: {test: [CMD, x]}}
  migrate: {image: app, depends_on: ["db:service_healthy"]}
  web: {image: app, depends_on: ["db:service_healthy", "migrate:service_completed_successfully"]}
"""

MOVED = (
    PAIR.replace("db:", "database:", 1).replace("[db]", '["database:db"]', 1).replace("[db]", "[database]")
    .replace('"data:/data"', '"files:/data"').replace("volumes: {data: }", "volumes: {files: }")
    + "moved: [{from: containers.db, to: containers.database}, {from: volumes.data, to: volumes.files}]"
)  # fmt: skip

WAYS = {
    "a container and a volume are renamed": (PAIR, MOVED, ()),
    "what is renamed changes too": (PAIR, MOVED.replace("image: db", "image: db:2"), [("kill", "web")]),
    "first up": (None, PAIR, ()),
    "the link's target changes": (PAIR, PAIR.replace("image: db", "image: db:2"), ()),
    "the link's target was removed by hand": (PAIR, PAIR, [("remove_by_hand", "db")]),
    "all were stopped, broken or torn": (PAIR, PAIR, [("kill", "db"), ("break_down", "web"), ("tear", "side")]),
    "ports change and restart": (PAIR, PAIR.replace("8080", "8081"), ()),
    "one goes": (PAIR, PAIR.replace("  web:", "  next:").replace("[web]", "[next]"), ()),
    "a link turns around": (
        "containers: {a: {image: app, links: [b]}, b: {image: app}}",
        "containers: {a: {image: app}, b: {image: app, links: [a]}}",
        (),
    ),
    "ports change hands": (
        'containers: {a: {image: app, ports: ["8080:80"]}, b: {image: app, ports: ["8081:80"]}}',
        'containers: {a: {image: app, ports: ["8081:80"]}, b: {image: app, ports: ["8080:80"]}}',
        (),
    ),
    "a port that was random is asked for by another": (
        'containers: {a: {image: app, ports: ["80"]}}',
        'containers: {a: {image: app, ports: ["80"], user: x}, first: {image: app, ports: ["32768:80"], links: [a]}}',
        (),
    ),
    "a name changes hands": (
        "containers: {old: {image: app, container_name: front}, other: {image: app}}",
        "containers: {new: {image: app, container_name: front}, other: {image: app, container_name: old}}",
        (),
    ),
    "a finished job stays finished": (
        "containers: {db: {image: db}, job: {image: app, links: [db]}}",
        "containers: {db: {image: db:2}, job: {image: app, links: [db]}}",
        [("exit", "job", 0)],
    ),
    "a job comes first, and the next waits for a healthy one": (
        None,
        JOB_FIRST,
        (),
    ),
    "labels change in place": (PAIR, PAIR.replace("links: [db]", "links: [db], labels: {a: b}"), ()),
}


def wish(text):
    return stack(text)[0]


def world(before, drift):
    machine = Simulated(["app", "db", "db:2"])
    machine.jobs["migrate"] = 0
    if before:
        _, result = apply(machine, wish(before))
        assert result.ok, result.error()
    for way, key, *more in drift:
        getattr(machine, way)("shop", key, *more)
    return machine


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("seed", range(3))
def test_killed_at_every_effect(way, seed):
    before, after, drift = WAYS[way]
    calm = world(before, drift)
    begin = calm.faults.effects
    _, result = apply(calm, wish(after), seed)
    assert result.ok, result.error()
    assert calm.faults.effects > begin
    for effect in range(begin + 1, calm.faults.effects + 1):
        for point in ("crash_before", "crash_after"):
            machine = world(before, drift)
            setattr(machine.faults, point, effect)
            with pytest.raises(Crash):
                apply(machine, wish(after), seed)
            setattr(machine.faults, point, 0)
            _, result = apply(machine, wish(after), seed)
            assert result.ok, (effect, point, result.error())
            assert broken_links(machine.world) == [], (effect, point)
            assert look_and_plan(machine, wish(after)).empty, (effect, point)
            assert too_early(wish(after), machine.starts) == [], (effect, point)
            assert shape(machine) == shape(calm), (effect, point)
