import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['src/**/*.test.ts', 'properties/**/*.{test,prop}.ts', 'golden/**/*.test.ts'],
    testTimeout: 120_000,
    maxWorkers: '100%',
  },
});
