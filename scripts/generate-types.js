/** Writes src/report/types.ts from the report's schema: `npm run schema`. Development only. */
import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { compile } from 'json-schema-to-typescript';

const SCHEMA = new URL('../src/report/schema/report.schema.json', import.meta.url);
const TYPES = new URL('../src/report/types.ts', import.meta.url);

/** The TypeScript source of the report's types. */
export async function generateReportTypes() {
  const schema = JSON.parse(await readFile(SCHEMA, 'utf8'));
  return compile(schema, 'Report', {
    bannerComment:
      '/** Generated from schema/report.schema.json by `npm run schema`: change that file, then run it. */',
    unknownAny: true,
    style: { singleQuote: true, printWidth: 120 },
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await writeFile(TYPES, await generateReportTypes());
