import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // One process per file: TensorFlow lives once in a process.
    pool: 'forks',
    // Tests of the hub serve one of their own; no other asks the network.
    env: { HF_HUB_OFFLINE: '1' },
    maxWorkers: 1,
    testTimeout: 3_600_000,
    hookTimeout: 3_600_000,
  },
});
