import { join } from 'node:path';
import { Command } from 'commander';
import type { LabelledEngine } from '../golden/check.ts';
import { InputError } from '../network/errors.ts';
import { counted } from '../report/text.ts';
import { collect } from './options.ts';
import { EXIT, exitCodeOf, note, print, printJson, setExitCode } from './output.ts';

interface FolderOption {
  readonly folder: string;
}

interface CheckOptions extends FolderOption {
  readonly engine?: readonly string[];
  readonly quick?: boolean;
  readonly json?: boolean;
}

interface ReviewOptions extends FolderOption {
  readonly all?: boolean;
}

const EXAMPLES = `
Examples:
  fuseproof golden check                 # everything
  fuseproof golden check repvit_m0_9     # goldens of one network
  fuseproof golden update repvit_m0_9 && fuseproof golden diff
  fuseproof golden accept repvit_m0_9    # or: golden reject --all

Exit codes: 0 all agree, 1 one does not, or a file is missing, extra or altered,
2 bad usage, 3 inconclusive, 5 goldens wait for a review.`;

/** Plain JavaScript takes minutes for each golden. */
const SLOW_ENGINE = 'cpu';

/** Numbers of threads that an engine must come to the same verdict with. */
const THREADS = [2, 1];

/** The engines asked for, or all that are here but the slow one; each with two threads and with one, where it can. */
async function enginesFor(names: readonly string[] | undefined): Promise<readonly LabelledEngine[]> {
  const [{ engineNames, openEngine }, { EngineUnavailable }, { absentLine }] = await Promise.all([
    import('../engines/index.ts'),
    import('../engines/engine.ts'),
    import('./subject.ts'),
  ]);
  const found: LabelledEngine[] = [];
  for (const name of names ?? engineNames.filter((engine) => engine !== SLOW_ENGINE)) {
    const own = new Map<number, LabelledEngine>();
    for (const threads of THREADS) {
      try {
        const engine = await openEngine(name, { threads });
        const actual = engine.info.threads;
        own.set(actual, { label: `${name}, ${actual === 1 ? '1 thread' : `${actual} threads`}`, engine });
      } catch (error) {
        // Some runtimes start once in a process, and keep their threads.
        if (own.size > 0 && (error instanceof EngineUnavailable || error instanceof InputError)) break;
        if (!(error instanceof EngineUnavailable)) throw error;
        if (names !== undefined) throw new InputError(`engine ${name}: ${error.message}; ${error.fix}`);
        note(absentLine({ name, reason: error.message, fix: error.fix }));
        break;
      }
    }
    found.push(...own.values());
    if (own.size === 1) note(`${[...own.values()][0]!.label}: it has no other number here to be compared on`);
  }
  return found;
}

async function runCheck(names: readonly string[], { folder, engine, quick, json }: CheckOptions): Promise<void> {
  const [{ checkAll, goldensNamed }, { isGolden, readManifest }, table, { progressLine }] = await Promise.all([
    import('../golden/check-all.ts'),
    import('../golden/manifest.ts'),
    import('../report/golden-table.ts'),
    import('./progress-line.ts'),
  ]);
  if (quick && engine !== undefined) throw new InputError('--quick asks no engine; leave --engine out, or --quick');
  // What is wrong with the question is said before engines are started.
  const { goldens } = await readManifest(folder);
  if (names.length > 0) goldensNamed(goldens.filter(isGolden), names);
  const engines = quick ? [] : await enginesFor(engine);
  const started = performance.now();
  const line = await progressLine();
  let isFirst = true;
  const report = await checkAll(folder, {
    ...(names.length > 0 && { names }),
    engines,
    crossChecks: !quick,
    onProgress: (done, total, what) => line.show({ task: `check ${counted(total, 'golden')}`, done, total, what }),
    onReport: (golden) => {
      if (json) return;
      line.clear();
      if (isFirst) print(table.goldenHead());
      isFirst = false;
      print(table.goldenLine(golden));
      if (golden.problems.length > 0) print(table.problemLines(golden.problems));
    },
  }).finally(line.clear);
  const seconds = (performance.now() - started) / 1000;
  if (json) printJson({ ...report, seconds });
  else print(table.folderLines(report, seconds));
  setExitCode(exitCodeOf(report.verdict));
  if (report.pending.length > 0) setExitCode(EXIT.pending);
}

interface UpdateOptions extends FolderOption {
  readonly from?: string;
  readonly train?: boolean;
  readonly python?: string;
  readonly repmlpnet?: string;
}

/** Where the README's three lines put them. */
const VENV = '.venv';

