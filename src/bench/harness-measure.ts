/** What the harness itself costs: the oracle's speed, each tier's time, and how many small networks it proves in a second. */
import type { Engine } from '../engines/engine.ts';
import { type DeployForm, deployForms, fuseTo } from '../fused/forms.ts';
import { cost } from '../interpreters/cost.ts';
import { evaluateFloat64 } from '../interpreters/float64.ts';
import type { Network } from '../network/ops.ts';
import type { Tensor, Weights } from '../network/tensor.ts';
import { buildMiniature, buildNetwork, type Model } from '../reference/config.ts';
import { TIERS, type Tier, type VerifyRequest, verify } from '../verify/verify.ts';
import { randomInput, randomWeights } from '../weights/random.ts';
import { median } from './estimate.ts';

const SEED = 1;

/** Tiers that need an engine. */
const ON_ENGINES: ReadonlySet<Tier> = new Set(['dyadic', 'runtime', 'network']);

/** The tiers that are timed: each by itself, but the canaries, which run in every verification. */
export function timedTiers(engines: readonly Engine[]): readonly Tier[] {
  return TIERS.filter((tier) => tier !== 'canaries' && (engines.length > 0 || !ON_ENGINES.has(tier)));
}

export interface NetworkFigures {
  readonly model: string;
  /** Of the train form in float64: two operations for each multiply-accumulate. */
  readonly oracleGflops: number;
  /** Making the weights. */
  readonly generateSeconds: number;
  /** What every tier needs first, over all deploy forms: fusing the weights, rounding them, finding the regions. */
  readonly fuseSeconds: number;
  /** By tier, beyond that. */
  readonly tierSeconds: Readonly<Partial<Record<Tier, number>>>;
}

async function secondsOf(task: () => unknown): Promise<number> {
  const started = performance.now();
  await task();
  return (performance.now() - started) / 1000;
}

/** Median of several runs. */
async function medianSeconds(repeats: number, task: () => unknown): Promise<number> {
  const seconds: number[] = [];
  for (let run = 0; run < repeats; run++) seconds.push(await secondsOf(task));
  return median(seconds);
}

interface Subject {
  readonly model: Model;
  readonly reference: Network;
  readonly weights: Weights;
  readonly input: Tensor<Float32Array>;
}

function inputOf(reference: Network, seed: number): Tensor<Float32Array> {
  return randomInput(reference.nodes.find(({ name }) => name === reference.inputs[0])!.shape, seed);
}

function requestFor({ model, reference, weights, input }: Subject, form: DeployForm): VerifyRequest {
  return {
    fusion: fuseTo(form, reference),
    miniature: fuseTo(form, buildMiniature(model.config)),
    form: form.name,
    weights,
    input,
    engines: [],
    seed: SEED,
    probe: (shape, name) => randomInput(shape, SEED, name),
  };
}

/**
 * Verifies with these tiers alone.
 * @throws Error where it does not pass: the time of a verification that fails says nothing
 */
async function mustPass(request: VerifyRequest, tiers: readonly Tier[]): Promise<void> {
  const { model, form, verdict, problems } = await verify({ ...request, tiers });
  if (verdict === 'pass') return;
  throw new Error(`${model}, ${form}, ${tiers.join(' and ') || 'no tier'}: ${[verdict, ...problems].join('; ')}`);
}

/**
 * Times one network at its published size.
 * @param repeats runs of each, of which the median counts
 */
export async function measureNetwork(
  model: Model,
  engines: readonly Engine[],
  repeats: number,
): Promise<NetworkFigures> {
  const reference = buildNetwork(model.config, { batch: 1, height: model.resolution, width: model.resolution });
  const input = inputOf(reference, SEED);
  let weights: Weights = new Map();
  const generateSeconds = await medianSeconds(repeats, () => {
    weights = randomWeights(reference, SEED);
  });
  const inputs = new Map(reference.inputs.map((name) => [name, input]));
  const oracleSeconds = await medianSeconds(repeats, () => evaluateFloat64(reference, weights, inputs));
  const subject = { model, reference, weights, input };
  const requests = deployForms(reference).map((form) => ({ ...requestFor(subject, form), engines }));
  const all = async (tiers: readonly Tier[]) => {
    for (const request of requests) await mustPass(request, tiers);
  };
  const fuseSeconds = await medianSeconds(repeats, () => all([]));
  const tierSeconds: Partial<Record<Tier, number>> = {};
  for (const tier of timedTiers(engines)) {
    tierSeconds[tier] = Math.max(0, (await medianSeconds(repeats, () => all([tier]))) - fuseSeconds);
  }
  return {
    model: model.name,
    oracleGflops: (2 * cost(reference).total.macs) / oracleSeconds / 1e9,
    generateSeconds,
    fuseSeconds,
    tierSeconds,
  };
}

export interface DrawFigures {
  readonly model: string;
  readonly draws: number;
  /** Fused regions of all draws together. */
  readonly regions: number;
  readonly seconds: number;
}

/** Tiers of a draw: those that the properties look at. */
const DRAWN: readonly Tier[] = ['structure', 'basis', 'weights', 'algebra'];

/** Proves the miniature of a network at least once, each time on other weights, for so many seconds on one core. */
export async function measureDraws(model: Model, seconds: number): Promise<DrawFigures> {
  const reference = buildMiniature(model.config);
  const requests = deployForms(reference).map((form) =>
    requestFor({ model, reference, weights: new Map(), input: inputOf(reference, SEED) }, form),
  );
  const started = performance.now();
  const elapsed = () => (performance.now() - started) / 1000;
  let draws = 0;
  let regions = 0;
  do {
    const request = requests[draws % requests.length]!;
    const seed = SEED + draws;
    const drawn = { ...request, weights: randomWeights(reference, seed), input: inputOf(reference, seed) };
    await mustPass(drawn, DRAWN);
    draws++;
    regions += request.fusion.regions.length;
  } while (elapsed() < seconds);
  return { model: model.name, draws, regions, seconds: elapsed() };
}
