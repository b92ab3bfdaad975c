import type { TranslationBundle } from '@jupyterlab/translation';
import type { Sample } from '@tunebook/views';
import { element, table } from '../dom';

/** What the model wrote after the same prompts at one step after another: a table for each prompt. */
export function samplesPanel(samples: readonly Sample[], trans: TranslationBundle): HTMLElement {
  const byPrompt = new Map<string, Sample[]>();
  for (const sample of samples) byPrompt.set(sample.prompt, [...(byPrompt.get(sample.prompt) ?? []), sample]);
  const none = element('p', {
    textContent: trans.__(
      'No samples yet. “Sample now” takes one; new SFTConfig({ sample_prompts: ["..."] }) takes them at every checkpoint.',
    ),
  });
  const tables = [...byPrompt].map(([prompt, list]) =>
    table(
      list.map(({ step, text, base }) => [String(step), text, ...(list.some((one) => one.base !== undefined) ? [base ?? ''] : [])]),
      {
        caption: prompt,
        heads: [
          trans.__('step'),
          trans.__('what the model writes'),
          ...(list.some(({ base }) => base !== undefined) ? [trans.__('what the base model writes')] : []),
        ],
      },
    ),
  );
  return element('div', { className: 'tunebook-samples' }, ...(tables.length ? tables : [none]));
}
