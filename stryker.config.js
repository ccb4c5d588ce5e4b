/** Mutation testing: scripts/mutation.js adds what is mutated. @type {import('@stryker-mutator/api/core').PartialStrykerOptions} */
export default {
  testRunner: 'vitest',
  plugins: ['@stryker-mutator/vitest-runner'],
  vitest: { configFile: 'vitest.mutation.config.ts', related: true },
  coverageAnalysis: 'perTest',
  reporters: ['json', 'progress-append-only'],
  // A copy of the tree in which the mutants are: under a name that git and the linter leave alone.
  tempDirName: 'reports/latest.mutants',
  ignorePatterns: ['dist', 'reports', '.tf-cache', 'golden'],
  // On a busy machine a mutant must not pass for one that runs for ever.
  timeoutMS: 20_000,
  timeoutFactor: 3,
  // Most mutants of rules are also met while a test file loads, in its tables of networks: no reason to warn.
  warnings: { slow: false },
};
