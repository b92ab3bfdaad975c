import { getHeapStatistics } from 'node:v8';

/** How lines of TensorFlow's log begin: its level, the time, the place in its sources. */
const LOG = /^(?:I\d{4} |\d{4}-\d\d-\d\d )[\d:. ]+(?:I )?(?:[\w/]*\/)?/.source;

/** Words of Node's inspector and of TensorFlow as it starts, and what a reader is told instead. */
const ASIDES: [RegExp, (...parts: string[]) => string][] = [
  [/^Waiting for the debugger to disconnect\.\.\.$/, () => ''],
  [/^For help, see: https:\/\/nodejs\.org\/\S*$/, () => ''],
  [/^Debugger ending on .*$/, () => ''],
  [/^Debugger listening on (\S+)$/, (_, address) => `A debugger can attach: ${address}\n`],
  [/^Debugger attached\.$/, () => 'A debugger is attached.\n'],
  [/^WARNING: All log messages before absl::InitializeLog\(\) is called are written to STDERR$/, () => ''],
  [new RegExp(`${LOG}(?:port|cpu_feature_guard|gpu_device|cuda_executor)\\.cc:\\d+\\] .*$`), () => ''],
  [/^To enable the following instructions: .* rebuild TensorFlow with the appropriate compiler flags\.$/, () => ''],
];
/** How reports begin that V8 and Node write as they die; all that follows is theirs. */
const REPORT =
  /^(<--- Last few GCs --->|<--- JS stacktrace --->|FATAL ERROR: |# Fatal error in |----- (Native|JavaScript) stack trace -----|\S*node(\.exe)?\[\d+\]: .*Assertion )/;
/** What may stand before one. */
const LEAD = /^#?$/;
const BEGINNINGS = [
  'WARNING: All log',
  'I0',
  'I1',
  'To enable the following',
  'Waiting for the debugger',
  'For help, see: ',
  'Debugger ',
  '<--- ',
  'FATAL ERROR: ',
  '#',
  '----- ',
  'node[',
];
/** How long lines are held back to see what follows, in ms: what may lead to a report, and a report that nobody died of. */
const [SOON, LATER] = [100, 2000];
const KEPT = 8000;

/** What a worker's process prints past its cells: native code's words are passed on, Node's own are told in ours. */
export class Complaints {
  private readonly streams = new Map<string, Stream>();
  private reports = '';
  /** The last of what was printed. */
  tail = '';

  constructor(private readonly say: (name: string, text: string, cell?: number) => void) {}

  push(name: string, text: string, cell?: number): void {
    let stream = this.streams.get(name);
    if (!stream) {
      stream = new Stream(
        (said, of) => this.say(name, said, of),
        (said) => {
          this.reports = (this.reports + said).slice(0, KEPT);
        },
      );
      this.streams.set(name, stream);
    }
    this.tail = (this.tail + text).slice(-KEPT);
    stream.push(text, cell);
  }

  /** What a cell printed is out when the cell is done. */
  settle(): void {
    for (const stream of this.streams.values()) if (!stream.isReport) stream.release();
  }

  /** How the process ended, and of what as far as can be told. */
  why(code: number | null, signal: string | null): string {
    for (const stream of this.streams.values()) stream.end();
    const how = signal ? `ended by ${signal}` : `exit code ${code}`;
    if (/heap out of memory|Allocation failed/.test(this.reports)) {
      const limit = Math.round(getHeapStatistics().heap_size_limit / 2 ** 20);
      return `JavaScript ran out of memory (${how}). Its heap holds ${limit} MiB at most, unless NODE_OPTIONS=--max-old-space-size=<MiB> says otherwise where Jupyter starts`;
    }
    if (signal === 'SIGKILL') return 'it was ended by SIGKILL, as a system does that is short of memory';
    const reason = this.reports.match(
      /^(?:FATAL ERROR: |# (?=Check failed|Debug check failed|unreachable)|.*\[\d+\]: .*?(?=Assertion ))(.+)/m,
    )?.[1];
    const because = reason ? `: ${reason.trim()}` : '';
    if (signal === 'SIGABRT') return `it gave up (${how})${because}`;
    if (signal && /^SIG(SEGV|BUS|ILL|FPE|TRAP)$/.test(signal)) return `native code crashed (${how})${because}`;
    return signal ? `it was ${how}` : `it ended with ${how}`;
  }
}

/** One stream, line by line; what is no word of Node's passes at once, also without a line's end. */
class Stream {
  private cell?: number;
  private line = '';
  /** The first part of the line is out already. */
  private begun = false;
  private held: string[] = [];
  isReport = false;
  private timer?: NodeJS.Timeout;

  constructor(
    private readonly say: (text: string, cell?: number) => void,
    private readonly report: (text: string) => void,
  ) {}

  push(more: string, cell?: number): void {
    this.cell = cell;
    const lines = (this.line + more).split('\n');
    this.line = lines.pop() ?? '';
    let text = '';
    const out = (shown: string) => {
      text += shown;
    };
    for (const line of lines) this.take(line, out);
    if (this.line && !this.held.length && (this.begun || !BEGINNINGS.some((b) => b.startsWith(this.line) || this.line.startsWith(b)))) {
      out(this.line);
      this.line = '';
      this.begun = true;
    }
    if (text) this.say(text, this.cell);
  }

  private take(line: string, out: (text: string) => void): void {
    if (this.begun) {
      this.begun = false;
      out(`${line}\n`);
      return;
    }
    if (!this.isReport && REPORT.test(line)) this.isReport = true;
    if (this.isReport || LEAD.test(line)) {
      this.held.push(line);
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.release(), this.isReport ? LATER : SOON);
      return;
    }
    out(
      this.held
        .splice(0)
        .map((one) => `${one}\n`)
        .join(''),
    );
    const [aside] = ASIDES.filter(([pattern]) => pattern.test(line));
    out(aside ? line.replace(...aside) : `${line}\n`);
  }

  /** Nobody died of it: it is passed on as it is. */
  release(): void {
    clearTimeout(this.timer);
    this.isReport = false;
    const text =
      this.held
        .splice(0)
        .map((line) => `${line}\n`)
        .join('') + this.line;
    this.begun = this.line !== '';
    this.line = '';
    if (text) this.say(text, this.cell);
  }

  /** The process is gone. */
  end(): void {
    clearTimeout(this.timer);
    if (this.isReport) this.report(`${[...this.held.splice(0), this.line].join('\n')}\n`);
    else this.release();
  }
}
