/**
 * One session: the arms of one network on one engine, timed in quads. It runs in a process of its own (child.ts), so that
 * nothing else shares its heap, its just-in-time compiler's state or its thread pools; sessions are the replicates.
 */
import type { Engine, EngineInfo, EngineInputs, LoadedNetwork } from '../engines/engine.ts';
import { randomInput } from '../weights/random.ts';
import { checkLogits } from './check-logits.ts';
import { median, quadLogRatio } from './estimate.ts';
import { type Arm, type ArmPair, armsOf, isNull, type ModelSpec, type PreparedArms, type Role } from './prepare.ts';

/** A sample is as many inferences as fill this: the clock's own grain and a context switch are small beside it. */
export const SAMPLE_MS = 20;
/** Samples of each network in one round of the warm-up. */
const WARM_UP_SAMPLES = 3;
/** Successive medians closer than this end the warm-up. */
const WARM_UP_AGREEMENT = 0.01;
const WARM_UP_ROUNDS = 20;
/** Share of the budget that the warm-up may take, beyond the first inference of each network. */
const WARM_UP_SHARE = 0.25;
/** Times that the arms are loaded in one session: where a copy lies in memory alone makes it up to 2 % faster or slower. */
const LOADINGS = 4;
/** Share of the budget that the loadings after the first may take; an engine that loads slowly gets fewer. */
const RELOADING_SHARE = 0.25;

/** Name of a network's input node. */
export const INPUT = 'input';

/** The engine as its users run it, and with its own graph optimisation off. */
export interface Engines {
  readonly optimised: Engine;
  readonly raw?: Engine;
}

/** What the parent asks a session for. */
export interface SessionSpec extends ModelSpec {
  readonly pairs: readonly ArmPair[];
  readonly engine: string;
  /** Undefined is the engine's own default. */
  readonly threads: number | undefined;
  /** Number of the session in its setting, from 1: each has its own order of loading and of quads. */
  readonly session: number;
  /** Quads to aim at, of each pair. */
  readonly quads: number;
  /** Time beyond the first inference of each network; a slow engine gets fewer quads, but at least one of each pair. */
  readonly budgetMs: number;
  /** An engine that needs longer for that is not timed. */
  readonly longestMs: number;
  /** The logits that were verified for this engine: every timed sample must give these bits. */
  readonly expected: Readonly<Partial<Record<Arm, Float32Array>>>;
  /** An ONNX file that runs in place of the raw train form, on ONNX Runtime. */
  readonly rawFile?: string;
}

/** The quads of one pair. */
export interface PairResult extends ArmPair {
  /** ln(baseline / arm), per quad, in the order of timing. */
  readonly logRatios: readonly number[];
  /** Timed samples whose logits were compared with the verified ones: all. */
  readonly checked: number;
}

/** What was sampled of one arm. */
export interface ArmSamples {
  readonly inferencesPerSample: number;
  /** Milliseconds of one inference, per sample in the order of timing, over all pairs. */
  readonly samples: readonly number[];
}

/** Raw results; nothing is left out and nothing is estimated yet. */
export interface SessionResult {
  readonly kind: 'timed';
  readonly info: Omit<EngineInfo, 'precision'>;
  readonly pairs: readonly PairResult[];
  readonly arms: Readonly<Partial<Record<Arm, ArmSamples>>>;
  /** Whether the warm-up ended because the medians agreed. */
  readonly settled: boolean;
  /** Tensors that the engine held more after the session than before; null where it does not count them. */
  readonly tensorsLeaked: number | null;
  readonly peakRssBytes: number;
}

/** The engine is too slow for even the fewest quads: nothing was timed. */
export interface SessionSkip {
  readonly kind: 'too slow';
  /** What one session would take at least. */
  readonly neededMs: number;
}

/** What a session says while it runs, between samples. */
export type SessionProgress =
  | { readonly phase: 'load' | 'warm-up' }
  | { readonly phase: 'quad'; readonly quad: number; readonly quads: number };

/** A network that a session holds: an arm, or the second copy of one for the null control. */
interface Slot {
  readonly arm: Arm;
  readonly loaded: LoadedNetwork;
  /** Of one inference, as last seen. */
  milliseconds: number;
  inferences: number;
}

/** By name; each loading puts other ones in. */
type Slots = Map<string, Slot>;

function slotOf(pair: ArmPair, role: Role): string {
  return isNull(pair) && role === 'baseline' ? `${pair.arm}, second copy` : pair[role];
}

const ROLES: readonly Role[] = ['baseline', 'arm'];

/** Numbers that decide an order: from the seed, other ones in each session. */
function draws({ seed, engine, model, session }: SessionSpec, count: number, what: string): ArrayLike<number> {
  return randomInput([count], seed, `${model.name}/${engine}/${session}/${what}`).data;
}

function shuffled<T>(items: readonly T[], keys: ArrayLike<number>): T[] {
  return [...items.keys()].sort((a, b) => keys[a]! - keys[b]!).map((index) => items[index]!);
}

