"""What holds for every stack, every world and every way between them: the planner, with executor and simulated machine."""

from hypothesis import given, settings
from hypothesis import strategies as st
from planner_cases import stack
from random_stacks import (
    IMAGES,
    KEYS,
    apply,
    drifts,
    edits,
    look_and_plan,
    machine_with,
    renamed,
    shape,
    stacks,
)

from reconciler.executor import virtual
from reconciler.kits.frozen import replace
from reconciler.model.action import (
    PullImage,
    RemoveContainer,
    RemoveVolume,
    StartContainer,
    StopContainer,
    UpdateContainer,
)
from reconciler.model.observed import DEAD, Observed
from reconciler.model.plan import REMOVE
from reconciler.planner.document import document
from reconciler.planner.options import Options
from reconciler.planner.planning import plan, plan_down
from reconciler.planner.scope import scope_of
from reconciler.planner.text import render
from reconciler.runtimes.simulated import faults
from reconciler.runtimes.simulated.oracle import broken_links, out_of_order, too_early

many = settings(deadline=None, max_examples=150)
seeds = st.integers(0, 1000)


@many
@given(stacks(), seeds)
def test_a_first_apply_brings_all_up_in_order_and_a_second_has_nothing_to_do(stack, seed):
    machine = machine_with(None)
    _, result = apply(machine, stack, seed)
    assert result.ok, result.error()
    assert {c.key: c.state for c in machine.world.containers.values()} == dict.fromkeys(stack.containers, "running")
    assert out_of_order(stack, machine.trace) == []
    assert broken_links(machine.world) == []
    assert look_and_plan(machine, stack).empty


@many
@given(edits(), drifts, seeds, st.booleans(), st.sampled_from([None, frozenset(), frozenset({"labels"})]))
def test_any_edit_of_any_drifted_world_converges_and_keeps_all_data(edit, ways, seed, moved, updatable):
    before, after = edit
    more = {} if updatable is None else {"update_in_place": updatable}
    machine = machine_with(before, ways, **more)
    contents = {name: dict(volume.content) for name, volume in machine.world.volumes.items()}
    places = {c.key: place_of(c) for c in machine.world.containers.values()}
    if moved:
        machine.tag("app:1", "sha256:moved")
    made, result = apply(machine, after, seed)
    assert result.ok, (render(made), result.error())
    assert broken_links(machine.world) == []
    assert look_and_plan(machine, after).empty, render(look_and_plan(machine, after))
    for name, content in contents.items():
        assert machine.world.volumes[name].content == content
    owners = [volume.owner for volume in machine.world.volumes.values() if volume.owner]
    assert len(owners) == len(set(owners)), "a successor got a new anonymous volume"
    for container in machine.world.containers.values():
        address, port = places.get(container.key, ("", 0))
        assert container.address == address or not address
        assert place_of(container)[1] == port or not port or not place_of(container)[1]


@many
@given(edits(), drifts, seeds, st.sets(st.sampled_from(KEYS), min_size=1, max_size=2))
def test_what_is_asked_for_is_made_anew_and_keeps_its_data(edit, ways, seed, chosen):
    before, after = edit
    anew = chosen & after.containers.keys()
    machine = machine_with(before, ways)
    ids = {c.key: c.id for c in machine.world.containers.values()}
    contents = {name: dict(volume.content) for name, volume in machine.world.volumes.items()}
    made = look_and_plan(machine, after, anew=frozenset(anew))
    result = virtual.execute(made, machine, seed=seed)
    assert result.ok, (render(made), result.error())
    assert [key for key in anew if machine.world.find("s", key).id == ids.get(key)] == []
    assert broken_links(machine.world) == []
    assert look_and_plan(machine, after).empty, render(look_and_plan(machine, after))
    for name, content in contents.items():
        assert machine.world.volumes[name].content == content


def place_of(container):
    """Its address and, if it has one, its random host port."""
    return container.address, next((b.host_port for b in container.ports if b.container_port == 80), 0)


