#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""bench.py: the table of times and sizes, each beside a reference that ran interleaved with it.

Boots: PAIRS (default 20) times in turn, the engine to "negotiated"; the VMM by hand with the same argv
without the vsock device to the agent's first line; and to the one line of a one-file static init. What is
compared is the VMM's CPU time (user + system), since wall clocks of a shared machine are noisy.
Inside: one VM. Streams: one VM, whose VMM also gets a user-mode NIC and virtio-serial ports; each way over
each carrier in turn, ROUNDS (default 5) times. Control: uvmctl exec beside exec through the API of the same VM,
and ps of UVMs whose owners are real and whose machines are simulated.
"""
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

DEADLINE_S = 120
QUIET_S = 20  # no byte on the console of a VM that boots
TICKS = os.sysconf("SC_CLK_TCK")


def need(name):
    return os.environ[name]


class Table:
    def __init__(self):
        self.failed = 0

    def row(self, what, value, against="", ratio=None, limit=None, limit_text="", least=None):
        verdict = ""
        if limit is not None:
            ok = (ratio if ratio is not None else value[0]) <= limit
            verdict = "ok" if ok else "OVER"
            self.failed += not ok
        if least is not None:
            limit_text = ">= %s" % least
            verdict = "ok" if ratio >= least else "UNDER"
            self.failed += ratio < least
        shown = value if isinstance(value, str) else value[1]
        ratio_text = "" if ratio is None else "%.2f" % ratio
        print("%-44s %14s  %-34s %6s  %-14s %s" % (what, shown, against, ratio_text, limit_text, verdict))
        sys.stdout.flush()


def ms(value):
    return (value, "%.0f ms" % value)


def cpu_ms(pid):
    with open("/proc/%d/stat" % pid) as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / TICKS


# ---- boots ----------------------------------------------------------------------------------------

def engine_boot():
    out = subprocess.run([need("VM_BENCH"), "boot", need("VMLINUX"), need("INITRD"), need("LAUNCH"), need("VMM")],
                         stdout=subprocess.PIPE, timeout=DEADLINE_S, check=True).stdout
    return json.loads(out)


class ByHand:
    """The engine's argv with files instead of inherited descriptors, and without the vsock device."""

    def __init__(self, argv, initrd, command):
        self.fds, self.console, self.keep = [], None, []
        self.argv = []
        words = iter(argv)
        ram = int(re.search(r"size=(\d+)M", " ".join(argv)).group(1)) << 20
        serial = argv[argv.index("-serial") + 1][len("chardev:"):]
        for word in words:
            if word == "-S":
                continue
            followed = ("-chardev", "-device", "-object", "-kernel", "-initrd", "-append")
            value = next(words) if word in followed else None
            if value is None:
                self.argv.append(word)
                continue
            if word != "-append" and "vsock" in value:
                continue
            if word == "-chardev" and "socket" in value:
                ours, theirs = socket.socketpair()
                os.set_inheritable(theirs.fileno(), True)
                self.fds.append(theirs.fileno())
                self.keep += [ours, theirs]
                if "id=" + serial in value:
                    self.console = ours
                value = re.sub(r"fd=\d+", "fd=%d" % theirs.fileno(), value)
            elif word == "-object" and "memory-backend" in value:
                fd = os.memfd_create("ram", 0)
                os.ftruncate(fd, ram)
                os.set_inheritable(fd, True)
                self.fds.append(fd)
                value = re.sub(r"/proc/self/fd/\d+", "/proc/self/fd/%d" % fd, value)
            elif word == "-kernel":
                value = need("VMLINUX")
            elif word == "-initrd":
                value = initrd
            elif word == "-append":
                value = value.split(" -- ")[0] + (" -- " + command if command else "")
            self.argv += [word, value]

    def run(self, marker):
        """CPU ms of the VMM when the marker came on the console."""
        vmm = subprocess.Popen(self.argv, pass_fds=self.fds, stdin=subprocess.DEVNULL)
        try:
            text = b""
            self.console.settimeout(QUIET_S)
            while not re.search(marker, text):
                try:
                    data = self.console.recv(65536)
                except TimeoutError:
                    data = b""
                if not data:
                    raise SystemExit("bench: by hand: no line that matches %r: %r" % (marker, text[-400:]))
                text += data
            return cpu_ms(vmm.pid)
        finally:
            vmm.kill()
            vmm.wait()
            for s in self.keep:
                s.close()
            for fd in self.fds:
                try:
                    os.close(fd)
                except OSError:
                    pass


