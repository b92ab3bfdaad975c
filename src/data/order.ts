import { Random } from '../core/random';

export const SAMPLING = ['random', 'sequential', 'group_by_length'] as const;
export type Sampling = (typeof SAMPLING)[number];

/** Batches whose rows are sorted by length together; as transformers' LengthGroupedSampler has it. */
const MEGA_BATCH = 50;

/** The order in which an epoch goes through rows of these lengths, `perStep` at a time. */
export function rowOrder(strategy: string, lengths: number[], perStep: number, seed: number, epoch: number): number[] {
  const rows = lengths.map((_, i) => i);
  if (strategy === 'sequential') return rows;
  const random = Random.seeded(seed, epoch);
  const shuffled = random.shuffled(rows);
  if (strategy === 'random') return shuffled;
  const size = MEGA_BATCH * perStep;
  const groups = Array.from({ length: Math.ceil(rows.length / size) }, (_, i) =>
    shuffled.slice(i * size, (i + 1) * size).sort((a, b) => lengths[b] - lengths[a]),
  );
  // The longest row comes first: what it needs of memory shows at once.
  const longest = groups.findIndex((group) => lengths[group[0]] === Math.max(...lengths));
  if (longest > 0) [groups[0][0], groups[longest][0]] = [groups[longest][0], groups[0][0]];
  return groups.flat();
}
