"""Pulls come first: until all images are here nothing that runs is touched, and then it is looked and planned once more."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planner_cases import stack
from random_stacks import IMAGES, edits, look_and_plan, machine_with

from reconciler.executor import virtual
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.frozen import replace
from reconciler.loop.converge import PassReporter
from reconciler.loop.pulling import pull_first
from reconciler.model.action import PullImage
from reconciler.model.observed import ObservedImage
from reconciler.planner.options import Options
from reconciler.planner.text import render
from reconciler.runtimes.simulated import faults
from reconciler.runtimes.simulated.oracle import broken_links
from reconciler.runtimes.simulated.runtime import Simulated

many = settings(deadline=None, max_examples=150)
seeds = st.integers(0, 1000)
POLICIES = st.lists(st.sampled_from(["missing", "always", "never"]), min_size=8, max_size=8)


class Heard(PassReporter):
    def __init__(self):
        self.again = []
        self.not_run = []

    def planned_again(self, plan):
        self.again.append(render(plan))

    def skipped(self, step):
        self.not_run.append(step)


def one_pass(machine, wanted, seed=0, **options):
    """As `loop.converge` does it, on the simulated machine: the plan as it became, the result, what was heard."""
    wishes, heard = Options(**options), Heard()
    made = look_and_plan(machine, wanted, **options)

    def perform(steps):
        return virtual.execute(steps, machine, heard, seed=seed)

    if any(isinstance(step.action, PullImage) for step in made.steps):
        return *pull_first(made, wanted, machine, wishes, perform, heard), heard
    return made, perform(made), heard


def with_policies(wanted, policies):
    """Each container with a pull policy; those that share an image share its policy if that is never."""
    made = {
        key: replace(container, pull_policy=policy)
        for (key, container), policy in zip(wanted.containers.items(), policies, strict=False)
    }
    return replace(wanted, containers=made)


def running(machine):
    return {c.key: (c.id, c.state, c.image_id, c.started_at) for c in machine.world.containers.values()}


@st.composite
def worlds(draw):
    """A machine on which a stack runs, whose registry has moved on and some of whose images are gone; and a wish."""
    before, after = draw(edits())
    machine = machine_with(before, registry=IMAGES)
    after = with_policies(after, draw(POLICIES))
    for reference in draw(st.sets(st.sampled_from(IMAGES))):
        same_image = draw(st.booleans())  # only another platform's has changed
        machine.publish(reference, f"sha256:{reference}" if same_image else f"sha256:newer-{reference}", "sha256:moved")
    never = {c.image for c in after.containers.values() if c.pull_policy == "never"}
    for reference in draw(st.sets(st.sampled_from(IMAGES))) - never:
        del machine.world.images[reference]
    return machine, after


@many
@given(worlds(), seeds)
def test_every_image_is_as_its_policy_says_and_a_second_apply_has_nothing_to_do(world, seed):
    machine, wanted = world
    here = dict(machine.world.images)
    made, result, _ = one_pass(machine, wanted, seed)
    assert result.ok, (render(made), result.error())
    assert look_and_plan(machine, wanted).empty, render(look_and_plan(machine, wanted))
    assert broken_links(machine.world) == []
    eager = {c.image for c in wanted.containers.values() if c.pull_policy == "always"}
    for reference in eager:
        assert machine.world.images[reference] == machine.world.registry[reference]
    for reference in here.keys() - eager:
        assert machine.world.images[reference] == here[reference], "pulled without need"
    for container in machine.world.containers.values():
        known = machine.world.images.get(container.image)
        assert known is None or container.image_id == known.id


@many
@given(worlds(), seeds)
def test_nobody_is_made_anew_for_the_same_image(world, seed):
    machine, wanted = world
    made, _, _ = one_pass(machine, wanted, seed)
    by_digest = {r.field for s in made.steps if not isinstance(s.action, PullImage) for r in s.reasons} & {"digest"}
    assert not by_digest, f"the plan after the pulls still goes by digests:\n{render(made)}"


@many
@given(worlds(), seeds, st.data())
def test_a_failed_pull_leaves_all_as_it_was_but_images(world, seed, data):
    machine, wanted = world
    pulls = [s.action for s in look_and_plan(machine, wanted).steps if isinstance(s.action, PullImage)]
    if not pulls:
        return
    before = running(machine)
    lost = data.draw(st.sampled_from(pulls))
    machine.faults.fail_on[f"pull {lost.subject}"] = "connection reset"
    made, result, heard = one_pass(machine, wanted, seed)
    assert running(machine) == before
    assert [step.action for step, _ in result.failed] == [lost]
    assert "connection reset" in str(result.error())
    assert len(result.done) + 1 + len(result.skipped) == len(made.steps)
    # Pulls that had not begun are skipped by the executor, the rest by the pass.
    assert [step.number for step in heard.not_run] == [step.number for step in result.skipped]
    machine.faults.fail_on.clear()
    made, result, _ = one_pass(machine, wanted, seed)
    assert result.ok, (render(made), result.error())
    assert look_and_plan(machine, wanted).empty


@many
@given(worlds(), seeds, st.integers(1, 60), st.booleans())
def test_killed_at_any_effect_the_next_apply_ends_in_sync(world, seed, effect, early):
    machine, wanted = world
    point = machine.faults.effects + effect
    machine.faults.crash_before, machine.faults.crash_after = (point, 0) if early else (0, point)
    try:
        one_pass(machine, wanted, seed)
    except faults.Crash:
        machine.faults.crash_before = machine.faults.crash_after = 0
        made, result, _ = one_pass(machine, wanted, seed + 1)
        assert result.ok, (render(made), result.error())
    assert look_and_plan(machine, wanted).empty
    assert broken_links(machine.world) == []


WEB = stack("containers: {web: {image: app:1, pull_policy: always}, db: {image: db:1, links: [web]}}")[0]


@pytest.fixture
def machine():
    made = Simulated(["db:1"], registry=["app:1", "db:1"])
    assert one_pass(made, WEB)[1].ok
    return made


def test_a_tag_that_moves_between_two_applies_is_followed_where_the_policy_says_so(machine):
    machine.publish("app:1", "sha256:newer")
    machine.publish("db:1", "sha256:newer-db")
    made, result, heard = one_pass(machine, WEB)
    assert result.ok
    assert [step.action.subject for step in made.steps if isinstance(step.action, PullImage)] == ["image app:1"]
    assert machine.world.find("shop", "web").image_id == "sha256:newer"
    assert machine.world.find("shop", "db").image_id == "sha256:db:1"
    assert heard.again == [], "all was as foreseen"


def test_a_moved_tag_that_brings_the_same_image_replaces_nobody(machine):
    before = running(machine)
    machine.publish("app:1", "sha256:app:1", "sha256:rebuilt-index")
    assert "replaced" in render(look_and_plan(machine, WEB))
    made, result, heard = one_pass(machine, WEB)
    assert result.ok
    assert running(machine) == before
    assert [step.number for step in made.steps] == [1]
    assert heard.again == ["Stack shop from specs/shop.yaml: nothing to do.\n"]


def test_what_only_the_pulled_image_tells_is_planned_for_once_it_is_here(machine):
    """The image is gone, its tag has moved: only the pull shows that the container must follow."""
    del machine.world.images["app:1"]
    machine.world.registry["app:1"] = ObservedImage("app:1", "sha256:newer", ("80/tcp",), digest="sha256:x")
    foreseen = look_and_plan(machine, WEB)
    assert [step.action.verb for step in foreseen.steps] == ["pull"]
    assert foreseen.notes == ("whether web is replaced is known after the pull of app:1",)
    made, result, heard = one_pass(machine, WEB)
    assert result.ok
    assert {step.subject_key for step in made.steps} == {"image app:1", "container web", "container db"}
    assert "app:1 sha256:app:1 -> app:1 sha256:newer" in heard.again[0]
    assert [step.number for step in result.done] != []
    assert sorted(step.number for step in result.done) == [step.number for step in made.steps]


def test_what_a_pull_makes_necessary_is_pulled_as_well(machine):
    """db follows web, and its image has gone and moved meanwhile: its sister, which runs it too, follows that."""
    sisters = stack(
        "containers: {web: {image: app:1, pull_policy: always}, db: {image: db:1, links: [web]}, d2: {image: db:1}}"
    )[0]
    assert one_pass(machine, sisters)[1].ok
    machine.publish("app:1", "sha256:newer")
    machine.publish("db:1", "sha256:newer-db")
    del machine.world.images["app:1"], machine.world.images["db:1"]
    assert [step.action.subject for step in look_and_plan(machine, sisters).steps] == ["image app:1"]
    made, result, heard = one_pass(machine, sisters)
    assert result.ok
    assert [step.number for step in made.steps] == list(range(1, len(made.steps) + 1))
    assert [step.action.subject for step in made.steps[:2]] == ["image app:1", "image db:1"]
    assert {c.image_id for c in machine.world.containers.values()} == {"sha256:newer", "sha256:newer-db"}
    assert len(heard.again) == 2
    assert look_and_plan(machine, sisters).empty


def test_a_tag_that_moves_once_more_while_it_is_pulled_does_not_make_a_pass_endless(machine):
    machine.publish("app:1", "sha256:newer")

    class Moving(dict):
        def update(self, *args, **more):
            super().update(*args, **more)
            machine.publish("app:1", f"sha256:even-newer-{len(machine.trace)}")

    machine.world.images = Moving(machine.world.images)
    _, result, _ = one_pass(machine, WEB)
    assert result.ok
    assert machine.world.find("shop", "web").image_id == "sha256:newer"
    assert not look_and_plan(machine, WEB).empty, "the next apply follows"


def test_a_registry_out_of_reach_stops_a_plan_only_where_the_policy_needs_it(machine):
    machine.world.unreachable = "registry.example can't be reached"
    with pytest.raises(
        Exception, match=r"can't be found out, and its pull_policy is always: registry.example"
    ) as caught:
        look_and_plan(machine, WEB)
    assert caught.value.code == "unreachable"
    assert look_and_plan(machine, WEB, pull="missing").empty
    assert look_and_plan(machine, WEB, pull="never").empty


def test_a_pull_is_for_the_platform_that_its_containers_want():
    machine = Simulated(registry=["app:1", "db:1"])
    both = "{web: {image: app:1, platform: linux/arm64}, job: {image: app:1, platform: %s}, db: {image: db:1}}"
    made = look_and_plan(machine, stack("containers: " + both % "linux/arm64")[0])
    pulls = {step.action for step in made.steps if isinstance(step.action, PullImage)}
    assert pulls == {PullImage("app:1", "linux/arm64"), PullImage("db:1")}
    with pytest.raises(
        ReconcilerError, match=r"job and web want image app:1 for different platforms \(linux/386 and linux/arm64\)"
    ):
        look_and_plan(machine, stack("containers: " + both % "linux/386")[0])