@many
@given(edits(), drifts, seeds)
def test_users_stop_before_what_they_use_and_start_after_it(edit, ways, seed):
    before, after = edit
    machine = machine_with(before, ways)
    old = {key: container.settings for key in KEYS if (container := machine.world.find("s", key))}
    begin = len(machine.trace)
    apply(machine, after, seed)
    trace = machine.trace[begin:]
    starts = {action.key: n for n, action in enumerate(trace) if isinstance(action, StartContainer)}
    stops = {action.key: n for n, action in enumerate(trace) if isinstance(action, StopContainer)}
    for key, used in uses_of({key: container.settings() for key, container in after.containers.items()}).items():
        assert [t for t in used if key in starts and starts.get(t, -1) > starts[key]] == []
    for key, used in uses_of(old).items():
        assert [t for t in used if key in stops and stops.get(t, 10**9) < stops[key]] == []


@many
@given(edits(), drifts, seeds, st.booleans(), st.sets(st.sampled_from(KEYS), max_size=2))
def test_nobody_is_started_before_what_it_waits_for_is_healthy(edit, ways, seed, wait, sick):
    before, after = edit
    machine = machine_with(before, ways)
    machine.sick = sick
    machine.starts.clear()
    made = look_and_plan(machine, after, wait=wait)
    result = virtual.execute(made, machine, seed=seed)
    assert too_early(after, machine.starts) == []
    if wait and result.ok:
        unwell = [c.key for c in machine.world.containers.values() if c.health not in ("", "healthy")]
        assert unwell == []
        assert look_and_plan(machine, after, wait=True).empty
    if not result.ok:
        assert {step.action.verb for step, _ in result.failed} == {"wait"}
        assert {step.action.key for step, _ in result.failed} <= sick, result.error()
        assert result.error().exit_code == 4


@given(seeds)
def test_health_is_waited_for_once_the_check_has_changed_in_place(seed):
    before, _ = stack("containers: {db: {image: app:1}, web: {image: app:1}}")
    after, _ = stack(
        "containers: {db: {image: app:1, healthcheck: {test: [CMD, x]}}, web: {image: app:2, depends_on: [db:service_healthy]}}"
    )
    machine = machine_with(before)
    result = virtual.execute(look_and_plan(machine, after), machine, seed=seed)
    assert result.ok, result.error()


@many
@given(stacks(), seeds, st.integers(0, 40), st.booleans())
def test_a_stack_with_everything_in_it_is_renamed_and_nothing_else_happens(before, seed, effect, early):
    machine = machine_with(before)
    ids = sorted((c.id, c.address, c.state, c.ports) for c in machine.world.containers.values())
    contents = sorted(volume.content.get("/precious", "") for volume in machine.world.volumes.values())
    begin, point = len(machine.trace), machine.faults.effects + effect
    after = renamed(before, "t")
    if effect:
        machine.faults.crash_before, machine.faults.crash_after = (point, 0) if early else (0, point)
    try:
        made, result = apply(machine, after, seed)
    except faults.Crash:
        machine.faults.crash_before = machine.faults.crash_after = 0
        made, result = apply(machine, after, seed + 1)
    machine.faults.crash_before = machine.faults.crash_after = 0
    assert result.ok, (render(made), result.error())
    assert {action.verb for action in machine.trace[begin:]} == {"rename"}
    assert sorted((c.id, c.address, c.state, c.ports) for c in machine.world.containers.values()) == ids
    assert sorted(volume.content.get("/precious", "") for volume in machine.world.volumes.values()) == contents
    assert {c.key for c in machine.world.containers.values() if c.stack == "t"} == set(after.containers)
    assert broken_links(machine.world) == []
    assert look_and_plan(machine, after).empty
    calm = machine_with(replace(after, moved=()))
    assert shape(machine)["containers"] == shape(calm)["containers"]


def uses_of(all_settings):
    """All that each container uses, directly or not."""
    direct = {
        key: {text.partition(":")[0] for name in ("links", "depends_on", "volumes_from") for text in made.get(name, ())}
        for key, made in all_settings.items()
    }
    for _ in direct:
        direct = {key: used.union(*(direct.get(t, set()) for t in used)) for key, used in direct.items()}
    return direct


