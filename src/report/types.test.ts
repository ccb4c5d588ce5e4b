import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { generateReportTypes } from '../../scripts/generate-types.js';

test('types.ts is what the schema generates; `npm run schema` writes it', async () => {
  expect(await readFile(new URL('types.ts', import.meta.url), 'utf8')).toBe(await generateReportTypes());
});