def boots(table):
    pairs = int(os.environ.get("PAIRS", "20"))
    engine, hand, tiny = [], [], []
    for _ in range(pairs):
        engine.append(engine_boot())
        argv = engine[-1]["argv"]
        hand.append(ByHand(argv, need("INITRD"), "-e 1 /bin/gcs -v4 -log-format json -loglevel info "
                           "-disable-time-sync").run(rb'"level"|level='))
        tiny.append(ByHand(argv, need("TINY"), "").run(rb"tiny: up"))
        print("\r%d of %d boots in turn " % (len(engine), pairs), end="", file=sys.stderr)
    print(file=sys.stderr)
    med = statistics.median
    cpu = med(e["cpu_ms"] for e in engine)
    table.row("VMM's CPU to negotiated", ms(cpu), "by hand, to agent's line: %.0f ms" % med(hand),
              cpu / med(hand), 1.05, "<= 1.05")
    table.row("VMM's CPU to negotiated", ms(cpu), "one-file static init: %.0f ms" % med(tiny),
              cpu / med(tiny), 1.25, "<= 1.25")
    first = med(e["negotiated_ms"] - e["contact_ms"] for e in engine)
    table.row("guest's first dial to negotiated", ms(first), "", None, 60, "<= 60 ms")
    table.row("boot, wall clock to negotiated", ms(med(e["negotiated_ms"] for e in engine)))


# ---- inside ---------------------------------------------------------------------------------------

ZEROES = bytes(65536)
STREAM = 32 << 20  # of each stream; the same in stream_bench.c


def serve(connection):
    """Who gets one byte sends STREAM bytes, who gets more confirms all of them by a byte."""
    try:
        while True:
            data = connection.recv(1 << 18)
            if not data:
                return
            if len(data) == 1:
                left = STREAM
                while left > 0:
                    left -= connection.send(ZEROES[:left])
                continue
            got = len(data)
            while got < STREAM:
                data = connection.recv(1 << 18)
                if not data:
                    return
                got += len(data)
            connection.sendall(b"\0")
    except OSError:
        return


def accept_for_ever(listener):
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


def json_lines(argv):
    """What a program said, one JSON object a line, by name."""
    out = subprocess.run(argv, stdout=subprocess.PIPE, timeout=900, check=True).stdout
    found = {}
    for line in out.decode().splitlines():
        one = json.loads(line)
        found.setdefault(one["name"], []).append(one)
    return found


def streams(table, folder):
    tcp = socket.create_server(("127.0.0.1", 0))
    path = os.path.join(folder, "serial")
    serial = socket.socket(socket.AF_UNIX)
    serial.bind(path)
    os.chmod(path, 0o666)
    serial.listen(4)
    for listener in (tcp, serial):
        threading.Thread(target=accept_for_ever, args=(listener,), daemon=True).start()
    wrapper = os.path.join(folder, "vmm")
    with open(wrapper, "w") as f:
        f.write("#!/bin/sh\nexec %s \"$@\" -netdev user,id=benchnet -device virtio-net-pci,netdev=benchnet,romfile= "
                "-device virtio-serial-pci,id=benchbus" % need("VMM"))
        for i in range(1, 5):
            f.write(" -chardev socket,id=bench%d,path=%s -device virtserialport,bus=benchbus.0,chardev=bench%d,"
                    "name=bench%d,nr=%d" % (i, path, i, i, i))
        f.write("\n")
    os.chmod(wrapper, 0o755)
    rounds = os.environ.get("ROUNDS", "5")
    found = json_lines([need("STREAM_BENCH"), need("VMLINUX"), need("BENCH_INITRD"), need("LAUNCH"), wrapper,
                        str(tcp.getsockname()[1]), rounds])

    def value(name, key="value"):
        return statistics.median(o[key] for o in found[name])

    def pair(text, unit, name, peer, peer_text, wanted):
        rate, other = value(name), value(peer)
        table.row(text, "%.0f %s" % (rate, unit), "%s: %.0f %s" % (peer_text, other, unit), rate / other, least=wanted)
        rate, other = value(name, "by_cpu"), value(peer, "by_cpu")
        table.row("  of CPU time", "%.0f %s" % (rate, unit), "%s: %.0f %s" % (peer_text, other, unit), rate / other)

    for count, streams_text in (("1", ""), ("4", ", 4 streams")):
        for way, text in (("guest_to_host", "vsock, guest to host"), ("host_to_guest", "vsock, host to guest")):
            for peer, name, wanted in (("serial", "virtio-serial", 0.6), ("tcp", "user-mode TCP", 1.5)):
                pair(text + streams_text, "MiB/s", "vsock_%s_%s" % (way, count), "%s_%s_%s" % (peer, way, count), name,
                     wanted)
    pair("vsock, guest connects", "/ s", "vsock_connects", "tcp_connects", "user-mode TCP", 1.5)


