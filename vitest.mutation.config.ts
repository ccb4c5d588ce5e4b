import { defineConfig } from 'vitest/config';
import type { Reporter, TestModule, Vitest } from 'vitest/node';

/** A mutant that keeps a test file from loading leaves no test to fail; Stryker looks at tests and at these errors. */
class LoadErrors implements Reporter {
  #vitest: Vitest | undefined;

  onInit(vitest: Vitest): void {
    this.#vitest = vitest;
  }

  onTestModuleEnd(module: TestModule): void {
    for (const error of module.errors()) this.#vitest?.state.catchError(error, 'Load Error');
  }
}

/** What mutants are run against: the tests that scripts/mutation.js names, with few draws. */
export default defineConfig({
  test: {
    include: process.env.FUSEPROOF_MUTATION_TESTS?.split(' ') ?? [],
    env: { FUSEPROOF_DRAWS: '0.02' },
    reporters: [new LoadErrors()],
    testTimeout: 60_000,
  },
});
