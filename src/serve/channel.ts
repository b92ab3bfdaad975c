/** What one side makes and another takes, in order; a reader that is slow finds what has come meanwhile at once. */
export class Channel<T> {
  private items: T[] = [];
  private wake?: () => void;
  private error?: Error;
  private closed = false;

  push(item: T): void {
    this.items.push(item);
    this.wake?.();
  }

  /** Nothing more comes; with an error the reader meets it behind what has come. */
  close(error?: Error): void {
    if (this.closed) return;
    this.closed = true;
    this.error = error;
    this.wake?.();
  }

  /** All that has come since the last time; undefined at the end. */
  async take(): Promise<T[] | undefined> {
    while (!this.items.length && !this.closed) await new Promise<void>((resolve) => (this.wake = resolve));
    this.wake = undefined;
    const items = this.items;
    this.items = [];
    if (items.length) return items;
    if (this.error) throw this.error;
    return undefined;
  }
}