def inside(table, folder):
    found = json_lines([need("VM_BENCH"), "inside", need("VMLINUX"), need("BENCH_INITRD"), need("LAUNCH"),
                        need("VMM")])

    def value(name, key):
        return statistics.median(o[key] for o in found[name])

    exec_us, loop_us = value("exec_true", "median_us"), value("forkexec_true", "median_us")
    table.row("exec /bin/true and wait", "%.1f ms" % (exec_us / 1000), "fork+exec loop in guest: %.1f ms" % (loop_us / 1000),
              (exec_us - 2000) / loop_us, 1.3, "<= 1.3 (+2 ms)")
    table.row("  its p99", "%.1f ms" % (value("exec_true", "p99_us") / 1000))
    table.row("RPC, one at a time", "%.2f ms" % (value("rpc_1_deep", "median_us") / 1000))
    table.row("RPC, 32 deep", "%.0f / s" % value("rpc_32_deep", "per_second"))
    kib = value("agent_rss_anon", "kib")
    table.row("agent idle, RssAnon", (kib, "%.0f KiB" % kib), "", None, 1024, "<= 1 MiB")


# ---- disks ------------------------------------------------------------------------------------------


def disks(table, folder):
    images = os.path.join(folder, "images")
    os.mkdir(images)
    os.chmod(images, 0o755)  # the reference's QEMU opens one by its path
    found = json_lines([need("DISK_BENCH"), need("VMLINUX"), need("INITRD"), need("LAUNCH"), need("VMM"), images,
                        os.environ.get("PAIRS", "50")])

    def value(name, key):
        return found[name][0][key] / 1000

    took, hand = value("attach_mounted", "median_us"), value("attach_mounted", "reference_us")
    table.row("disk, attach to mounted", "%.0f ms" % took, "QMP and mount by hand: %.0f ms" % hand,
              took / max(1.1 * hand, hand + 10), 1, "<= 1.1 x or + 10 ms")
    once, row = value("attach_64_at_once", "median_us"), value("attach_64_at_once", "reference_us")
    table.row("64 disks at once", "%.0f ms" % once, "one after the other: %.0f ms" % row, once / row, 0.8, "<= 0.8")


# ---- the other kinds of devices -------------------------------------------------------------------

BY_HAND = {"scsi": "QMP and mount by hand", "vsmb": "virtiofsd, QMP and mount by hand",
           "plan9": "diod by TCP, mount by hand", "nic": "QMP and ip by hand", "vpci": "QMP by hand", "vpmem": "copied and mounted by hand"}
RATES = {"read": "%.0f MiB/s", "stat": "%.0f files/s"}


def kinds(table, folder):
    images = os.path.join(folder, "kinds")
    os.mkdir(images)
    os.chmod(images, 0o755)  # QEMU's user opens the socket in it
    found = json_lines([need("KINDS_BENCH"), need("VMLINUX"), need("INITRD"), need("LAUNCH"), need("VMM"), images,
                        os.environ.get("PAIRS", "50")])
    for name in found:
        what, kind = name.split("_")
        row = found[name][0]
        if what == "attach":
            took, hand = row["median_us"] / 1000, row["reference_us"] / 1000
            table.row("%s, attach to usable" % kind, "%.0f ms" % took, "%s: %.0f ms" % (BY_HAND[kind], hand),
                      took / max(1.1 * hand, hand + 10), 1, "<= 1.1 x or + 10 ms")
        else:
            rate, hand = row["rate"], row["reference_rate"]
            table.row("%s, %s" % (kind, what), RATES[what] % rate, "by hand: " + RATES[what] % hand,
                      hand / rate, 1 / 0.95, ">= 0.95 x")


# ---- the control socket ---------------------------------------------------------------------------

OWNERS = 50


def installed(folder):
    """uvmctl with its helper beside it."""
    for source, name in ((need("UVMCTL"), "uvmctl"), (need("LAUNCH"), "uvm-launch")):
        shutil.copy(source, os.path.join(folder, name))
    return os.path.join(folder, "uvmctl")


