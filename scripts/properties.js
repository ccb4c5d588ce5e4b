/**
 * A long random sweep over every property: `npm run properties -- [FILE...] [--minutes M] [--seed N] [--shard I/N] [--merge]`.
 * Round after round with another seed, on all cores, until the time is over. What right fusions were verified is counted by
 * the properties themselves (properties/check.ts); no failure among N of them bounds the rate of false alarms at 3/N.
 */
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { relative } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { Command, CommanderError, InvalidArgumentError } from 'commander';

/** Where vitest keeps and looks for the reports of shards. */
const BLOBS = '.vitest-reports';
/** Draws of a round over those of a test run: enough that starting a round costs little. */
const FACTOR = 3;
const PROPERTIES = 'properties/**/*.prop.ts';

const EXIT = { pass: 0, failure: 1, usage: 2, interrupted: 130 };

function number(text, isRight, limit) {
  const value = text.trim() === '' ? Number.NaN : Number(text);
  if (!isRight(value)) throw new InvalidArgumentError(`It must be ${limit}.`);
  return value;
}

const minutes = (text) => number(text, (value) => value > 0 && value <= 10_000, 'a number above 0, up to 10000');
const rounds = (text) => number(text, (value) => Number.isSafeInteger(value) && value > 0, 'a whole number above 0');
const seed = (text) =>
  number(
    text,
    (value) => Number.isInteger(value) && value >= 0 && value < 2 ** 31,
    'a whole number from 0 to 2147483647',
  );

function shard(text) {
  const [, index, count] = /^([1-9]\d*)\/([1-9]\d*)$/.exec(text) ?? [];
  if (index === undefined || Number(index) > Number(count)) {
    throw new InvalidArgumentError('It must be I/N, such as 1/4, with I from 1 to N.');
  }
  return text;
}

function optionsOf(argv) {
  const program = new Command('npm run properties --')
    .description('A long random sweep over the properties, and the bound that it gives on false alarms.')
    .argument('[files...]', `files of properties (default: ${PROPERTIES})`)
    .option('--minutes <number>', 'how long', minutes, 10)
    .option(
      '--rounds <number>',
      'at most so many (default: as many as there is time for)',
      rounds,
      Number.POSITIVE_INFINITY,
    )
    .option('--seed <number>', 'of the first round; each further one has the next (default: random)', seed)
    .option('--shard <I/N>', `only this part of the files; its reports are left in ${BLOBS}`, shard)
    .option('--merge', `instead of a sweep, sums up the reports that shards have left in ${BLOBS}`)
    .exitOverride()
    .parse(argv);
  const missing = program.args.find((file) => !existsSync(file));
  if (missing !== undefined) program.error(`error: ${missing} is no file; give files of properties, or none for all`);
  const options = program.opts();
  if (options.merge && !existsSync(BLOBS)) program.error(`error: there is no ${BLOBS} to merge; run the shards first`);
  return { ...options, files: program.args };
}

/** Failures printed with what was drawn and compared; of more, which may have one cause, only the replay. */
const SHOWN_IN_FULL = 5;
const DIFF_LINES = 40;

/** @param {import('vitest').TestError} error */
function inFull({ message, cause }) {
  const diff = stripVTControlCharacters(cause?.diff ?? '')
    .split('\n')
    .slice(0, DIFF_LINES);
  return [message, ...(cause === undefined ? [] : [`Caused by: ${cause.message}`, ...diff])];
}

/** @param {import('vitest').TestError} error */
function replayOnly({ message }) {
  return message.split('\n').filter((line, i) => i === 0 || line.startsWith('Replay: '));
}

/** What a sweep has seen. */
class Tally {
  draws = 0;
  verified = { regions: { clean: 0, inconclusive: 0 }, networks: { clean: 0, inconclusive: 0 } };
  tests = 0;
  seeds = new Set();
  failures = 0;

  add({ seed: drawn, draws = 0, verified = {} }) {
    if (drawn !== undefined) this.seeds.add(drawn);
    this.draws += draws;
    for (const [subject, outcomes] of Object.entries(verified)) {
      for (const [outcome, count] of Object.entries(outcomes)) this.verified[subject][outcome] += count;
    }
  }

  fail(title, errors) {
    this.failures++;
    const messages = errors.flatMap(this.failures <= SHOWN_IN_FULL ? inFull : replayOnly);
    process.stdout.write(`${[`FAIL ${title}`, ...messages].join('\n')}\n\n`);
  }

  /** Of vitest: counts what each test has noted in its `meta`, and prints a failure when it is there. */
  reporter() {
    return {
      onTestCaseResult: (test) => {
        const { state, errors } = test.result();
        if (state === 'skipped') return;
        this.tests++;
        if (state === 'passed') this.add(test.meta());
        else this.fail(`${test.module.relativeModuleId} > ${test.fullName}`, errors);
      },
      onTestModuleEnd: (module) => {
        const errors = module.errors();
        if (errors.length > 0) this.fail(module.relativeModuleId, errors);
      },
      onTestRunEnd: (_modules, errors) => {
        if (errors.length > 0) this.fail('outside of any test', errors);
      },
    };
  }
}