async function runUpdate(names: readonly string[], { folder, from, ...options }: UpdateOptions): Promise<void> {
  if (from !== undefined) {
    const given = [...names, ...Object.keys(options).map((option) => `--${option}`)];
    if (given.length > 0) throw new InputError(`--from takes all that is in ${from}; leave ${given.join(', ')} out`);
    const { addPending } = await import('../golden/pending.ts');
    return printPending(await addPending(folder, from, false));
  }
  const [{ withMadeGoldens, PYTHON, REPMLPNET }, { addPending, checkWritable }, { readManifest, isGolden, isNamed }] =
    await Promise.all([import('../golden/oracle.ts'), import('../golden/pending.ts'), import('../golden/manifest.ts')]);
  // The name of a published network stands for all of its goldens; one that is new is known to the oracle alone.
  const { goldens } = await readManifest(folder);
  await checkWritable(folder);
  const known = goldens.filter(isGolden);
  const chosen = names.flatMap((name) => {
    const meant = known.filter((golden) => isNamed(golden, name));
    return meant.length === 0 ? [name] : meant.map((golden) => golden.name);
  });
  const oracle = {
    python: options.python ?? process.env[PYTHON] ?? join(VENV, 'bin', 'python'),
    repmlpnet: options.repmlpnet ?? process.env[REPMLPNET] ?? join(VENV, 'repmlpnet.py'),
    names: [...new Set(chosen)],
    train: options.train === true,
    onLine: note,
  };
  await cleaningUp(async (signal) => {
    const add = (made: string) => addPending(folder, made, names.length === 0);
    printPending(await withMadeGoldens(folder, { ...oracle, signal }, add));
  });
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Does work that ends by itself, and leaves nothing behind, where a signal to this process aborts it. */
async function cleaningUp(work: (signal: AbortSignal) => Promise<void>): Promise<void> {
  const ended = new AbortController();
  const end = (signal: NodeJS.Signals) => ended.abort(signal);
  for (const signal of SIGNALS) process.once(signal, end);
  try {
    await work(ended.signal);
  } catch (error) {
    if (!ended.signal.aborted) throw error;
  } finally {
    for (const signal of SIGNALS) process.off(signal, end);
  }
  // Now as if it had not been caught.
  if (ended.signal.aborted) process.kill(process.pid, ended.signal.reason);
}

function printPending({ pending, same }: { readonly pending: readonly string[]; readonly same: number }): void {
  print(`${same} ${same === 1 ? 'file is' : 'files are'} as accepted, ${pending.length} pending`);
  for (const name of pending) print(`  ${name}`);
  if (pending.length > 0) print('Next: fuseproof golden diff; then golden accept or golden reject');
}

async function runDiff(names: readonly string[], { folder, json }: FolderOption & { readonly json?: boolean }) {
  const [{ changesNamed, pendingChanges }, { differenceOf }, { differenceText }] = await Promise.all([
    import('../golden/pending.ts'),
    import('../golden/diff.ts'),
    import('../report/golden-table.ts'),
  ]);
  const changes = changesNamed(await pendingChanges(folder), names.length === 0 ? undefined : names);
  const differences = [];
  for (const change of changes) {
    const difference = await differenceOf(folder, change);
    if (json) differences.push(difference);
    else print(`${differenceText(difference)}\n\n`);
  }
  if (json) printJson({ differences });
  else if (changes.length === 0) print('nothing is pending');
}

/** Accepts or rejects; one of --all and names must be given. */
async function review(
  verb: 'accept' | 'reject',
  names: readonly string[],
  { folder, all }: ReviewOptions,
): Promise<void> {
  const { pendingChanges, ...pending } = await import('../golden/pending.ts');
  if (all === true && names.length > 0) throw new InputError(`--all and ${names.join(', ')}: give one of them`);
  if (all !== true && names.length === 0) {
    const found = (await pendingChanges(folder)).map(({ name }) => name);
    const waiting = found.length === 0 ? 'nothing is pending' : `pending: ${found.join(', ')}`;
    throw new InputError(`golden ${verb}: say what by name, or --all; ${waiting}`);
  }
  const changes = await pending[verb](folder, all === true ? undefined : names);
  for (const { name, kind } of changes) print(`${verb}ed: ${name} (${kind})`);
  if (changes.length === 0) print('nothing is pending');
}

function command(name: string, description: string): Command {
  return new Command(name)
    .description(description)
    .argument('[names...]', 'goldens, or published networks')
    .option('--folder <path>', 'of the goldens', 'golden');
}

/** `fuseproof golden` */
export function goldenCommand(): Command {
  return new Command('golden')
    .description("hold fuseproof against values that PyTorch computed with the original projects' code")
    .addCommand(
      command('check', 'every file, and every golden on the oracle and on every engine that is here, in all forms')
        .option(
          '-e, --engine <names...>',
          `only these engines (default: all that are here but ${SLOW_ENGINE})`,
          collect,
        )
        .option('--quick', 'on the oracle alone: no engines, no other batch, no other threads')
        .option('--json', 'print the report as JSON')
        .action(runCheck),
    )
    .addCommand(
      command('update', 'make goldens again with the Python oracle; they wait for a review')
        .option('--from <folder>', 'take goldens that another script of golden/oracle made, and run nothing')
        .option('--train', 'train the networks for digits again, too: a few minutes')
        .option('--python <path>', 'with the packages of golden/oracle/requirements.txt (default: .venv/bin/python)')
        .option('--repmlpnet <file>', "the original's repmlpnet.py (default: .venv/repmlpnet.py)")
        .action(runUpdate),
    )
    .addCommand(
      command('diff', 'what pending goldens change, and by how much').option('--json', 'as JSON').action(runDiff),
    )
    .addCommand(
      command('accept', 'make pending goldens the accepted ones')
        .option('--all', 'all of them')
        .action((names, options) => review('accept', names, options)),
    )
    .addCommand(
      command('reject', 'delete pending goldens')
        .option('--all', 'all of them')
        .action((names, options) => review('reject', names, options)),
    )
    .addHelpText('after', EXAMPLES);
}
