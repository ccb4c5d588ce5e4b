/**
 * A long random sweep over every property: `npm run properties -- [FILE...] [--minutes M] [--seed N] [--shard I/N] [--merge]`.
 * Round after round with another seed, on all cores, until the time is over. What right fusions were verified is counted by
 * the properties themselves (properties/check.ts); no failure among N of them bounds the rate of false alarms at 3/N.
 */
import { createHash } from 'node:crypto';
import { subscribe } from 'node:diagnostics_channel';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { Command, CommanderError, InvalidArgumentError } from 'commander';

/** Where vitest keeps and looks for the reports of shards. */
const BLOBS = '.vitest-reports';
/** Draws of a round over those of a test run: enough that starting a round costs little. */
const FACTOR = 3;
/** In the folder of a sweep, tells its properties to end. */
const OVER = 'over';
const PROPERTIES = 'properties/**/*.prop.ts';
/** What shards draw from by default: they have to agree. */
const SHARD_SEED = 1;
/** When the time is over, no file may take longer to end: time for a draw, or to load. */
const GRACE_S = 30;
/** One Ctrl-C may arrive twice, from the terminal and from npm; a signal after this asks again. */
const SAME_SIGNAL_S = 1;
/** Fewer clean draws give no bound below 100 %. */
const FEWEST_FOR_BOUND = 4;

const EXIT = { pass: 0, failure: 1, usage: 2, inconclusive: 3, SIGINT: 130, SIGTERM: 143 };

/** In workers, which a Ctrl-C reaches as well: they end when they have told what they saw. */
const IGNORE_SIGNALS = "for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => {});";

/** @returns {never} */
function refuse(message) {
  process.stderr.write(`error: ${message}\n`);
  throw new CommanderError(EXIT.usage, 'refused', message);
}

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
    .option('--rounds <number>', 'at most so many (default: as many as there is time for)', rounds)
    .option(
      '--seed <number>',
      `of the first round; each further one has the next (default: random; of shards ${SHARD_SEED})`,
      seed,
    )
    .option('--shard <I/N>', `only this part of the files; its reports are left in ${BLOBS}`, shard)
    .option('--merge', `instead of a sweep, sums up the reports that shards have left in ${BLOBS}`)
    .exitOverride()
    .parse(argv);
  for (const file of program.args) {
    if (!file.endsWith('.prop.ts') || !statSync(file, { throwIfNoEntry: false })?.isFile()) {
      refuse(`${file} is no file of properties; give such as properties/conv2d.prop.ts, or none for all`);
    }
  }
  const { seed: first, ...options } = program.opts();
  const standard = options.shard === undefined ? Math.floor(Math.random() * 2 ** 31) : SHARD_SEED;
  return { ...options, seed: first ?? standard, files: program.args };
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

const titleOf = (test) => `${test.module.relativeModuleId} > ${test.fullName}`;

/** What a sweep has seen. */
class Tally {
  draws = 0;
  verified = { regions: { clean: 0, inconclusive: 0 }, networks: { clean: 0, inconclusive: 0 } };
  tests = 0;
  cutShort = 0;
  seeds = new Set();
  failures = 0;
  /** Files that have begun and not ended, and what runs of them as far as it is known. */
  underWay = new Map();
  /** Ids of tests. */
  ended = new Set();
  /** Whether workers may have been ended from outside, as by a Ctrl-C that reaches them, too. */
  mayLoseWorkers = false;

  get clean() {
    return this.verified.regions.clean + this.verified.networks.clean;
  }

