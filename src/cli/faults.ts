import { Command } from 'commander';
import { type Engine, EngineUnavailable } from '../engines/engine.ts';
import type { PlantedFault } from '../verify/faults/catalogue.ts';
import type { KillMatrix } from '../verify/faults/kill-matrix.ts';
import { collect, parseDraws, parseSeed } from './options.ts';
import { EXIT, note, print, printJson, setExitCode } from './output.ts';

interface Options {
  readonly fault?: readonly string[];
  readonly engine?: readonly string[];
  readonly seed: number;
  readonly draws: number;
  readonly json?: boolean;
}

/** Those that take moments; the plain JavaScript engine does not. */
const DEFAULT_ENGINES = ['wasm', 'onnxruntime'];

/** On networks as small as these a second thread costs more than it does. */
const ONE_THREAD = { threads: 1 };

const EXAMPLES = `
Examples:
  fuseproof faults
  fuseproof faults --fault bn-eps-tf,geo-flip --draws 10
  fuseproof faults --fault act-gelu-tanh --engine onnxruntime --json

Exit codes: 0 every fault is killed, 1 a false alarm without a fault,
2 bad usage, 4 a fault survives.`;

/** The engines asked for; else, where a fault lives in one, those of the usual ones that are here. */
async function openFor(
  faults: readonly PlantedFault[],
  names: readonly string[] | undefined,
): Promise<readonly Engine[]> {
  const [{ openAvailable, openEngine }, { absentLine }] = await Promise.all([
    import('../engines/index.ts'),
    import('./subject.ts'),
  ]);
  if (names !== undefined) return (await openAvailable([...new Set(names)], ONE_THREAD)).engines;
  if (faults.every(({ plants }) => plants.every(({ kind }) => kind !== 'engine'))) return [];
  const engines: Engine[] = [];
  for (const name of DEFAULT_ENGINES) {
    try {
      engines.push(await openEngine(name, ONE_THREAD));
    } catch (error) {
      if (!(error instanceof EngineUnavailable)) throw error;
      note(absentLine({ name, reason: error.message, fix: error.fix }));
    }
  }
  return engines;
}

/** The worst of what came out: a survivor, else a false alarm. */
export function exitCodeOfMatrix({ faults, killed, clean }: Pick<KillMatrix, 'faults' | 'killed' | 'clean'>): number {
  if (killed < faults.length) return EXIT.survivor;
  return clean.every(({ verdict }) => verdict === 'pass') ? EXIT.pass : EXIT.mismatch;
}

async function runFaults({ fault, engine, seed, draws, json }: Options): Promise<void> {
  const [{ faultsNamed, plantedFaults }, { killMatrix }, { progressLine }] = await Promise.all([
    import('../verify/faults/catalogue.ts'),
    import('../verify/faults/kill-matrix.ts'),
    import('./progress-line.ts'),
  ]);
  const faults = fault === undefined ? plantedFaults() : await faultsNamed(fault);
  const engines = await openFor(faults, engine);
  const started = performance.now();
  const line = await progressLine();
  const onProgress = (done: number, total: number, what: string) =>
    line.show({ task: `plant ${total === 1 ? '1 fault' : `${total} faults`}`, done, total, what });
  const matrix = await killMatrix({ faults, engines, seed, draws, onProgress }).finally(line.clear);
  const seconds = (performance.now() - started) / 1000;
  if (json) {
    printJson({ ...matrix, seconds });
  } else {
    const { killMatrixTable } = await import('../report/kill-matrix.ts');
    print(killMatrixTable({ ...matrix, seconds }));
  }
  setExitCode(exitCodeOfMatrix(matrix));
}

/** `fuseproof faults` */
export function faultsCommand(): Command {
  return new Command('faults')
    .description('plant every known mistake in small networks and show which tier catches it, and by how much')
    .option('-f, --fault <ids...>', 'only these faults (default: all)', collect)
    .option(
      '-e, --engine <names...>',
      `for faults that live in an engine (default: ${DEFAULT_ENGINES.join(', ')}, where they are here)`,
      collect,
    )
    .option('--seed <n>', 'of the first draw of weights and inputs', parseSeed, 1)
    .option('--draws <n>', 'of each fault, in each place and network', parseDraws, 2)
    .option('--json', 'print the matrix as JSON')
    .addHelpText('after', EXAMPLES)
    .action(runFaults);
}
