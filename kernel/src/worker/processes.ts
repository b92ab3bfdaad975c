import { readdirSync, readFileSync } from 'node:fs';
import type { Child } from './watch';

interface Process {
  pid: number;
  parent: number;
  group: number;
  /** In hundredths of a second since the system's start. */
  began: number;
}

function read(pid: string): Process | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return { pid: Number(pid), parent: Number(fields[1]), group: Number(fields[2]), began: Number(fields[19]) };
  } catch {
    return undefined; // it has ended
  }
}

/**
 * The processes that cells started, as the system lists them (where it has /proc). They are of the worker's group, which those leave
 * that are to outlive it (`detached`). A cell's are those that began since it did, but for what others are known to have started.
 */
export class Processes {
  /** When the running cells began. */
  private readonly cells = new Map<number, number>();
  /** Who started those that run beside their cell; nobody, where they are to be left alone. */
  private readonly owners = new Map<number, number | undefined>();

  constructor(private readonly group: number) {}

  begin(cell: number): void {
    if (this.cells.size > 1000) this.cells.delete(this.cells.keys().next().value as number);
    this.cells.set(cell, now());
  }

  note(child: Child): void {
    if (this.owners.size > 1000) for (const pid of this.owners.keys()) if (!read(String(pid))) this.owners.delete(pid);
    this.owners.set(child.pid, 'kept' in child ? undefined : child.cell);
  }

  signal(signal: 'SIGINT' | 'SIGKILL', cells: number[]): void {
    const all = new Map(this.list().map((one) => [one.pid, one]));
    for (const cell of cells) {
      const since = this.cells.get(cell) ?? Number.POSITIVE_INFINITY;
      const isOf = ({ pid, parent, began }: Process): boolean => {
        if (began < since || (this.owners.has(pid) && this.owners.get(pid) !== cell)) return false;
        const above = parent === this.group ? undefined : all.get(parent);
        return !above || isOf(above);
      };
      for (const one of all.values())
        if (isOf(one))
          try {
            process.kill(one.pid, signal);
          } catch {
            // it has ended
          }
    }
  }

  private list(): Process[] {
    let names: string[] = [];
    try {
      names = readdirSync('/proc');
    } catch {
      // a system without it
    }
    const found = names.map((name) => (/^\d+$/.test(name) ? read(name) : undefined));
    return found.filter((one) => one !== undefined && one.group === this.group && one.pid !== this.group) as Process[];
  }
}

function now(): number {
  try {
    return Math.floor(100 * Number.parseFloat(readFileSync('/proc/uptime', 'latin1'))) - 1;
  } catch {
    return 0;
  }
}
