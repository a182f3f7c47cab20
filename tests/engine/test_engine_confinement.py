"""What containers may do and what is kept from them, seen from inside, with both OCI runtimes."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
from pathlib import Path

import pytest
from support.machine import until

from reconciler.engine.containers import capabilities, confinement, runtime
from reconciler.engine.containers.health import journal
from reconciler.engine.containers.runtime import find_program
from reconciler.engine.images import platforms
from reconciler.engine.kernel import cgroups, processes
from reconciler.engine.records import (
    ContainerConfig,
    DeviceConfig,
    HealthConfig,
    MountConfig,
    SecurityConfig,
    TmpfsConfig,
)
from reconciler.kits.errors import ReconcilerError
from reconciler.model.desired import Container
from reconciler.runtimes.console import ExecOptions
from reconciler.runtimes.embedded.refusals import refusals

pytestmark = pytest.mark.kernel

SLEEP = {"image": "tiny", "command": ["sleep", "1000"], "stop_grace_period": "0s"}
DEFAULT = 0x00000000A80425FB
NUMBERS = {name: 1 << number for number, name in enumerate(capabilities.KNOWN)}


@pytest.fixture(params=["crun", "runc"])
def box(request, machine, monkeypatch, capfd):
    """Makes a container that sleeps, of these settings, with one of the runtimes; and runs commands in it."""
    if request.param == "runc":
        monkeypatch.setattr(runtime, "find_program", lambda name: "" if name == "crun" else find_program(name))

    class Box:
        def make(self, name="box", **settings):
            settings.setdefault("command", ("sleep", "1000"))
            machine.engine.lifecycle.create(ContainerConfig(name, "tiny", stop_timeout=0.0, **settings))
            machine.console.start(name)
            return self

        def restart(self, name="box"):
            machine.console.stop(name)
            machine.console.start(name)

        def run(self, script, name="box", **options):
            """What a shell inside writes, both streams."""
            capfd.readouterr()
            command = ("sh", "-c", f"({script}) 2>&1")
            machine.console.exec(name, ExecOptions(command=command, **options))
            return capfd.readouterr().out

        def inspect(self, name="box"):
            return machine.console.inspect(name)

        def first(self, name="box"):
            """Facts of its first process."""
            return facts_of(machine.record(name).pid)

        def facts(self, name="box", **options):
            """Facts of a process of exec."""
            return read_facts(self.run("cat /proc/self/status", name, **options))

    return Box()


def read_facts(text):
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def facts_of(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return read_facts(file.read())


def held(facts):
    assert facts["CapEff"] == facts["CapBnd"] == facts["CapPrm"]
    assert int(facts["CapInh"], 16) == int(facts["CapAmb"], 16) == 0
    return int(facts["CapEff"], 16)


def test_capabilities_are_what_the_first_process_and_exec_have(box):
    everything = sum(NUMBERS[name] for name in capabilities.available())
    cases = {
        "added": (("CAP_NET_ADMIN",), ("CAP_MKNOD", "CAP_CHOWN")),
        "none": ((), ("ALL",)),
        "only": (("CAP_NET_BIND_SERVICE",), ("ALL",)),
        "most": (("ALL",), ("CAP_SYS_ADMIN",)),
    }
    wanted = {
        "added": DEFAULT | NUMBERS["CAP_NET_ADMIN"] & ~NUMBERS["CAP_MKNOD"] & ~NUMBERS["CAP_CHOWN"],
        "none": 0,
        "only": NUMBERS["CAP_NET_BIND_SERVICE"],
        "most": everything & ~NUMBERS["CAP_SYS_ADMIN"],
    }
    wanted["added"] &= ~(NUMBERS["CAP_MKNOD"] | NUMBERS["CAP_CHOWN"])
    for name, (added, dropped) in cases.items():
        box.make(name, security=SecurityConfig(capabilities_add=added, capabilities_drop=dropped))
        assert held(box.first(name)) == held(box.facts(name)) == wanted[name], name
        box.restart(name)
        assert held(box.first(name)) == wanted[name], name
    # exec may be given all, for one command; a user other than root has what its program's file gives: nothing.
    assert held(box.facts("none", privileged=True)) == everything
    assert held(box.facts("none")) == 0
    facts = box.facts("most", user="1234")
    assert int(facts["CapEff"], 16) == int(facts["CapPrm"], 16) == 0


def test_a_filter_lets_through_what_capabilities_allow_and_a_profile_replaces_it(box):
    own = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
            {"names": ["unlinkat"], "action": "SCMP_ACT_ERRNO", "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
        ],
    }
    script = "unshare -U true && echo unshared; mkdir /new && echo made; grep Seccomp: /proc/self/status"

    def seen(name, **options):
        said = box.run(script, name, **options)
        return {
            "unshared": "unshared" in said,
            "made": "made" in said,
            "full": "No space left" in said,
            "filtered": "Seccomp:\t2" in said,
        }

    box.make("default")
    box.make("admin", security=SecurityConfig(capabilities_add=("CAP_SYS_ADMIN",)))
    box.make("bare", security=SecurityConfig(seccomp="unconfined"))
    box.make("own", security=SecurityConfig(seccomp=json.dumps(own)))
    for _ in range(2):
        assert seen("default") == {"unshared": False, "made": True, "full": False, "filtered": True}
        assert seen("admin") == {"unshared": True, "made": True, "full": False, "filtered": True}
        assert seen("bare") == {"unshared": True, "made": True, "full": False, "filtered": False}
        assert seen("own") == {"unshared": True, "made": False, "full": True, "filtered": True}
        for name in ("default", "admin", "bare", "own"):
            assert box.first(name)["Seccomp"] == ("0" if name == "bare" else "2"), name
            box.restart(name)
            box.run("rmdir /new", name)
    # The filter is the container's: exec with all capabilities has it as well.
    assert not seen("default", privileged=True)["unshared"]


def test_the_first_process_itself_is_refused_a_call_at_its_start_and_at_each_restart(box, machine):
    """Not only what exec starts: what the container runs, whoever starts it."""
    tries = "unshare -U true && echo unshared; grep Seccomp: /proc/self/status; echo tried; exec sleep 1000"
    box.make("filtered", command=("sh", "-c", tries), restart="always")
    box.make("bare", command=("sh", "-c", tries), security=SecurityConfig(seccomp="unconfined"))
    # crun's filter refuses with EPERM, as Docker's does
    refused, allowed = "unshare: unshare(0x10000000): Operation not permitted", "unshared"

    def said(name, times):
        until(lambda: machine.cli("logs", name).out.count("tried") == times)
        ran = machine.cli("logs", name)
        return sorted({*(ran.out + ran.err).splitlines()} - {"tried"}), ran.out.count("Seccomp:")

    for times in (1, 2):
        assert said("filtered", times) == (["Seccomp:\t2", refused], times)
        assert said("bare", times) == (["Seccomp:\t0", allowed], times)
        box.restart("filtered")
        box.restart("bare")
    os.kill(machine.record("filtered").pid, signal.SIGKILL)  # and when its policy starts it again
    assert said("filtered", 4) == (["Seccomp:\t2", refused], 4)


def test_no_new_privileges_holds_for_the_first_process_and_exec(box):
    box.make(security=SecurityConfig(no_new_privileges=True))
    assert box.first()["NoNewPrivs"] == box.facts()["NoNewPrivs"] == box.facts(privileged=True)["NoNewPrivs"] == "1"
    assert box.first()["Seccomp"] == box.facts()["Seccomp"] == "2"


def test_what_exec_starts_is_where_the_first_process_is(box, machine):
    box.make()
    kinds = ("mnt", "pid", "net", "ipc", "uts", "cgroup")
    pid = machine.record("box").pid
    inside = box.run(f"for kind in {' '.join(kinds)}; do readlink /proc/self/ns/$kind; done; cat /proc/self/cgroup")
    spaces, groups = inside.split()[: len(kinds)], inside.split()[len(kinds) :]
    assert spaces == [os.readlink(f"/proc/{pid}/ns/{kind}") for kind in kinds]
    for kind, space in zip(kinds, spaces, strict=True):
        own = kind != "cgroup" or cgroups.form() == "v2"
        assert (space != os.readlink(f"/proc/self/ns/{kind}")) is own, kind
    with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
        first = file.read().split()
    for line in first:
        if machine.record("box").id in line:
            number = line.partition(":")[0]
            (found,) = [group for group in groups if group.startswith(f"{number}:")]
            assert found == (line if cgroups.form() != "v2" else "0::/"), found
    assert any(machine.record("box").id in line for line in first)


def test_whatever_runs_inside_is_as_likely_to_be_killed_for_memory_as_the_first_process(box, machine):
    """Exec, also a detached one and what it starts, and a probe."""
    score = "cat /proc/self/oom_score_adj"
    check = HealthConfig(("CMD-SHELL", score), interval=0.2)
    box.make("likely", oom_score=321, health=check).make("usual", health=check)
    for name, wanted in (("likely", "321\n"), ("usual", f"{processes.lowest_oom_score(0)}\n")):
        assert Path(f"/proc/{machine.record(name).pid}/oom_score_adj").read_text(encoding="ascii") == wanted
        assert box.run(score, name) == box.run(f"sh -c '{score}'", name, user="1000") == wanted
        box.run(f"{score} >/said.new; mv /said.new /said", name, detach=True)
        assert until(lambda name=name: box.run("cat /said 2>/dev/null", name)) == wanted
        probes = until(lambda name=name: journal.read(machine.paths, machine.record(name)).log)
        assert {probe.output for probe in probes} == {wanted}


def test_each_masked_path_is_empty_and_each_read_only_path_can_not_be_written(box):
    script = """
