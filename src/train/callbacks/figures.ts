/** Names as transformers' trackers have them: eval_x becomes eval/x, test_x test/x, everything else train/x. */
export const trackedNames = (entry: Record<string, number>): Record<string, number> =>
  Object.fromEntries(
    Object.entries(entry).flatMap(([name, value]) => {
      const [, kind, rest] = name.match(/^(eval|test)_(.+)$/) ?? [];
      return name === 'step' ? [] : [[kind ? `${kind}/${rest}` : `train/${name}`, value]];
    }),
  );
