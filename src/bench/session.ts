/**
 * One session: two forms of one network on one engine, timed in quads. It runs in a process of its own (child.ts), so
 * that nothing else shares its heap, its just-in-time compiler's state or its thread pools.
 */
import { inspect } from 'node:util';
import type { Engine, EngineInfo, EngineInputs, LoadedNetwork } from '../engines/engine.ts';
import { randomInput } from '../weights/random.ts';
import { median, quadLogRatio } from './estimate.ts';
import type { ArmPair, ModelSpec, PreparedPair, Role } from './prepare.ts';

/** A sample is as many inferences as fill this: the clock's own grain and a context switch are small beside it. */
const SAMPLE_MS = 20;
/** Samples of each form in one round of the warm-up. */
const WARM_UP_SAMPLES = 3;
/** Successive medians closer than this end the warm-up. */
const WARM_UP_AGREEMENT = 0.01;
const WARM_UP_ROUNDS = 20;
/** Share of the budget that the warm-up may take, beyond the first inference of each form. */
const WARM_UP_SHARE = 0.2;
/** However slow the engine: fewer would leave no interval worth the name. */
const FEWEST_QUADS = 3;

const ROLES: readonly Role[] = ['baseline', 'arm'];

/** Name of a network's input node. */
const INPUT = 'input';

/** What the parent asks a session for. */
export interface SessionSpec extends ModelSpec {
  readonly pair: ArmPair;
  readonly engine: string;
  /** Undefined is the engine's own default. */
  readonly threads: number | undefined;
  /** Quads to aim at. */
  readonly quads: number;
  /** Time from the first inference on; a slow engine gets fewer quads, but at least three. */
  readonly budgetMs: number;
  /** An engine that needs longer for three quads is not timed. */
  readonly longestMs: number;
  /** The logits that were verified for this engine: every timed sample must give these bits. */
  readonly expected: Readonly<Record<Role, Float32Array>>;
}

/** Raw results; nothing is left out and nothing is estimated yet. */
export interface SessionResult {
  readonly kind: 'timed';
  readonly info: Omit<EngineInfo, 'precision'>;
  /** Milliseconds of one inference, per sample in the order of timing: two a quad. */
  readonly samples: Readonly<Record<Role, readonly number[]>>;
  readonly inferencesPerSample: Readonly<Record<Role, number>>;
  /** ln(baseline / arm), per quad. */
  readonly logRatios: readonly number[];
  /** Timed samples whose logits were compared with the verified ones. */
  readonly checked: number;
  /** Whether the warm-up ended because the medians agreed. */
  readonly settled: boolean;
  /** Tensors that the engine held more after the session than before; null where it does not count them. */
  readonly tensorsLeaked: number | null;
  readonly peakRssBytes: number;
}

/** The engine is too slow for even the fewest quads: nothing was timed. */
export interface SessionSkip {
  readonly kind: 'too slow';
  /** Why, in one line. */
  readonly reason: string;
}

/** What a session says while it runs, between samples. */
export type SessionProgress =
  | { readonly phase: 'load' | 'warm-up' }
  | { readonly phase: 'quad'; readonly quad: number; readonly quads: number };

type Times = Readonly<Record<Role, number>>;

/** Runs, times and checks samples of either form. */
class Sampler {
  readonly #forms: Readonly<Record<Role, LoadedNetwork>>;
  readonly #inputs: EngineInputs;
  readonly #spec: SessionSpec;
  readonly #now: () => number;
  /** Samples whose logits were compared with the verified ones. */
  checked = 0;

  constructor(
    forms: Readonly<Record<Role, LoadedNetwork>>,
    inputs: EngineInputs,
    spec: SessionSpec,
    now: () => number,
  ) {
    this.#forms = forms;
    this.#inputs = inputs;
    this.#spec = spec;
    this.#now = now;
  }