for path in {masked}; do
  [ -e $path ] || continue
  if [ -d $path ]; then [ -z "$(ls -A $path)" ]; else [ ! -s $path ] && [ -c $path ]; fi || echo shown $path
done
for path in {unwritable}; do
  [ -e $path ] || continue
  grep -q "^[^ ]* $path [^ ]* ro" /proc/self/mounts || echo writable $path
done
grep -q '^sysfs /sys sysfs ro' /proc/self/mounts || echo writable /sys
"""
    script = script.format(masked=" ".join(confinement.masked_paths()), unwritable=" ".join(confinement.READ_ONLY))
    box.make().make("open", security=SecurityConfig(unmasked=True))
    assert box.run(script) == ""
    opened = box.run(script, "open").splitlines()
    assert "shown /proc/kcore" in opened or "shown /proc/keys" in opened
    assert "writable /proc/sys" in opened
    assert "writable /sys" not in opened
    assert box.inspect("open")["HostConfig"]["MaskedPaths"] == []
    assert "/proc/kcore" in box.inspect()["HostConfig"]["MaskedPaths"]


def test_privileged_is_nearly_the_host(box):
    box.make(security=SecurityConfig(privileged=True))
    everything = sum(NUMBERS[name] for name in capabilities.available())
    for facts in (box.first(), box.facts()):
        assert held(facts) == everything
        assert facts["Seccomp"] == "0"
    said = box.run(
        """
