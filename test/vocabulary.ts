import { createRequire } from 'node:module';
import { join } from 'node:path';

const native = createRequire(__filename)('../scripts/native.cjs') as { cacheFolder(): string };

/** The folder of a real vocabulary that set-up fetched (scripts/vocabularies.mjs). */
export const vocabulary = (name: string): string => join(native.cacheFolder(), 'vocabularies', name);
