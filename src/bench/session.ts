/**
 * One session: both forms of one network on one engine, timed in quads. It runs in a process of its own (child.ts), so
 * that nothing else shares its heap, its just-in-time compiler's state or its thread pools.
 */
import { inspect } from 'node:util';
import type { Engine, EngineInfo, EngineInputs, LoadedNetwork } from '../engines/engine.ts';
import { randomInput } from '../weights/random.ts';
import { median, quadLogRatio } from './estimate.ts';
import type { Arm, ModelSpec, PreparedModel } from './prepare.ts';

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

/** Name of a network's input node. */
const INPUT = 'input';

/** What the parent asks a session for. */
export interface SessionSpec extends ModelSpec {
  readonly engine: string;
  /** Undefined is the engine's own default. */
  readonly threads: number | undefined;
  /** Quads to aim at. */
  readonly quads: number;
  /** Time for the whole session; a slow engine gets fewer quads, but at least three. */
  readonly budgetMs: number;
  /** The logits that were verified for this engine: every timed sample must give these bits. */
  readonly expected: Readonly<Record<Arm, Float32Array>>;
}

/** Raw results; nothing is left out and nothing is estimated yet. */
export interface SessionResult {
  readonly info: Omit<EngineInfo, 'precision'>;
  /** Milliseconds of one inference, per sample in the order of timing: two a quad. */
  readonly samples: Readonly<Record<Arm, readonly number[]>>;
  readonly inferencesPerSample: Readonly<Record<Arm, number>>;
  /** ln(reference / deploy), per quad. */
  readonly logRatios: readonly number[];
  /** Timed samples whose logits were compared with the verified ones. */
  readonly checked: number;
  /** Whether the warm-up ended because the medians agreed. */
  readonly settled: boolean;
  /** Tensors that the engine held more after the session than before; null where it does not count them. */
  readonly tensorsLeaked: number | null;
  readonly peakRssBytes: number;
}

/** What a session says while it runs, between samples. */
export type SessionProgress =
  | { readonly phase: 'load' | 'warm-up' }
  | { readonly phase: 'quad'; readonly quad: number; readonly quads: number };

type Times = Readonly<Record<Arm, number>>;

/** Runs, times and checks samples of either form. */
class Sampler {
  readonly #forms: Readonly<Record<Arm, LoadedNetwork>>;
  readonly #inputs: EngineInputs;
  readonly #spec: SessionSpec;
  readonly #now: () => number;
  /** Samples whose logits were compared with the verified ones. */
  checked = 0;

  constructor(forms: Readonly<Record<Arm, LoadedNetwork>>, inputs: EngineInputs, spec: SessionSpec, now: () => number) {
    this.#forms = forms;
    this.#inputs = inputs;
    this.#spec = spec;
    this.#now = now;
  }