  add({ seed: drawn, draws = 0, verified = {}, isCutShort = false }) {
    this.tests++;
    if (isCutShort) this.cutShort++;
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
      onTestModuleQueued: ({ relativeModuleId: file }) => this.underWay.set(file, new Set()),
      onTestCaseReady: (test) => this.underWay.get(test.module.relativeModuleId)?.add(titleOf(test)),
      onTestCaseResult: (test) => {
        this.underWay.get(test.module.relativeModuleId)?.delete(titleOf(test));
        this.ended.add(test.id);
        const { state, errors } = test.result();
        const meta = test.meta();
        if (state === 'failed') {
          this.tests++;
          this.fail(titleOf(test), errors);
        } else if (state === 'passed' || (meta.isCutShort && meta.draws > 0)) this.add(meta);
      },
      onTestModuleEnd: (module) => {
        this.underWay.delete(module.relativeModuleId);
        const errors = module.errors();
        if (errors.length > 0) this.fail(module.relativeModuleId, errors);
      },
      onTestRunEnd: (_modules, errors) => {
        const own = errors.filter(({ message }) => !(this.mayLoseWorkers && message.startsWith('[vitest-pool]')));
        if (own.length > 0) this.fail('outside of any test', own);
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
  const cutShort = tally.cutShort === 0 ? '' : ` (${many(tally.cutShort)} of them cut short)`;
  const lines = [
    `${many(tally.draws)} draws in ${many(tally.tests)} tests${cutShort}, seeds ${named}` +
      (seconds === undefined ? '' : `; ${Math.round(seconds)} s, ${many(Math.round(tally.draws / seconds))} draws/s`),
  ];
  for (const [subject, { clean, inconclusive }] of Object.entries(tally.verified)) {
    if (clean + inconclusive === 0) continue;
    const apart = inconclusive === 0 ? '' : `, and ${many(inconclusive)} inconclusive ones apart`;
    lines.push(`${many(clean)} right ${subject} verified${apart}`);
    if (tally.failures === 0 && clean >= FEWEST_FOR_BOUND) {
      lines.push(
        `  no false alarm: with 95 % confidence fewer than ${percent(3 / clean)} of such ${subject} raise one (3/N)`,
      );
    }
  }
  for (const [file, tests] of tally.underWay) {
    const what = tests.size > 0 ? [...tests].join(', ') : file;
    lines.push(`did not end in time, nothing of it is counted: ${what}`);
  }
  return lines;
}

function conclusionOf({ failures, underWay }, lacks) {
  if (failures > 0) return `${many(failures)} failed, see above`;
  if (lacks !== undefined) return `nothing was ${lacks}, so nothing is shown; give it more --minutes`;
  return underWay.size > 0 ? 'no failure in what did end' : 'no failure';
}

/**
 * Prints what was seen, and ends the process.
 * @param {boolean} verifies whether right fusions should have been verified, not only something drawn
 */
function finish(tally, { verifies, seconds, code = EXIT.pass }) {
  const aim = verifies ? 'verified' : 'drawn';
  const lacks = (verifies ? tally.clean : tally.draws) === 0 ? aim : undefined;
  process.stdout.write(`\n${[...summaryOf(tally, seconds), conclusionOf(tally, lacks)].join('\n')}\n`);
  if (tally.failures > 0) process.exit(EXIT.failure);
  const isInconclusive = lacks !== undefined || tally.underWay.size > 0;
  process.exit(code === EXIT.pass && isInconclusive ? EXIT.inconclusive : code);
}

/** Stands for what shards have to have in common: the sources, and the files that were asked for. */
function fingerprint(files) {
  const hash = createHash('sha256').update(JSON.stringify(files));
  for (const folder of ['src', 'properties'].filter((name) => existsSync(name))) {
    for (const name of readdirSync(folder, { recursive: true }).sort()) {
      if (name.endsWith('.ts')) hash.update(name).update(readFileSync(join(folder, name)));
    }
  }
  return hash.digest('hex').slice(0, 12);
}

/** What a report's file name says of its shard; undefined of a file that is no such report. */
function shardOf(name) {
  const [, sweep, index, count] = /^(\w+-seed\d+)-shard(\d+)of(\d+)-round\d+\.json$/.exec(name) ?? [];
  return sweep === undefined ? undefined : { sweep, index: Number(index), count: Number(count) };
}

const reportNames = () => (existsSync(BLOBS) ? readdirSync(BLOBS) : []);

/** Round after round until the time is over, or a signal comes. */
class Sweep {
  tally = new Tally();
  started = performance.now();
  /** Seconds after the start. */
  stopped;
  code = EXIT.pass;
  round = 0;
  /** Where properties look for `OVER`, and note what failed under the id of the test (properties/check.ts). */
  folder = mkdtempSync(join(tmpdir(), 'fuseproof-sweep-'));
  workers = new Set();

  constructor(options) {
    this.options = options;
  }

  get seconds() {
    return (performance.now() - this.started) / 1000;
  }

  get limit() {
    return 60 * this.options.minutes;
  }

  async run() {
    const { shard: part, rounds: most = Number.POSITIVE_INFINITY } = this.options;
    process.on('exit', () => rmSync(this.folder, { recursive: true, force: true }));
    subscribe('child_process', ({ process: worker }) => {
      this.workers.add(worker);
      worker.once('exit', () => this.workers.delete(worker));
    });
    this.listen();
    if (part !== undefined) this.removeReports();
    while (this.round < most && this.seconds < this.limit && this.stopped === undefined) await this.runRound();
    this.end();
  }

  /** In place of vitest's own listeners, which would end the process without a word. */
  listen() {
    for (const signal of ['SIGINT', 'SIGTERM']) {
      process.removeAllListeners(signal);
      process.on(signal, () => this.onSignal(signal));
    }
  }

  onSignal(signal) {
    this.code = EXIT[signal];
    this.tally.mayLoseWorkers = true;
    if (this.vitest === undefined) this.end();
    else if (this.stopped === undefined) this.stop();
    else if (this.seconds > this.stopped + SAME_SIGNAL_S) this.giveUp();
  }

  /** Every property that runs ends after its draw, with what it has seen; no other begins. */
  stop() {
    if (this.stopped !== undefined) return;
    this.stopped = this.seconds;
    writeFileSync(join(this.folder, OVER), '');
    const { underWay } = this.tally;
    let files = [...underWay.keys()];
    const look = () => {
      if (files.some((file) => underWay.has(file))) this.giveUp();
      files = [...underWay.keys()];
    };
    setInterval(look, 1000 * GRACE_S).unref();
  }

  /** Ends without the tests that have not ended. */
  giveUp() {
    // What is there of this shard is not all that it has seen.
    if (this.options.shard !== undefined) this.removeReports();
    for (const worker of this.workers) worker.kill('SIGKILL');
    this.end();
  }

  async runRound() {
    const roundSeed = (this.options.seed + this.round) % 2 ** 31;
    const vitest = await this.openRound(roundSeed);
    await this.checkFiles(vitest);
    this.listen();
    this.vitest = vitest;
    const timer = setTimeout(() => this.stop(), 1000 * (this.limit - this.seconds));
    await vitest.start();
    clearTimeout(timer);
    this.vitest = undefined;
    await vitest.close();
    this.round++;
    const { regions, networks } = this.tally.verified;
    const seen = `${many(regions.clean)} regions and ${many(networks.clean)} networks`;
    process.stdout.write(
      `round ${this.round}, seed ${roundSeed}: ${seen} verified so far, ${Math.round(this.seconds)} s\n`,
    );
  }

  /** A run of vitest over the files, on all cores. */
  async openRound(roundSeed) {
    const { createVitest } = await import('vitest/node');
    const { files, shard: part } = this.options;
    return createVitest('test', {
      watch: false,
      // Reports of several rounds are told apart by it.
      name: `seed ${roundSeed}`,
      include: files.length > 0 ? files.map((file) => relative(process.cwd(), file)) : [PROPERTIES],
      env: {
        FUSEPROOF_SEED: String(roundSeed),
        FUSEPROOF_DRAWS: String(FACTOR),
        FUSEPROOF_SWEEP: this.folder,
      },
      execArgv: ['--import', `data:text/javascript,${encodeURIComponent(IGNORE_SIGNALS)}`],
      maxWorkers: availableParallelism(),
      // Of a round that is cut short, each time other files.
      sequence: { shuffle: { files: true, tests: false }, seed: roundSeed },
      reporters: [this.tally.reporter(), ...(part === undefined ? [] : [['blob', { outputFile: this.report() }]])],
      ...(part === undefined ? {} : { shard: part }),
    });
  }

  /** Where this round's is left; `shardOf` reads it. */
  report() {
    const { files, seed: first, shard: part } = this.options;
    return `${BLOBS}/${fingerprint(files)}-seed${first}-shard${part.replace('/', 'of')}-round${this.round + 1}.json`;
  }

  /** A round of no file would show nothing. */
  async checkFiles(vitest) {
    const { length } = await vitest.globTestSpecifications();
    const { files, shard: part } = this.options;
    if (length === 0) refuse(`${files.join(', ') || PROPERTIES}: no such file in ${process.cwd()}`);
    if (part !== undefined && Number(part.split('/')[1]) > length) {
      refuse(`--shard ${part}, but there are ${length} files of properties; give at most ${length} shards`);
    }
  }

  /** Of this shard, of whatever sweep. */
  removeReports() {
    const [index, count] = this.options.shard.split('/').map(Number);
    for (const name of reportNames()) {
      const other = shardOf(name);
      if (other?.index === index && other.count === count) rmSync(join(BLOBS, name));
    }
  }

  end() {
    const { tally, code, seconds } = this;
    for (const id of readdirSync(this.folder)) {
      if (id === OVER || tally.ended.has(id)) continue;
      const [title, ...lines] = readFileSync(join(this.folder, id), 'utf8').split('\n');
      tally.fail(title, [{ message: lines.join('\n') }]);
    }
    const { files, shard: part } = this.options;
    // The files of one shard may only draw: whether any verified is asked of all shards together.
    finish(tally, { verifies: files.length === 0 && part === undefined, seconds, code });
  }
}

/** All shards of one sweep, and nothing else. */
function checkReports() {
  const names = reportNames();
  if (names.length === 0) refuse(`there is no report in ${BLOBS} to merge; run the shards first`);
  const shards = names.map(
    (name) => shardOf(name) ?? refuse(`${BLOBS}/${name} is no report of a shard; move it elsewhere`),
  );
  const sweeps = [...new Set(shards.map(({ sweep, count }) => `${sweep} in ${count} shards`))];
  if (sweeps.length > 1) {
    refuse(
      `${BLOBS} holds reports of different sweeps: ${sweeps.join(', ')}; run all shards with the same sources, files and --seed`,
    );
  }
  const seen = new Set(shards.map(({ index }) => index));
  const { count } = shards[0];
  const missing = Array.from({ length: count }, (_, i) => i + 1).filter((index) => !seen.has(index));
  if (missing.length > 0) refuse(`${BLOBS} lacks shard ${missing.join(', ')} of ${count}; run it`);
}

async function merge() {
  checkReports();
  const { createVitest } = await import('vitest/node');
  const tally = new Tally();
  const vitest = await createVitest('test', { watch: false, mergeReports: BLOBS, reporters: [tally.reporter()] });
  try {
    await vitest.mergeReports();
  } catch (error) {
    refuse(`${BLOBS} cannot be merged: ${error.message.split('\n')[0]}; run the shards again`);
  }
  await vitest.close();
  finish(tally, { verifies: true });
}

try {
  const options = optionsOf(process.argv);
  if (options.merge) await merge();
  else await new Sweep(options).run();
} catch (error) {
  if (!(error instanceof CommanderError)) throw error;
  process.exit(error.exitCode === 0 ? EXIT.pass : EXIT.usage);
}
