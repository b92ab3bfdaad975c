"""A Jupyter client for the kernel tests: runs cells, interrupts some, and prints all that comes back as JSON.

usage: client.py FOLDER < [{"code": ..., "interrupt_on": PATTERN?, "interrupts": 1}, {"request": "complete", ...}]
"""

import json
import re
import os
import sys
import time

from jupyter_client import KernelManager

os.chdir(sys.argv[1])
steps = json.load(sys.stdin)
started = time.time()
km = KernelManager(kernel_name="tunebook")
km.start_kernel(cwd=sys.argv[1])
kc = km.client()
kc.start_channels()
kc.wait_for_ready(timeout=60)
results = [{"ready": time.time() - started}]
for step in steps:
    if "request" in step:
        getattr(kc, step["request"])(*step["args"])
        results.append(kc.get_shell_msg(timeout=60)["content"])
        continue
    messages, waiting = [], step.get("interrupt_on")

    def hook(message):
        global waiting
        kind, content = message["msg_type"], message["content"]
        if kind in ("status", "execute_input"):
            return
        messages.append({"type": kind, **content})
        if waiting and re.search(waiting, json.dumps(content)):
            waiting = None
            for _ in range(step.get("interrupts", 1)):
                km.interrupt_kernel()
                time.sleep(0.2)  # two signals at once may arrive as one

    begin = time.time()
    reply = kc.execute_interactive(step["code"], timeout=300, output_hook=hook, stop_on_error=False)["content"]
    results.append({"status": reply["status"], "messages": messages, "seconds": time.time() - begin})
kc.stop_channels()
km.shutdown_kernel()
print(json.dumps(results))
