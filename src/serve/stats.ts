import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { Batch } from './batch';

const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300];

/** What a server counts, for Prometheus. */
export class Stats {
  private readonly registry = new Registry();
  private readonly requests = this.counter('requests_total', 'Requests by path and status.', ['path', 'status']);
  private readonly prompts = this.counter('prompt_tokens_total', 'Tokens of prompts that were read.');
  private readonly answers = this.counter('generation_tokens_total', 'Tokens that were written.');
  private readonly gone = this.counter('requests_cancelled_total', 'Requests whose client left before the answer was written.');
  private readonly first = this.seconds('time_to_first_token_seconds', 'From a request to its first token.');
  private readonly whole = this.seconds('request_duration_seconds', 'From a request to the end of its answer.', ['path']);

  constructor(batch: () => Batch) {
    const gauge = (name: string, help: string, value: () => number) =>
      new Gauge({
        name: `tunebook_${name}`,
        help,
        registers: [this.registry],
        collect: function (this: Gauge) {
          this.set(value());
        },
      });
    gauge('requests_running', 'Answers that are being written.', () => batch().counts.running);
    gauge('requests_waiting', 'Answers that wait for room.', () => batch().counts.waiting);
    gauge('cache_tokens', 'Tokens that keys and values are kept for, at most.', () => batch().counts.tokens);
    gauge('resident_memory_bytes', 'Memory of the process.', () => process.memoryUsage.rss());
    gauge('peak_memory_bytes', 'The most memory that the process has had.', () => process.resourceUsage().maxRSS * 1024);
  }

  private counter<L extends string = never>(name: string, help: string, labelNames: L[] = []): Counter<L> {
    return new Counter({ name: `tunebook_${name}`, help, labelNames, registers: [this.registry] });
  }

  private seconds<L extends string = never>(name: string, help: string, labelNames: L[] = []): Histogram<L> {
    return new Histogram({ name: `tunebook_${name}`, help, labelNames, buckets: SECONDS, registers: [this.registry] });
  }

  answered(path: string, status: number, seconds: number): void {
    this.requests.inc({ path, status });
    this.whole.observe({ path }, seconds);
  }
  read(tokens: number): void {
    this.prompts.inc(tokens);
  }
  wrote(tokens: number): void {
    this.answers.inc(tokens);
  }
  began(seconds: number): void {
    this.first.observe(seconds);
  }
  left(): void {
    this.gone.inc();
  }

  get contentType(): string {
    return this.registry.contentType;
  }
  text(): Promise<string> {
    return this.registry.metrics();
  }
}
