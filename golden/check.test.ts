/**
 * `fuseproof golden check` on every golden that is not of full size, with other batches and threads; on the engines where
 * that takes moments. The rest of it is in full-size.test.ts, and all of it in `npm run golden:check`.
 */
import { readdir, stat } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { openEngine } from '../src/engines/index.ts';
import { deployForms } from '../src/fused/forms.ts';
import { checkGolden, type LabelledEngine } from '../src/golden/check.ts';
import { checkFiles } from '../src/golden/folder.ts';
import { FOLDER, goldens, isFullSize, manifest, networkOf } from './goldens.ts';

describe('the folder', () => {
  it('holds the files of the manifest, by SHA-256, and no other', async () => {
    expect(await checkFiles(FOLDER, manifest)).toEqual([]);
  });

  it('is of less than 5 MB', async () => {
    // All of it, the oracle and the tests, too; but for what git leaves out and what waits for a review.
    const entries = (await readdir(FOLDER, { recursive: true, withFileTypes: true }))
      .filter((entry) => entry.isFile())
      .map(({ parentPath, name }) => join(parentPath, name));
    const files = entries.filter((path) => !/[\\/](__pycache__|pending)[\\/]/.test(relative(FOLDER, path)));
    const sizes = await Promise.all(files.map(async (file) => (await stat(file)).size));
    expect(sizes.length).toBeGreaterThan(manifest.goldens.length);
    expect(sizes.reduce((sum, size) => sum + size)).toBeLessThan(5e6);
  });
});

/** Those that are asked on engines here: one published network, and one of each make of the tiny ones. */
const ON_ENGINES = [
  'repvit_m0_6_20x33',
  'tiny_kernel_5',
  'tiny_legacy_two_heads',
  'tiny_batch_3',
  'repvit_two_heads',
  'repmlpnet_tiny_windows',
  'repmlpnet_tiny_kernels_1_3_5_7',
  'repmlpnet_tiny_no_locality',
  'repmlpnet',
];

const engines: LabelledEngine[] = [];
beforeAll(async () => {
  for (const threads of [2, 1]) {
    engines.push({ label: `onnxruntime, ${threads} threads`, engine: await openEngine('onnxruntime', { threads }) });
  }
  engines.push({ label: 'wasm', engine: await openEngine('wasm') });
});

describe('goldens', () => {
  for (const golden of goldens.filter((each) => !isFullSize(each))) {
    const { name, input } = golden;
    const onEngines = ON_ENGINES.includes(name);
    it(`${name} at ${input.height}x${input.width}${onEngines ? ', on engines, too' : ''}`, async () => {
      const options = onEngines ? { engines } : {};
      const { verdict, problems, rows } = await checkGolden(golden, FOLDER, options);
      expect(problems).toEqual([]);
      expect(verdict).toBe('pass');
      const forms = ['train', ...deployForms(networkOf(golden)).map((form) => form.name)];
      for (const form of forms) {
        const oracle = rows.filter((row) => row.form === form && row.by === 'float64');
        // The golden's own batch on two threads and on one, and its first image among others.
        expect(oracle).toHaveLength(3);
        for (const { compared } of oracle) expect(compared).toBeGreaterThan(0);
        const byEngine = rows.filter((row) => row.form === form && row.by !== 'float64');
        expect(new Set(byEngine.map(({ by, what }) => `${by}, ${what}`)).size).toBe(onEngines ? 6 : 0);
      }
    });
  }
});
