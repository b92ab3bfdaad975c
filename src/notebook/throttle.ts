/** What is shown of a run shall cost it at most this share of its time. */
const SHARE = 0.005;

/**
 * Calls f at once and then at most once in so many milliseconds, and so seldom that it takes at most half a percent of the time;
 * the last call is never lost.
 */
export class Throttle {
  private next = Number.NEGATIVE_INFINITY;
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly milliseconds: number,
    private readonly f: () => void,
  ) {}

  call(): void {
    if (this.timer) return;
    const wait = this.next - performance.now();
    if (wait <= 0) this.flush();
    else this.timer = setTimeout(() => this.flush(), wait).unref();
  }

  flush(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    const start = performance.now();
    this.f();
    const now = performance.now();
    this.next = now + Math.max(this.milliseconds, (now - start) / SHARE);
  }
}
