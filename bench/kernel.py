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
# Kinds of loop that an interrupt has to end.
LOOPS = [
    cells["loop"],
    "console.log('go'); while (true) await null;",
    "console.log('go'); while (true) await new Promise((r) => setTimeout(r, 1));",
    "console.log('go'); /^(a+)+$/.test('a'.repeat(40) + '!')",
    "console.log('go'); const bytes = new Uint8Array([0,97,115,109,1,0,0,0,1,4,1,96,0,0,3,2,1,0,7,5,1,1,102,0,0,10,9,1,7,0,3,64,12,0,11,11]); "
    "(new (globalThis as any).WebAssembly.Instance(new (globalThis as any).WebAssembly.Module(bytes)).exports.f as any)()",
]
TRAINER = """
import { AutoModelForCausalLM, AutoTokenizer, Dataset, LoraConfig, SFTConfig, SFTTrainer } from 'tunebook';
const model = await AutoModelForCausalLM.from_pretrained('HuggingFaceTB/SmolLM2-135M-Instruct');
const trainer = new SFTTrainer({
  model, processing_class: await AutoTokenizer.from_pretrained('HuggingFaceTB/SmolLM2-135M-Instruct'),
  train_dataset: Dataset.from_list(Array.from({ length: 40 }, (_, i) => ({ prompt: 'What is ' + i + '?', completion: 'A number.' }))),
  peft_config: new LoraConfig({ r: 4 }),
  args: new SFTConfig({ output_dir: 'out', max_steps: 100000, per_device_train_batch_size: 1 }),
});
"""


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
        if on_output and message["msg_type"] in ("stream", "display_data", "update_display_data"):
            on_output()
        if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
            break
    while (reply := kc.get_shell_msg(timeout=WAIT))["parent_header"].get("msg_id") != msg_id:
        pass
    took = 1000 * (time.perf_counter() - begin)
    assert reply["content"].get("ename") in (None, "Interrupted", "KeyboardInterrupt"), reply["content"]["traceback"]
    return took, "".join(text)


def ask(kc, code, what="complete"):
    begin = time.perf_counter()
    msg_id = getattr(kc, what)(code, len(code))
    while kc.get_shell_msg(timeout=WAIT)["parent_header"].get("msg_id") != msg_id:
        pass
    return 1000 * (time.perf_counter() - begin)


def control(kc, what="kernel_info_request"):
    begin = time.perf_counter()
    message = kc.session.msg(what, {})
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


def declare(i):
    return cells["declare"].replace("{{", "{").replace("}}", "}").replace("{i}", str(i % 100))


def interrupt(code, acknowledged=None):
    """Milliseconds from an interrupt, sent when the cell has put something out, to idle."""
    began = []

    def stop():
        if not began:
            time.sleep(0.02)
            began.append(time.perf_counter())
            if acknowledged is None:
                km.interrupt_kernel()
            else:
                acknowledged.append(control(kc, "interrupt_request"))

    run(kc, code, stop)
    return 1000 * (time.perf_counter() - began[0])


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
figures["resident when idle, MiB"] = resident(km.provisioner.pid)
run(kc, cells["plain"])
note("warm 1+1", [run(kc, cells["plain"])[0] for _ in range(tries)])
note("a new cell", [run(kc, f"2+{i}")[0] for i in range(tries)])
for i in range(100):
    run(kc, declare(i))
note("a new cell in a notebook of 100 cells", [run(kc, f"3+{i}")[0] for i in range(tries)])
note("completion idle", [ask(kc, f"{cells['name']}{i % 10}") for i in range(tries)])
note("inspection idle", [ask(kc, f"f{i % 100}", "inspect") for i in range(tries)])
if name == "tunebook":
    before = resident(km.provisioner.pid)
    for i in range(100, 1000):
        run(kc, declare(i))
    note("a new cell after 1,000 cells", [run(kc, f"4+{i}")[0] for i in range(tries)])
    figures["memory after 1,000 cells against 100"] = resident(km.provisioner.pid) / before
if name != "tslab":  # which loses output and never gets idle, and answers nothing while a cell spins
    figures["100,000 lines"], text = run(kc, cells["lines"])
    assert text.count("\n") == 100000
    loops = LOOPS if name == "tunebook" else LOOPS[:1]
    note("interrupt to idle", [interrupt(loops[i % len(loops)]) for i in range(5 * tries if name == "tunebook" else tries)])
if name == "tunebook":
    run(kc, TRAINER)
    ends = []
    for i in range(tries // 4):
        acknowledged = []
        ends.append(interrupt("const { stopped } = await trainer.train({ resume_from_checkpoint: %s }); stopped" % ("true" if i else "false"), acknowledged))
        figures.setdefault("acknowledged", []).append(acknowledged[0])
    note("interrupt of a trainer acknowledged", figures.pop("acknowledged"))
    note("interrupt of a trainer to idle: step finished, saved", ends)
    for what, code in ("a cell spins", cells["loop"]), ("a cell trains", "await trainer.train()"):
        kc.execute(code)
        time.sleep(3)
        note(f"completion while {what}", [ask(kc, f"{cells['name']}{i % 10}") for i in range(tries)])
        note(f"inspection while {what}", [ask(kc, f"f{i % 100}", "inspect") for i in range(tries)])
        note(f"heartbeat while {what}", heartbeats(km, tries))
        note(f"control while {what}", [control(kc) for _ in range(tries)])
        note(f"comm message while {what}", [comm(kc) for _ in range(tries)])
        km.interrupt_kernel()
        run(kc, cells["plain"])
kc.stop_channels()
km.shutdown_kernel(now=True)
print(json.dumps(figures))
