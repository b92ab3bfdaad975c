import { warnOnce } from '../core/events';
import { backend } from '../engine/backend';
import type { Precision } from '../engine/precision';

/** What `bf16` asks for; by default what is fastest on this CPU. */
export function choosePrecision(bf16: boolean | null): Precision {
  const info = backend();
  if (bf16 && !info.native) warnOnce(`bf16 = true has no effect on tfjs's ${info.name} backend: it computes in fp32.`);
  else if (bf16 && !info.bf16)
    warnOnce('bf16 = true: this CPU has no bf16 instructions, so bf16 takes longer than fp32. Leave bf16 out to get what is faster here.');
  return (bf16 ?? info.bf16) && info.native ? 'bf16' : 'fp32';
}
