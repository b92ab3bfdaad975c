/** Calls f at once and then at most once in so many milliseconds; the last call is never lost. */
export class Throttle {
  private last = Number.NEGATIVE_INFINITY;
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly milliseconds: number,
    private readonly f: () => void,
  ) {}

  call(): void {
    if (this.timer) return;
    const wait = this.last + this.milliseconds - performance.now();
    if (wait <= 0) this.flush();
    else this.timer = setTimeout(() => this.flush(), wait).unref();
  }

  flush(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.last = performance.now();
    this.f();
  }
}
