import { ChildProcess } from 'node:child_process';
import { cellNow } from './context';
import type { Child } from './watch';

type Spawning = { spawn(this: ChildProcess, options: { detached?: boolean }): unknown; unref(this: ChildProcess): void };

/** Tells whose the processes are that cells start beside themselves; those that they wait for inside a call need no telling. */
export function followChildren(tell: (child: Child) => void): void {
  const inNode = ChildProcess.prototype as unknown as Spawning;
  const { spawn, unref } = inNode;
  inNode.spawn = function (options) {
    const result = spawn.call(this, options);
    if (this.pid) tell({ pid: this.pid, cell: cellNow() });
    return result;
  };
  inNode.unref = function () {
    if (this.pid) tell({ pid: this.pid, kept: true });
    unref.call(this);
  };
}