  /**
   * Milliseconds of one inference, as the mean of `count` in a row.
   * @throws Error where the last one's logits are not, bit for bit, the verified ones
   */
  async sample(arm: Arm, count: number): Promise<number> {
    const form = this.#forms[arm];
    const start = this.#now();
    let output = await form.run(this.#inputs);
    for (let inference = 1; inference < count; inference++) output = await form.run(this.#inputs);
    const milliseconds = (this.#now() - start) / count;
    this.#check(arm, output.data);
    return milliseconds;
  }

  #check(arm: Arm, actual: Float32Array): void {
    const expected = this.#spec.expected[arm];
    const subject = `the ${arm} form's logits in the timed run are not those that were verified`;
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

/** Samples both forms until the medians of two rounds agree, or the time is up. */
async function warmUp(
  sampler: Sampler,
  now: () => number,
  limitMs: number,
): Promise<{ times: Times; settled: boolean }> {
  let times: Times = { reference: await sampler.sample('reference', 1), deploy: await sampler.sample('deploy', 1) };
  const start = now();
  const cost = () =>
    WARM_UP_SAMPLES *
    (times.reference * inferencesPerSample(times.reference) + times.deploy * inferencesPerSample(times.deploy));
  for (let round = 0; round < WARM_UP_ROUNDS && now() - start + cost() <= limitMs; round++) {
    const samples: Record<Arm, number[]> = { reference: [], deploy: [] };
    for (let sample = 0; sample < WARM_UP_SAMPLES; sample++) {
      for (const arm of ['reference', 'deploy'] as const) {
        samples[arm].push(await sampler.sample(arm, inferencesPerSample(times[arm])));
      }
    }
    const medians = { reference: median(samples.reference), deploy: median(samples.deploy) };
    const agree = (arm: Arm) => Math.abs(medians[arm] - times[arm]) <= WARM_UP_AGREEMENT * times[arm];
    const settled = agree('reference') && agree('deploy');
    times = medians;
    if (settled) return { times, settled };
  }
  return { times, settled: false };
}

/** Whether each quad is ABBA (A = reference) or BAAB: a coin for each, from the seed. */
function quadOrders({ seed, engine, model, quads }: SessionSpec): readonly boolean[] {
  return Array.from(randomInput([quads], seed, `${model.name}/${engine}/quads`).data, (value) => value > 0);
}

/**
 * Times both forms of a prepared network on an engine.
 * @param report called between samples, never during one
 * @param now a clock in milliseconds
 * @throws Error where a timed run gives other logits than the verified ones
 * @throws UnsupportedOp where the engine refuses a node by design
 */
export async function timeForms(
  engine: Engine,
  prepared: PreparedModel,
  spec: SessionSpec,
  report: (progress: SessionProgress) => void,
  now: () => number = () => performance.now(),
): Promise<SessionResult> {
  const { Bench } = await import('tinybench');
  const start = now();
  const tensorsBefore = engine.liveTensors();

  report({ phase: 'load' });
  const forms = {
    reference: await engine.load(prepared.networks.reference, prepared.weights.reference),
    deploy: await engine.load(prepared.networks.deploy, prepared.weights.deploy),
  };
  const sampler = new Sampler(forms, new Map([[INPUT, prepared.input]]), spec, now);

  report({ phase: 'warm-up' });
  const { times, settled } = await warmUp(sampler, now, spec.budgetMs * WARM_UP_SHARE);
  const counts = { reference: inferencesPerSample(times.reference), deploy: inferencesPerSample(times.deploy) };
  const quadMs = 2 * (counts.reference * times.reference + counts.deploy * times.deploy);
  const affordable = Math.floor((spec.budgetMs - (now() - start)) / quadMs);
  const quads = Math.min(spec.quads, Math.max(FEWEST_QUADS, affordable));

  const samples: Record<Arm, number[]> = { reference: [], deploy: [] };
  const logRatios: number[] = [];
  const orders = quadOrders(spec);
  const checkedBefore = sampler.checked;
  const overtime = new AbortController();
  const runQuad = async () => {
    const [outer, inner]: [Arm, Arm] = orders[logRatios.length] ? ['reference', 'deploy'] : ['deploy', 'reference'];
    report({ phase: 'quad', quad: logRatios.length + 1, quads });
    const first = await sampler.sample(outer, counts[outer]);
    const second = await sampler.sample(inner, counts[inner]);
    const third = await sampler.sample(inner, counts[inner]);
    const fourth = await sampler.sample(outer, counts[outer]);
    const pairs = { [outer]: [first, fourth], [inner]: [second, third] } as Record<Arm, [number, number]>;
    samples.reference.push(...pairs.reference);
    samples.deploy.push(...pairs.deploy);
    logRatios.push(quadLogRatio(pairs.reference, pairs.deploy));
    if (logRatios.length >= FEWEST_QUADS && now() - start > spec.budgetMs) overtime.abort();
    return { overriddenDuration: first + second + third + fourth };
  };
  // One task whose iteration is a quad: tinybench runs tasks one after another and sorts their samples, so two tasks would lose the pairing.
  const bench = new Bench({ iterations: quads, time: 0, warmup: false, throws: true, signal: overtime.signal });
  await bench.add('quad', runQuad, { async: true }).run();

  await forms.reference.dispose();
  await forms.deploy.dispose();
  const tensorsAfter = engine.liveTensors();
  const { name, version, device, threads } = engine.info;
  return {
    info: { name, version, device, threads },
    samples,
    inferencesPerSample: counts,
    logRatios,
    checked: sampler.checked - checkedBefore,
    settled,
    tensorsLeaked: tensorsBefore === undefined || tensorsAfter === undefined ? null : tensorsAfter - tensorsBefore,
    peakRssBytes: process.resourceUsage().maxRSS * 1024,
  };
}