mkdir -p /mnt && mount -t tmpfs none /mnt && echo mounted
grep -c ' /sys sysfs rw' /proc/self/mounts
grep -c ' /proc/sys ' /proc/self/mounts
ls /dev | wc -l
"""
    ).split()
    assert said[:3] == ["mounted", "1", "0"]
    devices = [name for name in os.listdir("/dev") if stat.S_ISBLK(os.lstat(f"/dev/{name}").st_mode)]
    assert set(devices) <= set(box.run("ls /dev").split())
    with open(f"/dev/{devices[0]}", "rb") as file:
        assert len(file.read(512)) in (0, 512)
    assert "denied" not in box.run(f"dd if=/dev/{devices[0]} of=/dev/null bs=512 count=1")
    assert box.inspect()["HostConfig"]["Privileged"] is True
    box.restart()
    assert held(box.first()) == everything
    # What is dropped by name is dropped all the same.
    box.make("less", security=SecurityConfig(privileged=True, capabilities_drop=("CAP_SYS_ADMIN",)))
    assert held(box.first("less")) == everything & ~NUMBERS["CAP_SYS_ADMIN"]


def test_devices_are_there_with_their_permissions_and_no_others(box, machine):
    folder = os.path.join(machine.folder, "devices")
    os.makedirs(os.path.join(folder, "deep"))
    os.mknod(os.path.join(folder, "deep", "log"), stat.S_IFCHR | 0o640, os.makedev(1, 11))
    os.symlink("deep/log", os.path.join(folder, "link"))
    asked = (
        DeviceConfig(f"{folder}/link", "/dev/log-of-kernel", "r"),
        DeviceConfig(folder, "/opt/devices", "w"),
    )
    logs = ("CAP_SYSLOG",)
    box.make(security=SecurityConfig(devices=asked[:1], device_rules=("c 1:1 r",), capabilities_add=logs))
    box.make("folder", security=SecurityConfig(devices=asked[1:], capabilities_add=logs))
    box.make("plain", security=SecurityConfig(capabilities_add=logs))
    for _ in range(2):
        assert box.run("stat -c '%F %a %t %T' /dev/log-of-kernel") == "character special file 640 1 b\n"
        assert box.run("find /opt/devices -type c", "folder") == "/opt/devices/deep/log\n"
        assert box.run("exec 3</dev/log-of-kernel && echo opened") == "opened\n"
        assert box.run("exec 3>/opt/devices/deep/log && echo opened", "folder") == "opened\n"
        for refused in ("exec 3>/dev/log-of-kernel", "mknod /root/fuse c 10 229; exec 3</root/fuse"):
            assert "not permitted" in box.run(refused), refused
        assert "not permitted" in box.run("exec 3</opt/devices/deep/log", "folder")
        assert "not permitted" in box.run("mknod /root/log c 1 11; exec 3</root/log", "plain")
        box.run("rm /root/fuse")
        box.run("rm /root/log", "plain")
        for name in ("box", "folder", "plain"):
            box.restart(name)
    shown = box.inspect()["HostConfig"]
    assert shown["Devices"][0] == {
        "PathOnHost": f"{folder}/link",
        "PathInContainer": "/dev/log-of-kernel",
        "CgroupPermissions": "r",
    }
    assert shown["DeviceCgroupRules"] == ["c 1:1 r"]


def test_a_read_only_root_leaves_volumes_and_memory_writable(box):
    box.make(
        security=SecurityConfig(read_only=True),
        mounts=(MountConfig("volume", "data", "/made/data"), MountConfig("anonymous", "", "/var")),
        tmpfs=(TmpfsConfig("/run", ("size=64k", "exec")), TmpfsConfig("/tmp"), TmpfsConfig("/dev/shm", ("size=1m",))),
        working_dir="/made/folder",
    )
    for _ in range(2):
        said = box.run(
            """