/** Runs, times and checks samples. */
class Sampler {
  readonly #inputs: EngineInputs;
  readonly #expected: SessionSpec['expected'];
  readonly #now: () => number;

  constructor(inputs: EngineInputs, expected: SessionSpec['expected'], now: () => number) {
    this.#inputs = inputs;
    this.#expected = expected;
    this.#now = now;
  }

  /**
   * Milliseconds of one inference, as the mean of the slot's number of inferences in a row.
   * @throws Error where the last one's logits are not, bit for bit, the verified ones
   */
  async sample({ arm, loaded, inferences }: Slot): Promise<number> {
    const start = this.#now();
    let output = await loaded.run(this.#inputs);
    for (let inference = 1; inference < inferences; inference++) output = await loaded.run(this.#inputs);
    const milliseconds = (this.#now() - start) / inferences;
    checkLogits(arm, output.data, this.#expected[arm]);
    return milliseconds;
  }
}

/** Inferences that fill a sample, given one's time. */
function inferencesPerSample(milliseconds: number): number {
  return Math.max(1, Math.ceil(SAMPLE_MS / milliseconds));
}

/** What one quad of each pair takes. */
function roundMs(slots: Slots, pairs: readonly ArmPair[]): number {
  return pairs.reduce((sum, pair) => sum + ROLES.reduce((both, role) => both + 2 * sampleMs(slots, pair, role), 0), 0);
}

function sampleMs(slots: Slots, pair: ArmPair, role: Role): number {
  const { milliseconds, inferences } = slots.get(slotOf(pair, role))!;
  return milliseconds * inferences;
}

/** The first inference of each network; says where that alone shows that the engine is too slow. */
async function firstTimes(
  sampler: Sampler,
  slots: Slots,
  { longestMs, pairs }: SessionSpec,
): Promise<SessionSkip | undefined> {
  for (const slot of slots.values()) {
    slot.milliseconds = await sampler.sample(slot);
    // What has not run yet counts nothing, so a slow network stops this before the others run.
    const neededMs = roundMs(slots, pairs);
    if (neededMs > longestMs) return { kind: 'too slow', neededMs };
  }
  return undefined;
}

/** Samples every network until the medians of two rounds agree, or the time is up. */
async function warmUp(sampler: Sampler, slots: Slots, now: () => number, limitMs: number): Promise<boolean> {
  const start = now();
  const all = [...slots.values()];
  const cost = () => all.reduce((sum, { milliseconds, inferences }) => sum + milliseconds * inferences, 0);
  for (let round = 0; round < WARM_UP_ROUNDS; round++) {
    for (const slot of all) slot.inferences = inferencesPerSample(slot.milliseconds);
    if (now() - start + WARM_UP_SAMPLES * cost() > limitMs) return false;
    const samples = all.map((): number[] => []);
    for (let sample = 0; sample < WARM_UP_SAMPLES; sample++) {
      for (const [index, slot] of all.entries()) samples[index]!.push(await sampler.sample(slot));
    }
    let settled = true;
    for (const [index, slot] of all.entries()) {
      const milliseconds = median(samples[index]!);
      settled &&= Math.abs(milliseconds - slot.milliseconds) <= WARM_UP_AGREEMENT * slot.milliseconds;
      slot.milliseconds = milliseconds;
      slot.inferences = inferencesPerSample(milliseconds);
    }
    if (settled) return true;
  }
  return false;
}

/** What the quads of a session gave. */
type Quads = Pick<SessionResult, 'pairs' | 'arms' | 'settled'>;

/** Runs all networks once, warms them up and times them. */
async function timeQuads(
  sampler: Sampler,
  slots: Slots,
  load: (loading: number) => Promise<void>,
  spec: SessionSpec,
  report: (progress: SessionProgress) => void,
  now: () => number,
): Promise<Quads | SessionSkip> {
  const { Bench } = await import('tinybench');
  const { pairs, budgetMs } = spec;
  report({ phase: 'load' });
  const began = now();
  await load(1);
  report({ phase: 'warm-up' });
  const skip = await firstTimes(sampler, slots, spec);
  if (skip !== undefined) return skip;
  const start = now();
  const settled = await warmUp(sampler, slots, now, budgetMs * WARM_UP_SHARE);
  const all = [...slots.values()];
  const reloadingMs = start - began + all.reduce((sum, slot) => sum + slot.milliseconds * slot.inferences, 0);
  const loadings = 1 + Math.min(LOADINGS - 1, Math.floor((budgetMs * RELOADING_SHARE) / reloadingMs));
  const leftMs = budgetMs - (now() - start) - (loadings - 1) * reloadingMs;
  const quads = Math.min(spec.quads, Math.max(1, Math.floor(leftMs / roundMs(slots, pairs))));
  const ofLoading = Math.ceil(quads / loadings);

  const samples = new Map(armsOf(pairs).map((arm): [Arm, number[]] => [arm, []]));
  const logRatios = pairs.map((): number[] => []);
  const coins = draws(spec, pairs.length * quads, 'orders');
  const turns = draws(spec, pairs.length * quads, 'turns');
  const timeQuad = async (pair: ArmPair, isBaselineOutside: boolean): Promise<number> => {
    const slot = (role: Role) => slots.get(slotOf(pair, role))!;
    const [outer, inner] = isBaselineOutside ? [slot('baseline'), slot('arm')] : [slot('arm'), slot('baseline')];
    const first = await sampler.sample(outer);
    const second = await sampler.sample(inner);
    const third = await sampler.sample(inner);
    const fourth = await sampler.sample(outer);
    samples.get(outer.arm)!.push(first, fourth);
    samples.get(inner.arm)!.push(second, third);
    const [outside, inside] = [[first, fourth] as const, [second, third] as const];
    return isBaselineOutside ? quadLogRatio(outside, inside) : quadLogRatio(inside, outside);
  };
  /** The same arms at other places in memory; what is first run there is not timed. */
  const loadAnew = async (loading: number) => {
    const inferences = new Map([...slots].map(([name, slot]) => [name, slot.inferences]));
    await load(loading);
    for (const slot of slots.values()) await sampler.sample(slot);
    for (const [name, slot] of slots) {
      slot.inferences = inferences.get(name)!;
      await sampler.sample(slot);
    }
  };
  const overtime = new AbortController();
  let round = 0;
  const runRound = async () => {
    if (round > 0 && round % ofLoading === 0) await loadAnew(1 + round / ofLoading);
    const roundBegan = now();
    report({ phase: 'quad', quad: round + 1, quads });
    const first = pairs.length * round;
    for (const index of shuffled(
      [...pairs.keys()],
      Array.from(pairs, (_, pair) => turns[first + pair]!),
    )) {
      logRatios[index]!.push(await timeQuad(pairs[index]!, coins[first + index]! > 0));
    }
    round++;
    if (now() - start > budgetMs) overtime.abort();
    return { overriddenDuration: now() - roundBegan };
  };
  // One task whose iteration is a quad of each pair: tinybench runs tasks one after another and sorts their samples, so two tasks would lose the pairing.
  const bench = new Bench({ iterations: quads, time: 0, warmup: false, throws: true, signal: overtime.signal });
  await bench.add('quads', runRound, { async: true }).run();
  return {
    pairs: pairs.map((pair, index) => ({
      ...pair,
      logRatios: logRatios[index]!,
      checked: 4 * logRatios[index]!.length,
    })),
    arms: Object.fromEntries(
      [...samples].map(([arm, times]) => [arm, { inferencesPerSample: slots.get(arm)!.inferences, samples: times }]),
    ),
    settled,
  };
}

/** Every network that the pairs need in place of those before, in an order that is drawn: a place in memory may be a better one. */
async function loadSlots(
  slots: Slots,
  { optimised, raw = optimised }: Engines,
  { forms }: PreparedArms,
  spec: SessionSpec,
  loading: number,
): Promise<void> {
  await disposeOf(slots);
  const wanted = new Map(spec.pairs.flatMap((pair) => ROLES.map((role) => [slotOf(pair, role), pair[role]] as const)));
  const order = shuffled([...wanted], draws(spec, wanted.size, `loading ${loading}`));
  for (const [name, arm] of order) {
    const { network, weights } = forms.get(arm)!;
    const engine = arm === 'reference-raw' ? raw : optimised;
    slots.set(name, { arm, loaded: await engine.load(network, weights), milliseconds: 0, inferences: 1 });
  }
}

async function disposeOf(slots: Slots): Promise<void> {
  for (const { loaded } of slots.values()) await loaded.dispose();
  slots.clear();
}

/**
 * Times the arms of a network on an engine, or says that it would take too long.
 * @param report called between samples, never during one
 * @param now a clock in milliseconds
 * @throws Error where a timed run gives other logits than the verified ones
 * @throws UnsupportedOp where the engine refuses a node by design
 */
export async function timeArms(
  engines: Engines,
  prepared: PreparedArms,
  spec: SessionSpec,
  report: (progress: SessionProgress) => void,
  now: () => number = () => performance.now(),
): Promise<SessionResult | SessionSkip> {
  const { optimised: engine } = engines;
  const tensorsBefore = engine.liveTensors();
  const slots: Slots = new Map();
  const load = (loading: number) => loadSlots(slots, engines, prepared, spec, loading);
  const sampler = new Sampler(new Map([[INPUT, prepared.input]]), spec.expected, now);
  const timed = await timeQuads(sampler, slots, load, spec, report, now);
  await disposeOf(slots);
  if ('kind' in timed) return timed;

  const tensorsAfter = engine.liveTensors();
  const { precision: _, ...info } = engine.info;
  return {
    kind: 'timed',
    info,
    ...timed,
    tensorsLeaked: tensorsBefore === undefined || tensorsAfter === undefined ? null : tensorsAfter - tensorsBefore,
    peakRssBytes: process.resourceUsage().maxRSS * 1024,
  };
}