@many
@given(edits(), drifts)
def test_no_plan_touches_a_volume_or_what_is_as_it_should_be(edit, ways):
    before, after = edit
    machine = machine_with(before, ways)
    made = look_and_plan(machine, after)
    assert not [step for step in made.steps if isinstance(step.action, RemoveVolume)]
    assert all(step.reasons and all(reason.text for reason in step.reasons) for step in made.steps)
    down = plan_down("s", machine.observe(scope_of(before)), Options())
    assert not [step for step in down.steps if isinstance(step.action, RemoveVolume)]


@many
@given(edits(), drifts, st.randoms(use_true_random=False))
def test_shuffled_input_gives_the_same_bytes(edit, ways, chance):
    before, after = edit
    machine = machine_with(before, ways)
    seen = machine.observe(scope_of(after))
    straight = plan(after, seen, Options(), machine.capabilities)
    crooked = plan(shuffled_stack(after, chance), shuffled_world(seen, chance), Options(), machine.capabilities)
    assert crooked == straight
    assert render(crooked) == render(straight)
    assert document(crooked) == document(straight)


def shuffled(map_, chance):
    items = list(map_.items())
    chance.shuffle(items)
    return dict(items)


def shuffled_stack(stack, chance):
    made = {
        key: replace(c, environment=shuffled(c.environment, chance), labels=shuffled(c.labels, chance))
        for key, c in stack.containers.items()
    }
    return replace(stack, containers=shuffled(made, chance), volumes=shuffled(stack.volumes, chance))


def shuffled_world(seen, chance):
    order = [chance.sample(list(part), len(part)) for part in (seen.containers, seen.volumes, seen.busy_ports)]
    return Observed(tuple(order[0]), tuple(order[1]), shuffled(seen.images, chance), tuple(order[2]))


@many
@given(edits(), drifts, seeds, st.integers(1, 60), st.booleans(), st.booleans())
def test_killed_at_any_effect_the_next_apply_ends_where_an_undisturbed_one_does(edit, ways, seed, effect, early, pulls):
    before, after = edit
    registry = [*IMAGES, "app:4"] if pulls else None
    if pulls:
        first = min(after.containers)
        changed = replace(after.containers[first], image="app:4")
        after = replace(after, containers={**after.containers, first: changed})
    undisturbed = machine_with(before, ways, registry=registry)
    _, result = apply(undisturbed, after, seed)
    assert result.ok, result.error()

    machine = machine_with(before, ways, registry=registry)
    point = machine.faults.effects + effect
    machine.faults.crash_before, machine.faults.crash_after = (point, 0) if early else (0, point)
    try:
        apply(machine, after, seed)
    except faults.Crash:
        machine.faults.crash_before = machine.faults.crash_after = 0
        made, result = apply(machine, after, seed + 1)
        assert result.ok, (render(made), result.error())
    assert look_and_plan(machine, after).empty
    assert broken_links(machine.world) == []
    assert shape(machine) == shape(undisturbed)


@many
@given(edits(), drifts, st.sets(st.sampled_from(IMAGES), min_size=1))
def test_nothing_is_taken_down_or_changed_before_all_pulls_are_done(edit, ways, missing):
    before, after = edit
    machine = machine_with(before, ways, registry=IMAGES)
    for reference in missing:
        del machine.world.images[reference]
    steps = {step.number: step for step in look_and_plan(machine, after).steps}
    pulls = {number for number, step in steps.items() if isinstance(step.action, PullImage)}
    before_it = {}
    for number, step in steps.items():
        before_it[number] = set(step.after).union(*(before_it[other] for other in step.after))
        if isinstance(step.action, StopContainer | RemoveContainer | UpdateContainer):
            assert pulls <= before_it[number]


