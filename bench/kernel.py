"""Times a Jupyter kernel by its own protocol. usage: kernel.py KERNEL TRIES; prints JSON as its last line."""

import json
import os
import subprocess
import sys
import tempfile
import time

import zmq
from jupyter_client import KernelManager

name, tries = sys.argv[1], int(sys.argv[2])
WAIT = 120
CELLS = {
    "python3": {"plain": "1+1", "loop": "print('go', flush=True)\nwhile True: pass", "declare": "v{i} = {i}\ndef f{i}(n): return n + v{i}", "name": "v", "lines": "for i in range(100000): print(i)"},
    "typescript": {"plain": "1+1", "loop": "console.log('go'); while (true) {}", "declare": "const v{i} = {i}; function f{i}(n: number) {{ return n + v{i} }}", "name": "v", "lines": "for (let i = 0; i < 100000; i++) console.log(i)"},
}
cells = CELLS.get(name, CELLS["typescript"])


def start():
    begin = time.perf_counter()
    km = KernelManager(kernel_name=name)
    # not our own streams: a kernel that outlives us would keep whoever reads them waiting
    km.start_kernel(cwd=tempfile.mkdtemp(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    kc = km.client()
    kc.start_channels()
    kc.wait_for_ready(timeout=WAIT)
    return km, kc, time.perf_counter() - begin


def run(kc, code, on_output=None):
    """Milliseconds from the request to both reply and idle, and the text that came."""
    begin = time.perf_counter()
    msg_id = kc.execute(code)
    text = []
    while True:
        message = kc.get_iopub_msg(timeout=WAIT)
        if message["parent_header"].get("msg_id") != msg_id:
            continue
        if message["msg_type"] == "stream":
            text.append(message["content"]["text"])
            if on_output:
                on_output()
        if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
            break
    while kc.get_shell_msg(timeout=WAIT)["parent_header"].get("msg_id") != msg_id:
        pass
    return 1000 * (time.perf_counter() - begin), "".join(text)


def ask(kc, code):
    begin = time.perf_counter()
    msg_id = kc.complete(code, len(code))
    while kc.get_shell_msg(timeout=WAIT)["parent_header"].get("msg_id") != msg_id:
        pass
    return 1000 * (time.perf_counter() - begin)


def control(kc):
    begin = time.perf_counter()
    message = kc.session.msg("kernel_info_request", {})
    kc.control_channel.send(message)
    while kc.get_control_msg(timeout=WAIT)["parent_header"].get("msg_id") != message["header"]["msg_id"]:
        pass
    return 1000 * (time.perf_counter() - begin)


def comm(kc):
    """Until the kernel has taken a comm message: its handler runs when the cell yields."""
    begin = time.perf_counter()
    message = kc.session.msg("comm_msg", {"comm_id": "nobody", "data": {}})
    kc.shell_channel.send(message)
    while True:
        got = kc.get_iopub_msg(timeout=WAIT)
        if got["parent_header"].get("msg_id") == message["header"]["msg_id"] and got["content"].get("execution_state") == "idle":
            return 1000 * (time.perf_counter() - begin)


def heartbeats(km, tries):
    socket = zmq.Context.instance().socket(zmq.REQ)
    socket.connect(f"tcp://{km.ip}:{km.hb_port}")
    times = []
    for _ in range(tries):
        begin = time.perf_counter()
        socket.send(b"ping")
        assert socket.recv() == b"ping"
        times.append(1000 * (time.perf_counter() - begin))
    socket.close()
    return times


def resident(pid):
    """MiB of a process and all below it: what is shared counts once (Pss)."""
    total = 0
    todo = [pid]
    while todo:
        at = todo.pop()
        try:
            total += sum(int(line.split()[1]) for line in open(f"/proc/{at}/smaps_rollup") if line.startswith("Pss:"))
            for task in os.listdir(f"/proc/{at}/task"):
                todo += map(int, open(f"/proc/{at}/task/{task}/children").read().split())
        except OSError:
            pass
    return total / 1024


def p(values, share):
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


figures = {}


def note(what, values):
    figures[f"{what} p50"], figures[f"{what} p99"] = p(values, 0.5), p(values, 0.99)


starts = []
for i in range(5):
    km, kc, seconds = start()
    starts.append(1000 * seconds)
    if i < 4:
        kc.stop_channels()
        km.shutdown_kernel(now=True)
figures["start to ready p50"] = p(starts, 0.5)
time.sleep(2)
figures["resident idle MiB"] = resident(km.provisioner.pid)
run(kc, cells["plain"])
note("warm 1+1", [run(kc, cells["plain"])[0] for _ in range(tries)])
for i in range(100):
    run(kc, cells["declare"].replace("{{", "{").replace("}}", "}").replace("{i}", str(i)))
note("cell in a notebook of 100 cells", [run(kc, cells["plain"])[0] for _ in range(tries)])
if name == "tunebook":
    before = resident(km.provisioner.pid)
    for i in range(100, 1000):
        run(kc, cells["declare"].replace("{{", "{").replace("}}", "}").replace("{i}", str(i % 100)))
    note("cell after 1,000 cells", [run(kc, cells["plain"])[0] for _ in range(tries)])
    figures["memory after 1,000 cells against 100"] = resident(km.provisioner.pid) / before
note("completion idle", [ask(kc, cells["name"]) for _ in range(tries)])
if name != "tslab":  # which loses output and never gets idle, and answers nothing while a cell spins
    milliseconds, text = run(kc, cells["lines"])
    assert text.count("\n") == 100000
    figures["100,000 lines"] = milliseconds
    stops = []
    for _ in range(max(10, tries // 4)):
        began = []

        def stop():
            if not began:
                time.sleep(0.02)
                began.append(time.perf_counter())
                km.interrupt_kernel()

        run(kc, cells["loop"], stop)
        stops.append(1000 * (time.perf_counter() - began[0]))
    note("interrupt to idle", stops)
if name == "tunebook":
    msg_id = kc.execute(cells["loop"])
    time.sleep(0.3)
    note("completion while a cell spins", [ask(kc, cells["name"]) for _ in range(tries)])
    note("heartbeat while a cell spins", heartbeats(km, tries))
    note("control while a cell spins", [control(kc) for _ in range(tries)])
    note("comm message while a cell spins", [comm(kc) for _ in range(tries)])
    km.interrupt_kernel()
kc.stop_channels()
km.shutdown_kernel(now=True)
print(json.dumps(figures))
