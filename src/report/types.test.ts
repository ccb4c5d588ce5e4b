import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { generateReportTypes } from '../../scripts/generate-types.js';

test('the types are what the schemas generate; `npm run schema` writes them', async () => {
  const generated = Object.entries(await generateReportTypes());
  expect(generated.length).toBe(2);
  for (const [file, source] of generated) {
    expect(await readFile(new URL(file, import.meta.url), 'utf8')).toBe(source);
  }
});