@many
@given(stacks(), seeds, st.integers(1, 40), st.booleans())
def test_a_failed_first_start_leaves_nothing_half_made(stack, seed, number, in_the_middle):
    machine = machine_with(None)
    target = machine.faults.fail_effects if in_the_middle else machine.faults.fail_actions
    target[number] = "no luck"
    made, result = apply(machine, stack, seed)
    tried = {step.action.key for step, _ in result.failed if isinstance(step.action, StartContainer)}
    for container in machine.world.containers.values():
        assert container.state != DEAD
        assert container.state == "running" or container.key in tried or users_tried(stack, container.key, machine)
    if result.failed:
        assert "no luck" in str(result.error())
        assert len(result.done) + len(result.failed) + len(result.skipped) == len(made.steps)
        target.clear()
        _, result = apply(machine, stack, seed)
    assert result.ok, result.error()
    assert look_and_plan(machine, stack).empty


def users_tried(stack, key, machine):
    """Whether somebody who has this one's address or volumes is there and so it had to stay."""
    users = [
        user
        for user, container in stack.containers.items()
        if key in {item.container for item in (*container.links, *container.volumes_from)}
    ]
    return any(machine.world.find("s", user) for user in users)


@many
@given(edits(), drifts, seeds, st.integers(1, 40))
def test_a_failure_leaves_nothing_down_that_it_need_not(edit, ways, seed, number):
    before, after = edit
    machine = machine_with(before, ways)
    machine.faults.fail_actions[machine.faults.actions + number] = "no luck"
    made, result = apply(machine, after, seed)
    blocked = {step.number for step, _ in result.failed}
    for step in made.steps:
        if blocked & set(step.after):
            blocked.add(step.number)
    done = {step.number for step in result.done}
    returning = {
        step.subject_key for step in result.done if isinstance(step.action, StopContainer) and step.change != REMOVE
    }
    left = [s for s in made.steps if s.subject_key in returning and s.number not in done | blocked]
    assert left == []
    machine.faults.fail_actions.clear()
    _, result = apply(machine, after, seed)
    assert result.ok, result.error()
    assert look_and_plan(machine, after).empty


@many
@given(stacks(least=3), seeds, st.data())
def test_a_first_start_that_fails_to_make_one_container_leaves_nothing_but_volumes(stack, seed, data):
    machine = machine_with(None)
    made = look_and_plan(machine, stack)
    key = data.draw(st.sampled_from(sorted(stack.containers)))
    machine.faults.fail_on[f"create container {key}"] = "no luck"
    result = virtual.execute(made, machine, seed=seed)
    assert not result.ok
    assert machine.world.containers == {}
    assert not any(isinstance(action, StartContainer) for action in machine.trace)


@many
@given(stacks(), drifts, seeds, st.booleans())
def test_down_takes_all_away_and_only_on_request_the_volumes(before, ways, seed, volumes):
    machine = machine_with(before, ways)
    kept = set(machine.world.volumes)
    made = plan_down("s", machine.observe(scope_of(before)), Options(remove_volumes=volumes))
    result = virtual.execute(made, machine, seed=seed)
    assert result.ok, result.error()
    assert machine.world.containers == {}
    assert set(machine.world.volumes) == (set() if volumes else kept)
    assert document(made)["steps"] == [] or document(made)["version"] == 1
    if not volumes:
        machine.world.volumes.update({})
        _, again = apply(machine, before, seed)
        assert again.ok, again.error()
        assert set(machine.world.volumes) == kept


@many
@given(stacks(least=3), seeds, st.integers(1, 5))
def test_a_cancelled_run_goes_on_with_the_next_apply(stack, seed, left):
    machine = machine_with(None)
    result = virtual.execute(
        look_and_plan(machine, stack), machine, cancel=lambda: len(machine.trace) >= left, seed=seed
    )
    assert result.interrupted
    assert result.error().code == "interrupted"
    assert not result.undone
    _, result = apply(machine, stack, seed)
    assert result.ok, result.error()
    assert look_and_plan(machine, stack).empty


@many
@given(stacks(), seeds)
def test_where_the_runtime_can_all_is_prepared_before_anything_new_starts(stack, seed):
    machine = machine_with(None)
    _, result = apply(machine, stack, seed)
    assert result.ok, result.error()
    verbs = [action.verb for action in machine.trace if action.verb in ("create", "prepare", "start")]
    assert verbs.count("prepare") == verbs.count("start") == len(stack.containers)
    assert "prepare" not in verbs[verbs.index("start") :]
