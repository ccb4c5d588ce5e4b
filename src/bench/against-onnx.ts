/** Entry of `npm run bench:onnx`: is the ONNX graph that fuseproof writes at least as fast as another project's? */
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { Command } from 'commander';
import { openOnnxruntime } from '../engines/onnxruntime.ts';
import { InputError } from '../network/errors.ts';
import { resolveModel } from '../reference/config.ts';
import { counted, milliseconds } from '../report/text.ts';
import { messageOfSystemError } from '../weights/system-error.ts';
import { note, parseCount, parseSeed, parseThreads, runEntry } from './entry.ts';
import { forkTask } from './parent.ts';
import { type Arm, type ArmPair, prepareArms } from './prepare.ts';
import { rowsOf } from './rows.ts';
import { timeAll } from './schedule.ts';
import { INPUT } from './session.ts';
import type { Setting } from './settings.ts';

/** The other project's graph takes the place of the train form. */
export const THEIRS: Arm = 'reference-raw';
const OURS: Arm = 'deploy';
const PAIRS: readonly ArmPair[] = [
  { baseline: THEIRS, arm: OURS },
  { baseline: OURS, arm: OURS },
];

const QUADS = 24;

/**
 * Largest difference of two float32 evaluations of one network, of its largest logit: fused weights may be rounded in another
 * order, so the graphs agree to float32's accuracy, not in bits. Another network differs by about 1.
 */
const SAME_NETWORK = 1e-4;

interface Options {
  readonly model: string;
  readonly against: string;
  readonly threads: number;
  readonly seed: number;
  readonly seconds: number;
}

/** The logits of both graphs, once they are seen to be of one network. */
async function logitsOf(
  setting: Pick<Setting, 'model' | 'size'>,
  { against, threads, seed }: Options,
): Promise<Setting['expected']> {
  const { forms, input } = prepareArms({ ...setting, seed }, [OURS]);
  const { network, weights } = forms.get(OURS)!;
  const ours = await (await openOnnxruntime({ threads })).load(network, weights);
  const file = await readFile(against).catch((error: unknown) => {
    throw new InputError(`${against}: ${messageOfSystemError(error, 'read')}; give --against an ONNX file`);
  });
  const theirs = await (await openOnnxruntime({ threads, model: file }))
    .load(network, weights)
    .catch((error: unknown) => {
      const reason = error instanceof Error ? error.message.split('\n')[0] : String(error);
      throw new InputError(`${against}: ONNX Runtime does not load it (${reason}); give --against an ONNX file`);
    });
  const inputs = new Map([[INPUT, input]]);
  const [a, b] = [(await theirs.run(inputs)).data, (await ours.run(inputs)).data];
  if (a.length !== b.length) {
    throw new InputError(
      `${against} gives ${a.length} logits, ${setting.model.name} ${b.length}; give the same network`,
    );
  }
  const largest = b.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const difference = a.reduce((most, value, index) => Math.max(most, Math.abs(value - b[index]!)), 0) / largest;
  if (!(difference <= SAME_NETWORK)) {
    throw new InputError(
      `${against} computes other logits than ${setting.model.name} with seed ${seed}: off by ${difference.toPrecision(2)} of the largest; give the same network with the same weights`,
    );
  }
  note(`same network: ${a.length} logits, off by at most ${difference.toPrecision(2)} of the largest`);
  await ours.dispose();
  await theirs.dispose();
  return { [THEIRS]: a, [OURS]: b };
}

async function run(options: Options): Promise<void> {
  const { threads, seed, seconds } = options;
  const against = resolve(options.against);
  const model = await resolveModel(options.model);
  const size = { batch: 1, height: model.resolution, width: model.resolution };
  const expected = await logitsOf({ model, size }, { ...options, against });
  const { info: engine } = await openOnnxruntime({ threads });
  const setting: Setting = { model, size, engine, threads, pairs: PAIRS, expected };
  const timed = await timeAll(
    [setting],
    { quads: QUADS, seconds, longestMs: 1000 * seconds },
    {
      seed,
      advice: () => '',
      now: () => performance.now(),
      signal: undefined,
      progress: ({ session, sessions, step }) => {
        if (step.phase === 'load') note(`session ${session} of ${sessions}`);
      },
      runSession: (spec, onProgress) => forkTask('session', { ...spec, rawFile: against }, onProgress),
    },
  );
  const [failed] = timed.failures;
  if (failed !== undefined) throw new Error(failed.message);
  const { measurements, speedups, nullControls } = rowsOf(timed.settings, QUADS);
  const [row] = speedups;
  if (row === undefined) throw new Error(timed.skipped[0]?.reason ?? 'nothing was timed');
  const latency = (arm: Arm) => milliseconds(measurements.find((each) => each.arm === arm)!.latencyMs);
  const within = row.low === null ? '' : ` (${row.low.toFixed(4)} to ${row.high!.toFixed(4)})`;
  const slower = row.high !== null && row.high < 1;
  const lines = [
    `${model.name} on onnxruntime ${engine.version}, ${counted(threads, 'thread')}, ${counted(row.sessions.length, 'session')}`,
    `theirs ${latency(THEIRS)} ms, ours ${latency(OURS)} ms`,
    `theirs / ours ${row.estimate.toFixed(4)}${within}; null control ${nullControls[0]?.estimate.toFixed(4)}`,
    slower ? 'ours is slower' : row.low !== null && row.low > 1 ? 'ours is faster' : 'no difference shown',
    ...(row.note === '' ? [] : [row.note]),
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
  if (slower) process.exitCode = 1;
}

const command = new Command('bench:onnx')
  .description("time the ONNX graph of the deploy form against another project's, interleaved, on ONNX Runtime")
  .requiredOption('--against <file>', "the other project's ONNX file, with the weights of --seed")
  .option('-m, --model <name>', 'a published name or a config file', 'repvit_m0_9')
  .option('--threads <n>', 'threads', parseThreads, 1)
  .option('--seed <n>', 'seed of the weights', parseSeed, 1)
  .option('--seconds <n>', 'time for all sessions', parseCount, 60)
  .action(run);

await runEntry(command);
