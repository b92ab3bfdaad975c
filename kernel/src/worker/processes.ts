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
 * that are to outlive it (`detached`). A cell's are those that it is known to have started, and those that nobody is known to have
 * started and that began while it was the last cell; with all that these started.
 */
export class Processes {
  /** When cells began, the last one last. */
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

  /** `ended`: of cells that do not hold the worker any more; others may have begun since. `told`: who had the signal. */
  signal(signal: 'SIGINT' | 'SIGKILL', cells: number[], ended: boolean, told = new Set<number>()): void {
    const all = new Map(this.list().map((one) => [one.pid, one]));
    for (const cell of cells) {
      const from = this.cells.get(cell) ?? Number.POSITIVE_INFINITY;
      const to = (ended && [...this.cells].find(([other]) => other > cell)?.[1]) || Number.POSITIVE_INFINITY;
      const isOf = ({ pid, parent, began }: Process): boolean => {
        if (this.owners.has(pid)) return this.owners.get(pid) === cell;
        const above = all.get(parent);
        return above ? isOf(above) : from <= began && began < to;
      };
      for (const one of all.values())
        if (isOf(one) && !told.has(one.pid))
          try {
            told.add(one.pid);
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
