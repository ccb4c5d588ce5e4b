/** Writes the types of src/report from its schemas: `npm run schema`. Development only. */
import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { compile } from 'json-schema-to-typescript';

const FOLDER = new URL('../src/report/', import.meta.url);

/** Each schema, the name of its type, and the file of its types. */
const SCHEMAS = [
  ['schema/report.schema.json', 'Report', 'types.ts'],
  ['schema/baseline.schema.json', 'Baseline', 'baseline-types.ts'],
];

/** The TypeScript source of each schema's types, by file. */
export async function generateReportTypes() {
  const files = SCHEMAS.map(async ([schema, name, file]) => {
    const source = await compile(JSON.parse(await readFile(new URL(schema, FOLDER), 'utf8')), name, {
      bannerComment: `/** Generated from ${schema} by \`npm run schema\`: change that file, then run it. */`,
      unknownAny: true,
      style: { singleQuote: true, printWidth: 120 },
    });
    return [file, source];
  });
  return Object.fromEntries(await Promise.all(files));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const [file, source] of Object.entries(await generateReportTypes()))
    await writeFile(new URL(file, FOLDER), source);
}