def control(table, folder):
    ctl, state = installed(folder), os.path.join(folder, "state")
    found = json_lines([need("VM_BENCH"), "control", need("VMLINUX"), need("INITRD"), need("LAUNCH"), need("VMM"),
                        ctl, state])
    us, api = found["exec_uvmctl"][0]["median_us"], found["exec_api"][0]["median_us"]
    table.row("uvmctl exec NAME -- /bin/true", "%.1f ms" % (us / 1000), "exec and wait by the API: %.1f ms" % (api / 1000),
              us / (1.2 * api + 10000), 1, "<= 1.2 x + 10 ms")
    state = os.path.join(folder, "many")
    owners = subprocess.Popen([need("OWNERS_BENCH"), state, str(OWNERS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    wall, cpu = [], []
    try:
        assert owners.stdout.readline() == b"ready\n"
        for _ in range(50):
            before, start = os.times(), time.perf_counter()
            out = subprocess.run([ctl, "ps"], env={"UVM_STATE_DIR": state}, stdout=subprocess.PIPE, check=True).stdout
            wall.append((time.perf_counter() - start) * 1000)
            after = os.times()
            cpu.append((after.children_user + after.children_system - before.children_user - before.children_system) * 1000)
            assert out.count(b" running ") == OWNERS, out
    finally:
        owners.stdin.close()
        owners.wait(DEADLINE_S)
    took = statistics.median(wall)
    table.row("uvmctl ps, %d UVMs" % OWNERS, (took, "%.0f ms" % took), "its own CPU: %.0f ms" % statistics.mean(cpu), None,
              50, "<= 50 ms")


# ---- sizes ----------------------------------------------------------------------------------------

def sizes(table, folder):
    # As the image has it: without symbols.
    subprocess.run(["strip", "-o", folder + "/gcs", need("GCS")], check=True)
    size = os.path.getsize(folder + "/gcs")
    ctl_path = installed(folder)
    table.row("agent binary", (size, "%.2f MB" % (size / 1e6)), "", None, 2e6, "<= 2 MB")
    ctl = subprocess.Popen([ctl_path, "boot", "--kernel", need("VMLINUX"), "--initrd", need("INITRD"), "--",
                            "sh", "-c", "echo up; read x"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert ctl.stdout.readline() == b"up\n"
        with open("/proc/%d/schedstat" % ctl.pid) as f:  # nanoseconds; ticks are too coarse
            own = int(f.read().split()[0]) / 1e6
        with open("/proc/%d/status" % ctl.pid) as f:
            status = dict(re.findall(r"^(\w+):\s+(\d+) kB", f.read(), re.M))
        ctl.stdin.write(b"\n")
        ctl.stdin.close()
        ctl.wait(DEADLINE_S)
    finally:
        ctl.kill()
        ctl.wait()
    rss = int(status["RssAnon"]) + int(status["RssFile"])
    table.row("uvmctl boot, RssAnon + RssFile", (rss, "%.1f MiB" % (rss / 1024)), "", None, 6 * 1024, "<= 6 MiB")
    table.row("uvmctl boot, its own CPU", (own, "%.1f ms" % own), "", None, 30, "<= 30 ms")


def main():
    table = Table()
    model = re.search(r"model name\s*: (.*)", open("/proc/cpuinfo").read())
    vmm = subprocess.run([need("VMM"), "--version"], stdout=subprocess.PIPE, check=True).stdout.decode().splitlines()[0]
    print("machine: %s, %d cores, Linux %s; %s" % (model.group(1) if model else "?", os.cpu_count(),
                                                   os.uname().release, vmm))
    print("method: see tests/bench/bench.py; medians, references run in turn in the same minutes\n")
    only = os.environ.get("ONLY", "boots inside streams disks kinds control sizes").split()
    with tempfile.TemporaryDirectory(prefix="uvm-bench.") as folder:
        os.chmod(folder, 0o755)
        if "sizes" in only:
            sizes(table, folder)
        if "inside" in only:
            inside(table, folder)
        if "streams" in only:
            streams(table, folder)
        if "disks" in only:
            disks(table, folder)
        if "kinds" in only:
            kinds(table, folder)
        if "control" in only:
            control(table, folder)
        if "boots" in only:
            boots(table)
    if table.failed:
        print("\n%d miss what is wanted" % table.failed)
    return 1 if table.failed else 0


sys.exit(main())
