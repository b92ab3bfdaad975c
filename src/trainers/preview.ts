import { escapeHtml } from '../core/html';
import type { Example } from '../data/sft';
import type { Tokenizer } from '../tokenizers/tokenizer';

export function previewRows(examples: Example[], tokenizer: Tokenizer, count = 2): { html: string; text: string } {
  const rows = examples.slice(0, count).map(({ input_ids, trained }) => {
    const runs: { text: string; trained: boolean }[] = [];
    for (let from = 0; from < input_ids.length; ) {
      let to = from + 1;
      while (to < input_ids.length && trained[to] === trained[from]) to++;
      runs.push({ text: tokenizer.decode(input_ids.slice(from, to)), trained: trained[from] });
      from = to;
    }
    return { runs, tokens: input_ids.length, learned: trained.filter(Boolean).length };
  });
  const text = rows
    .map(
      ({ runs, tokens, learned }, i) =>
        `Row ${i}: ${tokens} tokens, ${learned} to learn (between ⟦ and ⟧)\n${runs.map((r) => (r.trained ? `⟦${r.text}⟧` : r.text)).join('')}`,
    )
    .join('\n\n');
  const html = rows
    .map(
      ({ runs, tokens, learned }, i) =>
        `<p style="margin:8px 0 2px"><b>Row ${i}</b>: ${tokens} tokens, <mark style="background:#c8e6c9;color:#000">${learned} to learn</mark></p>` +
        `<pre style="white-space:pre-wrap;margin:0;padding:6px;border:1px solid #8884;border-radius:4px">${runs
          .map((r) => (r.trained ? `<mark style="background:#c8e6c9;color:#000">${escapeHtml(r.text)}</mark>` : escapeHtml(r.text)))
          .join('')}</pre>`,
    )
    .join('');
  return { html, text };
}