  /**
   * Milliseconds of one inference, as the mean of `count` in a row.
   * @throws Error where the last one's logits are not, bit for bit, the verified ones
   */
  async sample(role: Role, count: number): Promise<number> {
    const form = this.#forms[role];
    const start = this.#now();
    let output = await form.run(this.#inputs);
    for (let inference = 1; inference < count; inference++) output = await form.run(this.#inputs);
    const milliseconds = (this.#now() - start) / count;
    this.#check(role, output.data);
    return milliseconds;
  }

  #check(role: Role, actual: Float32Array): void {
    const expected = this.#spec.expected[role];
    const subject = `the ${this.#spec.pair[role]} form's logits in the timed run are not those that were verified`;
    if (actual.length !== expected.length || expected.length === 0) {
      throw new Error(`${subject}: ${actual.length} elements, ${expected.length} verified`);
    }
    const bits = (values: Float32Array) => new Uint32Array(values.buffer, values.byteOffset, values.length);
    const [actualBits, expectedBits] = [bits(actual), bits(expected)];
    const at = actualBits.findIndex((word, index) => word !== expectedBits[index]);
    // inspect tells -0 from 0.
    if (at >= 0)
      throw new Error(`${subject}: element ${at} is ${inspect(actual[at])} instead of ${inspect(expected[at])}`);
    this.checked++;
  }
}

/** Inferences that fill a sample, given one's time. */
function inferencesPerSample(milliseconds: number): number {
  return Math.max(1, Math.ceil(SAMPLE_MS / milliseconds));
}

/** What `quads` quads take, given one inference's time of each form. */
function quadsMs(quads: number, times: Times): number {
  return quads * ROLES.reduce((sum, role) => sum + 2 * inferencesPerSample(times[role]) * times[role], 0);
}

/** The first inference of each form, or why there will be no others. */
async function firstTimes(sampler: Sampler, longestMs: number): Promise<Times | SessionSkip> {
  const times = { baseline: 0, arm: 0 };
  for (const role of ROLES) {
    times[role] = await sampler.sample(role, 1);
    // Half a quad of the baseline alone may take too long already.
    const needed = ROLES.reduce((sum, each) => sum + 2 * FEWEST_QUADS * times[each], 0);
    if (needed > longestMs) {
      const [takes, limit] = [needed, longestMs].map((milliseconds) => Math.ceil(milliseconds / 1000));
      return {
        kind: 'too slow',
        reason: `${FEWEST_QUADS} quads would take ${takes} s or more, over the limit of ${limit} s`,
      };
    }
  }
  return times;
}

/** Samples both forms until the medians of two rounds agree, or the time is up. */
async function warmUp(
  sampler: Sampler,
  cold: Times,
  now: () => number,
  limitMs: number,
): Promise<{ times: Times; settled: boolean }> {
  let times = cold;
  const start = now();
  const cost = () => quadsMs(WARM_UP_SAMPLES / 2, times);
  for (let round = 0; round < WARM_UP_ROUNDS && now() - start + cost() <= limitMs; round++) {
    const samples: Record<Role, number[]> = { baseline: [], arm: [] };
    for (let sample = 0; sample < WARM_UP_SAMPLES; sample++) {
      for (const role of ROLES) samples[role].push(await sampler.sample(role, inferencesPerSample(times[role])));
    }
    const medians = { baseline: median(samples.baseline), arm: median(samples.arm) };
    const settled = ROLES.every((role) => Math.abs(medians[role] - times[role]) <= WARM_UP_AGREEMENT * times[role]);
    times = medians;
    if (settled) return { times, settled };
  }
  return { times, settled: false };
}

/** Whether each quad is ABBA (A = baseline) or BAAB: a coin for each, from the seed. */
function quadOrders({ seed, engine, model, quads }: SessionSpec): readonly boolean[] {
  return Array.from(randomInput([quads], seed, `${model.name}/${engine}/quads`).data, (value) => value > 0);
}

/** What the quads of a session gave. */
type Quads = Pick<SessionResult, 'samples' | 'inferencesPerSample' | 'logRatios' | 'checked' | 'settled'>;

/** Warms both forms up and times them, from their first inference on. */
async function timeQuads(
  sampler: Sampler,
  spec: SessionSpec,
  report: (progress: SessionProgress) => void,
  now: () => number,
): Promise<Quads | SessionSkip> {
  const { Bench } = await import('tinybench');
  const start = now();
  const cold = await firstTimes(sampler, spec.longestMs);
  if ('kind' in cold) return cold;
  const { times, settled } = await warmUp(sampler, cold, now, spec.budgetMs * WARM_UP_SHARE);
  const counts = { baseline: inferencesPerSample(times.baseline), arm: inferencesPerSample(times.arm) };
  const affordable = Math.floor((spec.budgetMs - (now() - start)) / quadsMs(1, times));
  const quads = Math.min(spec.quads, Math.max(FEWEST_QUADS, affordable));

  const samples: Record<Role, number[]> = { baseline: [], arm: [] };
  const logRatios: number[] = [];
  const orders = quadOrders(spec);
  const checkedBefore = sampler.checked;
  const overtime = new AbortController();
  const runQuad = async () => {
    const [outer, inner]: [Role, Role] = orders[logRatios.length] ? ['baseline', 'arm'] : ['arm', 'baseline'];
    report({ phase: 'quad', quad: logRatios.length + 1, quads });
    const first = await sampler.sample(outer, counts[outer]);
    const second = await sampler.sample(inner, counts[inner]);
    const third = await sampler.sample(inner, counts[inner]);
    const fourth = await sampler.sample(outer, counts[outer]);
    const pairs = { [outer]: [first, fourth], [inner]: [second, third] } as Record<Role, [number, number]>;
    for (const role of ROLES) samples[role].push(...pairs[role]);
    logRatios.push(quadLogRatio(pairs.baseline, pairs.arm));
    if (logRatios.length >= FEWEST_QUADS && now() - start > spec.budgetMs) overtime.abort();
    return { overriddenDuration: first + second + third + fourth };
  };
  // One task whose iteration is a quad: tinybench runs tasks one after another and sorts their samples, so two tasks would lose the pairing.
  const bench = new Bench({ iterations: quads, time: 0, warmup: false, throws: true, signal: overtime.signal });
  await bench.add('quad', runQuad, { async: true }).run();
  return { samples, inferencesPerSample: counts, logRatios, checked: sampler.checked - checkedBefore, settled };
}

/**
 * Times two forms of a network on an engine, or says why that would take too long.
 * @param report called between samples, never during one
 * @param now a clock in milliseconds
 * @throws Error where a timed run gives other logits than the verified ones
 * @throws UnsupportedOp where the engine refuses a node by design
 */
export async function timePair(
  engine: Engine,
  { forms, input }: PreparedPair,
  spec: SessionSpec,
  report: (progress: SessionProgress) => void,
  now: () => number = () => performance.now(),
): Promise<SessionResult | SessionSkip> {
  const tensorsBefore = engine.liveTensors();
  report({ phase: 'load' });
  const loaded = {
    baseline: await engine.load(forms.baseline.network, forms.baseline.weights),
    arm: await engine.load(forms.arm.network, forms.arm.weights),
  };
  report({ phase: 'warm-up' });
  const timed = await timeQuads(new Sampler(loaded, new Map([[INPUT, input]]), spec, now), spec, report, now);
  for (const role of ROLES) await loaded[role].dispose();
  if ('kind' in timed) return timed;

  const tensorsAfter = engine.liveTensors();
  const { name, version, device, threads } = engine.info;
  return {
    kind: 'timed',
    info: { name, version, device, threads },
    ...timed,
    tensorsLeaked: tensorsBefore === undefined || tensorsAfter === undefined ? null : tensorsAfter - tensorsBefore,
    peakRssBytes: process.resourceUsage().maxRSS * 1024,
  };
}
