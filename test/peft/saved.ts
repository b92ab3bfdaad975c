import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Writes an adapter_config.json by hand. */
export const saveConfig = (folder: string, config: Record<string, unknown>): void =>
  writeFileSync(join(folder, 'adapter_config.json'), JSON.stringify(config));
