/**
 * Mutation testing of the fusion rules and of the verification: `npm run mutation [-- --concurrency N] [AREA...]`.
 * Every mutant has to be killed by a test or explained in mutation-explained.json. Development only.
 */
import { createHash } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const EXPLAINED = 'scripts/mutation-explained.json';
const RESULT = 'reports/mutation.md';
const TESTS = '!**/*.test.ts';
const APART = ['basis', 'exact', 'dyadic'];

/**
 * What is mutated together, and the tests that it is run against: its own, so that a survivor costs seconds. A test elsewhere
 * that would kill it too does not count.
 */
const AREAS = {
  rules: {
    mutate: ['src/fused/rules/*.ts', TESTS],
    // repmlpnet.prop.ts counts the kinds of its draws, and needs all of them.
    tests: ['src/fused/**/*.test.ts', 'properties/rules/!(repmlpnet).prop.ts'],
  },
  ...Object.fromEntries(
    APART.map((name) => [
      name,
      { mutate: [`src/verify/${name}.ts`], tests: [`src/verify/${name}*.test.ts`, 'src/verify/tiers.test.ts'] },
    ]),
  ),
  verify: {
    mutate: ['src/verify/**/*.ts', '!src/verify/faults/**', ...APART.map((name) => `!src/verify/${name}.ts`), TESTS],
    // verify.test.ts opens engines, which takes seconds; tiers.test.ts has one of its own.
    tests: [
      `src/verify/!(${['verify', ...APART.map((name) => `${name}*`)].join('|')}).test.ts`,
      'src/verify/verify-canaries.test.ts',
    ],
  },
};

/** Longest text shown of a mutated piece of code. */
const SHOWN = 70;

function shortened(code) {
  const line = code.replaceAll(/\s+/g, ' ').trim();
  return line.length > SHOWN ? `${line.slice(0, SHOWN)}...` : line;
}

function textAt(source, { start, end }) {
  const lines = source.split('\n').slice(start.line - 1, end.line);
  lines[lines.length - 1] = lines.at(-1).slice(0, end.column - 1);
  lines[0] = lines[0].slice(start.column - 1);
  return lines.join('\n');
}

/** A mutant by what it changes, not by where: it stays the same when lines above it come or go. */
function identify(file, source, { location, replacement }) {
  const line = source.split('\n')[location.start.line - 1].trim();
  return { file, line, mutant: `${shortened(textAt(source, location))} => ${shortened(replacement)}` };
}

const keyOf = ({ file, line, mutant }) => [file, line, mutant].join('\n');

/** An explanation may be of several mutants of its line. */
function oneByOne(explained) {
  return explained.flatMap((entry) => [entry.mutant].flat().map((mutant) => ({ ...entry, mutant })));
}

const inOrder = (a, b) => a.at.line - b.at.line || a.at.column - b.at.column || (a.mutant < b.mutant ? -1 : 1);

/**
 * Holds Stryker's report (mutation-testing-report-schema) against the explanations. `RuntimeError` is what keeps a test file
 * from loading (vitest.mutation.config.ts): `npm test` fails then, so it is killed.
 */
export function judge(report, explained) {
  const all = Object.entries(report.files).flatMap(([file, { source, mutants }]) =>
    mutants
      .map(({ status, ...mutant }) => ({ ...identify(file, source, mutant), at: mutant.location.start, status }))
      .sort(inOrder),
  );
  const survivors = all.filter(({ status }) => status === 'Survived' || status === 'NoCoverage');
  const files = Object.keys(report.files).map((file) => {
    const count = (status) => all.filter((mutant) => mutant.file === file && mutant.status === status).length;
    return {
      file,
      killed: count('Killed') + count('RuntimeError'),
      timedOut: count('Timeout'),
      survived: count('Survived') + count('NoCoverage'),
    };
  });
  const explanations = oneByOne(explained);
  const reasons = new Map(explanations.map((entry) => [keyOf(entry), entry.why]));
  const alive = new Set(survivors.map(keyOf));
  const stale = explanations.filter((entry) => !alive.has(keyOf(entry)));
  const known = new Set(all.map(keyOf));
  return {
    files,
    survivors: survivors.map((survivor) => ({ ...survivor, why: reasons.get(keyOf(survivor)) })),
    problems: [
      ...survivors
        .filter((survivor) => !reasons.has(keyOf(survivor)))
        .map(
          ({ file, at, line, mutant }) =>
            `${file}:${at.line}:${at.column} survives unexplained: ${mutant}\n    in ${line}`,
        ),
      ...stale.map((entry) => {
        const what = known.has(keyOf(entry)) ? 'is killed by now' : 'is no mutant';
        return `${EXPLAINED}: ${entry.mutant} of ${entry.file} ${what}: take it out\n    in ${entry.line}`;
      }),
    ],
  };
}

function score({ killed, timedOut, survived }) {
  const valid = killed + timedOut + survived;
  return valid === 0 ? '-' : `${((100 * (killed + timedOut)) / valid).toFixed(1)} %`;
}

const escaped = (code) => `\`${code.replaceAll('`', "'").replaceAll('|', '\\|')}\``;

/**
 * What is committed: the score of each file, and each survivor with the reason why it is left.
 * @param minutes that running every mutant took
 */