for place in / /etc /made/folder /made/data /var /run /tmp /dev/shm; do
  (echo x >$place/file) 2>/dev/null && echo $place; rm -f $place/file
done
echo x >/etc/hosts
"""
        )
        assert said.split()[:5] == ["/made/data", "/var", "/run", "/tmp", "/dev/shm"], said
        assert "Read-only file system" in said
        mounted = {line.split()[1]: line.split()[3].split(",") for line in box.run("cat /proc/mounts").splitlines()}
        assert {"nosuid", "nodev", "noexec", "rw"} <= set(mounted["/tmp"])
        assert {"nosuid", "nodev", "size=64k"} <= set(mounted["/run"])
        assert "noexec" not in mounted["/run"]
        assert "size=1024k" in mounted["/dev/shm"]
        assert mounted["/"][0] == mounted["/etc/hosts"][0] == "ro"
        assert box.run("stat -c %a /tmp").strip() == "1777"
        box.restart()
    shown = box.inspect()["HostConfig"]
    assert shown["ReadonlyRootfs"] is True
    assert shown["Tmpfs"] == {"/run": "size=64k,exec", "/tmp": "", "/dev/shm": "size=1m"}


def test_groups_by_name_and_number_beside_those_of_the_user(box, machine):
    box.make(groups=("staff", "4711")).make("other", groups=("staff",), user="1000:1000")
    assert box.run("id -G").split() == ["0", *_ids(box, "staff"), "4711"]
    assert facts_of(machine.record("box").pid)["Groups"].split() == ["0", *_ids(box, "staff"), "4711"]
    assert box.run("id -G", "other").split() == ["1000", *_ids(box, "staff")]
    assert box.inspect()["HostConfig"]["GroupAdd"] == ["staff", "4711"]


def _ids(box, *names):
    return [box.run(f"grep ^{name}: /etc/group").split(":")[2] for name in names]


def test_a_terminal_and_an_open_standard_input(box, machine):
    script = "tty; echo TERM=$TERM; exec cat"
    box.make("terminal", command=("sh", "-c", script), terminal=True)
    box.make("open", command=("sh", "-c", script), interactive=True)
    box.make("closed", command=("sh", "-c", script))
    until(lambda: machine.state("closed") == "exited")
    until(lambda: "TERM=" in machine.cli("logs", "terminal").out and "TERM=" in machine.cli("logs", "open").out)
    assert machine.state("terminal") == machine.state("open") == "running"
    lines = machine.cli("logs", "terminal").out
    assert lines == "/dev/pts/0\r\nTERM=xterm\r\n"
    assert machine.cli("logs", "open").out == machine.cli("logs", "closed").out == "not a tty\nTERM=\n"
    assert box.inspect("terminal")["Config"]["Tty"] is True
    assert box.inspect("open")["Config"]["OpenStdin"] is True


def test_a_spec_reaches_the_kernel_and_an_edited_profile_is_a_change(machine):
    profile = os.path.join(machine.folder, "profile.json")

    def write(error):
        rule = {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": error}
        with open(profile, "w", encoding="utf-8") as file:
            json.dump({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}, file, indent=error)

    write(28)
    stack = {
        "containers": {
            "box": {
                **SLEEP,
                "cap_drop": ["ALL"],
                "cap_add": ["net_raw"],
                "security_opt": ["no-new-privileges:true", "seccomp=profile.json"],
                "read_only": True,
                "tmpfs": ["/tmp:size=1m"],
                "tty": True,
                "group_add": ["staff"],
            }
        }
    }
    machine.apply(stack)
    for name in ("store.db", "store.db-wal"):
        assert stat.S_IMODE(os.stat(os.path.join(machine.root, name)).st_mode) == 0o600
    facts = facts_of(machine.record("box").pid)
    assert (facts["NoNewPrivs"], facts["Seccomp"], held(facts)) == ("1", "2", NUMBERS["CAP_NET_RAW"])
    assert "No space left" in machine.cli("exec", "box", "mkdir", "/tmp/x", code=1).err
    assert "nothing to do" in machine.apply(stack).out
    write(30)
    planned = machine.cli("plan", machine.spec(stack)).out
    assert "seccomp_profile: sha256:" in planned, planned
    machine.apply(stack)
    assert "Read-only file system" in machine.cli("exec", "box", "mkdir", "/tmp/x", code=1).err
    assert json.loads(machine.cli("inspect", "box").out)[0]["HostConfig"]["SecurityOpt"][0] == "no-new-privileges"


def test_what_this_machine_cannot_give_is_refused_in_the_plan(machine, monkeypatch):
    box = {**SLEEP, "devices": ["/dev/nosuch", "/etc/passwd:/dev/x"], "cap_add": ["SYS_ADMIN"]}
    said = machine.cli("plan", machine.spec({"containers": {"box": box}}), code=1).err
    assert "there is no device /dev/nosuch on this machine" in said
    said = machine.cli("plan", machine.spec({"containers": {"box": {**box, "devices": ["/etc/passwd"]}}}), code=1).err
    assert "/etc/passwd is not a device" in said

    monkeypatch.setattr(capabilities, "available", lambda: ("CAP_CHOWN",))
    wanted = Container(key="box", name="box", image="tiny", cap_add=("CAP_SYS_ADMIN", "ALL", "CAP_CHOWN"))
    (refusal,) = refusals([wanted], lambda _image: "")
    assert refusal.field == "cap_add"
    assert refusal.message == "this machine has no CAP_SYS_ADMIN to give"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("group_add", ["staff", "nosuch"], "unable to find group nosuch"),
        ("tmpfs", ["/run", "/proc/sys"], "wants a tmpfs at /proc/sys"),
        ("tmpfs", ["/etc/passwd"], "a tmpfs is a folder and /etc/passwd in the image is a file"),
        ("working_dir", "/proc/1/cwd", "leads into /proc"),
    ],
)
def test_what_the_image_can_not_take_is_an_error_at_its_place(machine, key, value, message):
    said = machine.apply({"containers": {"box": {**SLEEP, key: value}}}, code=1).err
    assert message in said
    with open(os.path.join(machine.folder, "stack.yaml"), encoding="utf-8") as file:
        lines = file.read().splitlines()
    line = int(re.match(r"error: \S*stack\.yaml:(\d+):", said)[1])
    assert any(f"{key}:" in text for text in lines[max(0, line - 3) : line]), said
    assert not machine.console.containers()


def test_a_working_folder_does_not_lead_into_proc(machine):
    """Through /proc/self/fd an OCI runtime with a forgotten descriptor would start in a folder of the host."""
    for name, folder in (("plain", "/proc/self/fd/8"), ("dots", "/etc/../proc/self/fd/7/../..")):
        machine.engine.lifecycle.create(ContainerConfig(name, "tiny", command=("pwd",), working_dir=folder))
        with pytest.raises(ReconcilerError, match="leads into /proc"):
            machine.console.start(name)
    machine.apply(
        {"containers": {"box": {**SLEEP, "command": ["sh", "-c", "ln -s /proc/self/fd/9 /lnk; exec sleep 99"]}}}
    )
    until(lambda: "fd/9" in machine.exec("box", "readlink", "/lnk", code=None))
    said = machine.cli("exec", "-w", "/lnk", "box", "pwd", code=126).err
    assert "working folder /lnk is not there" in said


def test_an_image_of_another_platform_is_refused_unless_something_runs_it(machine, monkeypatch, tmp_path):
    def planned(**keys):
        ran = machine.cli("plan", machine.spec({"containers": {"box": {**SLEEP, **keys}}}), code=None)
        return ran.err

    assert planned() == planned(platform="linux/amd64") == ""
    assert "tiny would have to run for linux/s390x, and this machine runs linux/amd64" in planned(
        platform="linux/s390x"
    )
    assert "image tiny is here for linux/amd64, not for linux/386" in planned(platform="linux/386")
    with pytest.raises(ReconcilerError, match="would have to run for linux/riscv64"):
        machine.engine.lifecycle.create(ContainerConfig("box", "tiny", platform="linux/riscv64"))
    assert not machine.console.containers()

    # As qemu-user-static registers itself.
    handler = tmp_path / "qemu-riscv64"
    text = (
        "enabled\ninterpreter /usr/libexec/qemu-binfmt/riscv64-binfmt-P\nflags: PFC\noffset 0\n"
        "magic 7f454c460201010000000000000000000200f300\nmask ffffffffffffff00fffffffffffffffffeffffff\n"
    )
    monkeypatch.setattr(platforms, "_HANDLERS", str(tmp_path))
    for content, runs in (
        (text, True),
        (text.replace("PFC", "PC"), False),
        (text.replace("enabled", "disabled"), False),
    ):
        handler.write_text(content)
        assert platforms.runs_here(platforms.parse("linux/riscv64")) is runs
        assert not platforms.runs_here(platforms.parse("linux/s390x"))
        assert not platforms.runs_here(platforms.parse("windows/riscv64"))