/** Numbers as people write them. */
const many = (value) => value.toLocaleString('en-US');
const percent = (share) => `${Number((100 * share).toPrecision(2))} %`;

function summaryOf(tally, seconds) {
  const seeds = [...tally.seeds].sort((a, b) => a - b);
  const few = seeds.length <= 4;
  const named = few ? seeds.join(', ') || 'none' : `${seeds[0]} to ${seeds.at(-1)}`;
  const lines = [
    `${many(tally.draws)} draws in ${many(tally.tests)} tests, seeds ${named}` +
      (seconds === undefined ? '' : `; ${Math.round(seconds)} s, ${many(Math.round(tally.draws / seconds))} draws/s`),
  ];
  for (const [subject, { clean, inconclusive }] of Object.entries(tally.verified)) {
    if (clean + inconclusive === 0) continue;
    const apart = inconclusive === 0 ? '' : `, and ${many(inconclusive)} inconclusive ones apart`;
    lines.push(`${many(clean)} right ${subject} verified${apart}`);
    if (tally.failures === 0 && clean > 0) {
      lines.push(
        `  no false alarm: with 95 % confidence fewer than ${percent(3 / clean)} of such ${subject} raise one (3/N)`,
      );
    }
  }
  lines.push(tally.failures === 0 ? 'no failure' : `${many(tally.failures)} failed, see above`);
  return lines.join('\n');
}

/** A run of vitest over the files, on all cores. */
async function openRound({ files, shard: part }, tally, roundSeed) {
  const { createVitest } = await import('vitest/node');
  const blob = `${BLOBS}/blob-${roundSeed}-${part?.replace('/', '-')}.json`;
  return createVitest('test', {
    watch: false,
    // Reports of several rounds are told apart by it.
    name: `seed ${roundSeed}`,
    include: files.length > 0 ? files.map((file) => relative(process.cwd(), file)) : [PROPERTIES],
    env: { FUSEPROOF_SEED: String(roundSeed), FUSEPROOF_DRAWS: String(FACTOR) },
    maxWorkers: availableParallelism(),
    // Of a round that is cut short, each time other files.
    sequence: { shuffle: { files: true, tests: false }, seed: roundSeed },
    reporters: [tally.reporter(), ...(part === undefined ? [] : [['blob', { outputFile: blob }]])],
    ...(part === undefined ? {} : { shard: part }),
  });
}

/** A shard of no file would be a round of nothing. */
async function checkShard({ shard: part }, vitest) {
  if (part === undefined) return;
  const { length } = await vitest.globTestSpecifications();
  if (Number(part.split('/')[1]) <= length) return;
  const message = `error: --shard ${part}, but there are ${length} files of properties; give at most ${length} shards`;
  process.stderr.write(`${message}\n`);
  throw new CommanderError(EXIT.usage, 'shard', message);
}

async function sweep(options) {
  const tally = new Tally();
  const started = performance.now();
  const seconds = () => (performance.now() - started) / 1000;
  const end = (code) => {
    process.stdout.write(`\n${summaryOf(tally, seconds())}\n`);
    process.exit(tally.failures > 0 ? EXIT.failure : code);
  };
  // Before vitest's own, which would end the process without a word.
  process.on('SIGINT', () => end(EXIT.interrupted));
  const first = options.seed ?? Math.floor(Math.random() * 2 ** 31);
  for (let round = 0; round < options.rounds && seconds() < 60 * options.minutes; round++) {
    const roundSeed = (first + round) % 2 ** 31;
    const vitest = await openRound(options, tally, roundSeed);
    await checkShard(options, vitest);
    const rest = 1000 * (60 * options.minutes - seconds());
    const timer = setTimeout(() => vitest.cancelCurrentRun('keyboard-input'), rest);
    await vitest.start();
    clearTimeout(timer);
    await vitest.close();
    const { regions, networks } = tally.verified;
    const seen = `${many(regions.clean)} regions and ${many(networks.clean)} networks`;
    process.stdout.write(
      `round ${round + 1}, seed ${roundSeed}: ${seen} verified so far, ${Math.round(seconds())} s\n`,
    );
  }
  end(EXIT.pass);
}

async function merge() {
  const { createVitest } = await import('vitest/node');
  const tally = new Tally();
  const vitest = await createVitest('test', { watch: false, mergeReports: BLOBS, reporters: [tally.reporter()] });
  await vitest.mergeReports();
  await vitest.close();
  process.stdout.write(`${summaryOf(tally)}\n`);
  process.exit(tally.failures > 0 ? EXIT.failure : EXIT.pass);
}

try {
  const options = optionsOf(process.argv);
  if (options.merge) await merge();
  else await sweep(options);
} catch (error) {
  if (!(error instanceof CommanderError)) throw error;
  process.exit(error.exitCode === 0 ? EXIT.pass : EXIT.usage);
}