export function toMarkdown({ files, survivors }, minutes) {
  const sum = (of) => files.reduce((sofar, file) => sofar + file[of], 0);
  const total = { killed: sum('killed'), timedOut: sum('timedOut'), survived: sum('survived') };
  const row = (name, file) => `| ${name} | ${file.killed} | ${file.timedOut} | ${file.survived} | ${score(file)} |`;
  const mutants = total.killed + total.timedOut + total.survived;
  const rows = new Map();
  for (const { file, line, mutant, why } of survivors) {
    const key = [file, line, why].join('\n');
    const others = rows.get(key)?.mutants ?? [];
    rows.set(key, { file, line, why, mutants: [...others, mutant] });
  }
  return [
    '# Mutation testing',
    '',
    `\`npm run mutation\`: ${mutants} mutants of the fusion rules and of the verification in ${minutes.toFixed(0)} minutes;`,
    `${score(total)} are detected (killed by a test, or stopped because they run for ever). Each of the others is explained below.`,
    '',
    '| file | killed | stopped | survived | score |',
    '|---|---:|---:|---:|---:|',
    ...files.map((file) => row(file.file, file)),
    row('all', total),
    '',
    '## Survivors',
    '',
    '| file | line | mutants | why they survive |',
    '|---|---|---|---|',
    ...[...rows.values()].map(({ file, line, mutants, why = '**unexplained**' }) => {
      return `| ${file} | ${escaped(shortened(line))} | ${mutants.map(escaped).join('<br>')} | ${why} |`;
    }),
    '',
  ].join('\n');
}

/**
 * Changes when anything changes that the fate of a mutant depends on: what these tests import, however far away, and the
 * versions of the packages that it names. Not the tests themselves: Stryker looks at those.
 */
async function hashOfSources(tests) {
  const [{ createVitest }, { cruise }] = await Promise.all([import('vitest/node'), import('dependency-cruiser')]);
  process.env.FUSEPROOF_MUTATION_TESTS = tests.join(' ');
  const vitest = await createVitest('test', { config: 'vitest.mutation.config.ts', watch: false });
  const files = (await vitest.globTestSpecifications()).map(({ moduleId }) => relative('', moduleId));
  await vitest.close();
  const { output } = await cruise(files, { exclude: 'node_modules', tsPreCompilationDeps: true });
  const sources = output.modules.flatMap(({ coreModule, source }) => (coreModule ? [] : [source]));
  const always = ['stryker.config.js', 'vitest.mutation.config.ts'];
  const manifest = JSON.parse(await readFile('package.json', 'utf8'));
  const pinned = Object.entries({
    ...manifest.devDependencies,
    ...manifest.optionalDependencies,
    ...manifest.dependencies,
  });
  const hash = createHash('sha256');
  for (const name of [...sources.filter((source) => !/\.(test|prop)\.ts$/.test(source)).sort(), ...always]) {
    const text = await readFile(name, 'utf8');
    hash.update(name).update(text);
    for (const [pack, version] of pinned) if (text.includes(`'${pack}`)) hash.update(`${pack}@${version}`);
  }
  return hash.digest('hex');
}

/**
 * Mutates one area. Where no source that its tests reach has changed since its last run, Stryker runs only what other tests
 * may change.
 * @returns Stryker's report, and the minutes of the last run of every mutant
 */
async function run(name, concurrency) {
  const { Stryker } = await import('@stryker-mutator/core');
  const { mutate, tests } = AREAS[name];
  const latest = `reports/latest.mutation-${name}`;
  const sources = await hashOfSources(tests);
  const before = await readFile(`${latest}.run.json`, 'utf8').then(JSON.parse, () => undefined);
  const isKnown = before?.sources === sources;
  const started = performance.now();
  await new Stryker({
    ...(concurrency === undefined ? {} : { concurrency: Number(concurrency) }),
    mutate,
    incremental: true,
    incrementalFile: `${latest}.incremental.json`,
    force: !isKnown,
    jsonReporter: { fileName: `${latest}.json` },
  }).runMutationTest();
  const minutes = isKnown ? before.minutes : (performance.now() - started) / 60_000;
  await writeFile(`${latest}.run.json`, JSON.stringify({ sources, minutes }));
  return { ...JSON.parse(await readFile(`${latest}.json`, 'utf8')), minutes };
}

async function main() {
  process.chdir(ROOT);
  const { values, positionals } = parseArgs({ allowPositionals: true, options: { concurrency: { type: 'string' } } });
  const names = Object.keys(AREAS);
  const unknown = positionals.filter((name) => !names.includes(name));
  if (unknown.length > 0) throw new Error(`unknown: ${unknown.join(', ')}; choose of ${names.join(', ')}`);
  const isWhole = positionals.length === 0;
  await mkdir('reports', { recursive: true });
  const report = { files: {}, minutes: 0 };
  for (const name of isWhole ? names : positionals) {
    const area = await run(name, values.concurrency);
    Object.assign(report.files, area.files);
    report.minutes += area.minutes;
  }
  const explained = JSON.parse(await readFile(EXPLAINED, 'utf8'));
  const judgement = judge(
    report,
    explained.filter(({ file }) => isWhole || Object.hasOwn(report.files, file)),
  );
  const text = toMarkdown(judgement, report.minutes);
  if (isWhole) await writeFile(RESULT, text);
  process.stdout.write(`${text}\n`);
  for (const problem of judgement.problems) process.stderr.write(`error: ${problem}\n`);
  process.exitCode = judgement.problems.length === 0 ? 0 : 1;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
