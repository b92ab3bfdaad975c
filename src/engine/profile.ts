import { nativeAddon, replaceExecuteOp } from './backend';
import type { Precision } from './precision';

/** One native op that ran: microseconds since the profile began. */
export interface ProfileEvent {
  name: string;
  start: number;
  duration: number;
}

/** What ran between the start and the end of a profile, on the native engine. */
export class Profile {
  constructor(
    readonly events: ProfileEvent[],
    /** Microseconds from start to end. */
    readonly duration: number,
  ) {}

  /** Share of the time in which no native op ran: JavaScript, and waiting. */
  get outside(): number {
    return 1 - this.events.reduce((sum, event) => sum + event.duration, 0) / this.duration;
  }

  /** What ran from `start` to `end`, in microseconds since the beginning. */
  between(start: number, end: number): Profile {
    return new Profile(
      this.events.filter((event) => event.start >= start && event.start < end),
      end - start,
    );
  }

  /** Ops by the time they took, the longest first. */
  byOp(): { name: string; calls: number; milliseconds: number; share: number }[] {
    const rows = new Map<string, { name: string; calls: number; milliseconds: number; share: number }>();
    for (const { name, duration } of this.events) {
      const row = rows.get(name) ?? { name, calls: 0, milliseconds: 0, share: 0 };
      row.calls++;
      row.milliseconds += duration / 1000;
      row.share += duration / this.duration;
      rows.set(name, row);
    }
    return [...rows.values()].sort((a, b) => b.milliseconds - a.milliseconds);
  }

  /** The same as a trace that Perfetto (ui.perfetto.dev) and chrome://tracing open; in their Trace Event Format. */
  chromeTrace(): { traceEvents: object[]; displayTimeUnit: 'ms' } {
    return {
      displayTimeUnit: 'ms',
      traceEvents: this.events.map(({ name, start, duration }) => ({ name, ph: 'X', ts: start, dur: duration, pid: 1, tid: 1, cat: 'op' })),
    };
  }
}

/**
 * Runs f and says how long each native op took. Profiles do not nest.
 *
 *   const { result, profile } = await profiled(() => trainer.train());
 *   console.table(profile.byOp());
 */
export async function profiled<T>(f: () => T | Promise<T>): Promise<{ result: T; profile: Profile }> {
  const events: ProfileEvent[] = [];
  const start = performance.now();
  const restore = replaceExecuteOp((plain) => (name, attributes, inputs, outputs) => {
    const from = performance.now();
    try {
      return plain(name, attributes, inputs, outputs);
    } finally {
      events.push({ name, start: (from - start) * 1000, duration: (performance.now() - from) * 1000 });
    }
  });
  try {
    const result = await f();
    return { result, profile: new Profile(events, (performance.now() - start) * 1000) };
  } finally {
    restore();
  }
}

/** Multiplications and additions in a second (GFLOPS) that this CPU reaches in registers alone, on all threads of the engine. */
export const peakGflops = (precision: Precision, seconds = 1): number => nativeAddon().peak(precision === 'bf16', seconds);
