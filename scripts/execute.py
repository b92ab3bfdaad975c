"""Executes a notebook with a real Jupyter client, prints its progress and final table, and keeps the executed notebook.

usage: execute.py NOTEBOOK OUTPUT KERNEL [PARAMETERS]

PARAMETERS, as JSON, take the place of the constants of the cell with the tag "parameters": {"steps": 3}.
"""

import json
import re
import sys
import time

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

source, target, kernel, *given = sys.argv[1:]
notebook = nbformat.read(source, as_version=4)
for name, value in json.loads(given[0] if given else "{}").items():
    cell = next((c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])), None)
    constant = re.compile(rf"\bconst {name} = [^;]*;")
    if cell is None or not constant.search(cell.source):
        sys.exit(f"{source} has no constant {name} in a cell with the tag 'parameters'")
    cell.source = constant.sub(lambda _: f"const {name} = {json.dumps(value)};", cell.source)
total = sum(cell.cell_type == "code" for cell in notebook.cells)
started = {}


def title(index):
    for cell in reversed(notebook.cells[:index]):
        if cell.cell_type == "markdown" and cell.source.startswith("#"):
            return cell.source.splitlines()[0].lstrip("# ")
    return ""


def on_start(cell, cell_index):
    if cell.cell_type == "code":
        started[cell_index] = time.time()


def on_executed(cell, cell_index, execute_reply):
    seconds = time.time() - started[cell_index]
    print(f"  cell {len(started)} of {total}: {title(cell_index)} ({seconds:.1f} s)", flush=True)


client = NotebookClient(
    notebook,
    timeout=3600,
    kernel_name=kernel,
    resources={"metadata": {"path": source.rpartition("/")[0] or "."}},
    on_cell_start=on_start,
    on_cell_executed=on_executed,
)
failure = None
try:
    client.execute()
except CellExecutionError as error:
    failure = error
finally:
    nbformat.write(notebook, target)

for cell in notebook.cells:
    if "final-table" in cell.metadata.get("tags", []):
        for output in cell.get("outputs", []):
            if "data" in output:
                print("\n" + output["data"].get("text/plain", ""))
print(f"\nThe executed notebook is in {target}")
if failure:
    print(f"\nA cell failed: {failure.ename}: {failure.evalue}", file=sys.stderr)
    sys.exit(1)
