/** `fuseproof verify --reference TRAIN --deploy DEPLOY`: two files, whoever fused. */
import { quoted } from '../certify/shell.ts';
import type { FilesVerification } from '../certify/verify-files.ts';
import type { Finding, Tier } from '../verify/verify.ts';
import type { Size } from './options.ts';
import { exitCodeOf, note, print, printJson, setExitCode } from './output.ts';

export interface VerifyFilesOptions {
  readonly reference: string;
  readonly deploy: string;
  readonly model?: string;
  readonly stateDict?: string;
  readonly engine?: readonly string[];
  readonly threads?: number;
  readonly batch?: number;
  readonly size?: Size;
  readonly seed?: number;
  readonly input?: string;
  readonly region?: string;
  readonly explain?: boolean;
  readonly json?: boolean;
}

/** Engines that try both forms unless others are asked for; those of them that are here. */
const DEFAULT_ENGINES = ['onnxruntime', 'wasm'];

/** Runs the verification and prints it; sets the exit code. */
export async function runVerifyFiles(options: VerifyFilesOptions, tiers: readonly Tier[] | undefined): Promise<void> {
  const [{ verifyFiles }, { progressLine }, { openDefaultEngines, readInput }] = await Promise.all([
    import('../certify/verify-files.ts'),
    import('./progress-line.ts'),
    import('./subject.ts'),
  ]);
  const { reference, deploy, model, stateDict, batch, size, seed, region } = options;
  const threads = options.threads === undefined ? {} : { threads: options.threads };
  const engines = await openDefaultEngines(options.engine, DEFAULT_ENGINES, threads, note);
  const line = await progressLine();
  const started = performance.now();
  const task = `verify ${deploy}`;
  const verification = await verifyFiles({
    reference,
    deploy,
    engines,
    size: { ...(batch !== undefined && { batch }), ...size },
    ...(options.input !== undefined && { input: (await readInput(options.input)).input }),
    ...(model !== undefined && { model }),
    ...(stateDict !== undefined && { entry: stateDict }),
    ...(tiers !== undefined && { tiers }),
    ...(seed !== undefined && { seed }),
    ...(region !== undefined && { only: region }),
    onProgress: (done, total, what) => line.show({ task, done, total, what }),
  }).finally(() => line.clear());
  for (const found of verification.found) note(found);
  setExitCode(exitCodeOf(verification.verdict));
  const { logits: _, ...rest } = verification;
  const seconds = (performance.now() - started) / 1000;
  const report = { ...rest, seconds, peakMemoryBytes: process.resourceUsage().maxRSS * 1024 };
  if (options.json) {
    printJson(report);
    return;
  }
  const [{ verificationTable }, { layersTable }] = await Promise.all([
    import('../report/verification-table.ts'),
    import('../report/layers-table.ts'),
  ]);
  print(verificationTable(report, (finding) => replay(verification, finding, options)));
  print(layersTable(verification.layers));
  if (options.explain) {
    const { explanation } = await import('../report/explanation.ts');
    print(`\n${explanation(report)}\n`);
  }
}

/** The command that checks the failing region alone, on the same files and input. */
function replay({ input, seed }: FilesVerification, finding: Finding, options: VerifyFilesOptions): string {
  const { tier, piece, engine } = finding;
  const [batch, , height, width] = input;
  const parts = ['npx fuseproof verify'];
  for (const name of ['reference', 'deploy', 'model', 'stateDict', 'input'] as const) {
    const value = options[name];
    if (value !== undefined) parts.push(`--${name === 'stateDict' ? 'state-dict' : name} ${quoted(value)}`);
  }
  if (options.input === undefined) parts.push(`--batch ${batch} --size ${height}x${width}`);
  parts.push(`--seed ${seed}`);
  if (engine !== undefined) parts.push(`--engine ${engine}`);
  return [...parts, `--tier ${tier}`, ...(tier === 'exact' ? [] : [`--region ${quoted(piece)}`])].join(' ');
}
