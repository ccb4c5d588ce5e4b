/** Where the time of one inference goes, step by step, as the engine itself runs the network. */
import type { Engine, EngineInfo, StepTimes } from '../engines/engine.ts';
import { cost } from '../interpreters/cost.ts';
import { NetworkBuilder } from '../network/builder.ts';
import { nodesByName } from '../network/graph.ts';
import type { Network, Node } from '../network/ops.ts';
import { randomInput, randomWeights } from '../weights/random.ts';
import { median } from './estimate.ts';
import type { Arm, ModelSpec, PreparedArms } from './prepare.ts';
import { INPUT } from './session.ts';

/** Time for the inferences of one profile: of each step, the median of them is kept. */
const BUDGET_MS = 2000;
const INFERENCES = { least: 3, most: 50 };
/** Rows, inputs and outputs of the matrix product that the machine's peak is measured on: bound by arithmetic, within caches. */
const PEAK_SIZE = 512;
const PEAK_REPEATS = 50;

export interface ProfileSpec extends ModelSpec {
  readonly engine: string;
  readonly threads: number | undefined;
  readonly arm: Arm;
}

/** One step of an engine: the median over the inferences. */
export interface Step {
  readonly name: string;
  readonly op: string;
  readonly milliseconds: number;
  /** Multiply-accumulates for the whole batch; undefined where it has none, or is no node of the network. */
  readonly macs: number | undefined;
}

export interface ProfileResult {
  readonly kind: 'profiled';
  readonly info: Omit<EngineInfo, 'precision'>;
  readonly inferences: number;
  readonly steps: readonly Step[];
  /** 10^9 operations a second of a large matrix product on ONNX Runtime; undefined where that is not here. */
  readonly peakGflops: number | undefined;
}

/** The engine cannot say where its time goes. */
export interface ProfileSkip {
  readonly kind: 'unsupported';
  readonly reason: string;
}

/** Multiply-accumulates by the name of the node, of the whole batch. */
function macsByNode(network: Network): ReadonlyMap<string, number> {
  return new Map(
    cost(network)
      .layers.filter((layer) => layer.cost.macs > 0)
      .map((layer) => [layer.name, layer.cost.macs]),
  );
}

/** Engines put what they do to a node behind its name: `stem.conv1_nchwc`, `fc3/product`. */
function nodeOf(step: string, nodes: ReadonlyMap<string, Node>): Node | undefined {
  const names = [step, step.replace(/_nchwc$/, ''), step.replace(/\/(product|conv)$/, '')];
  return names.map((name) => nodes.get(name)).find((node) => node !== undefined);
}

/** The medians of the steps, with the multiply-accumulates of the node that each one computes. */
export function stepsOf(times: readonly StepTimes[], network: Network): Step[] {
  const macs = macsByNode(network);
  const nodes = nodesByName(network);
  const named = new Set(times.map(({ name }) => nodeOf(name, nodes)?.name));
  const taken = new Set<string>();
  return times.map(({ name, op, milliseconds }) => {
    const node = nodeOf(name, nodes);
    const [input = ''] = node?.inputs ?? [];
    // ONNX Runtime calls a convolution with an activation by the activation's name.
    const computed = node !== undefined && !macs.has(node.name) && !named.has(input) ? input : (node?.name ?? '');
    const isFirst = macs.has(computed) && !taken.has(computed);
    taken.add(computed);
    return { name, op, milliseconds: median(milliseconds), macs: isFirst ? macs.get(computed) : undefined };
  });
}

/** 10^9 operations a second, multiply and add counted as two, of the fastest of several matrix products. */
async function measurePeak(engine: Engine): Promise<number> {
  const builder = new NetworkBuilder('peak');
  const x = builder.input(INPUT, [PEAK_SIZE, PEAK_SIZE]);
  const network = builder.build(builder.add('product', { kind: 'linear', outFeatures: PEAK_SIZE, bias: false }, [x]));
  const loaded = await engine.load(network, randomWeights(network, 1));
  const inputs = new Map([[INPUT, randomInput([PEAK_SIZE, PEAK_SIZE], 1)]]);
  let fastest = Number.POSITIVE_INFINITY;
  for (let repeat = 0; repeat < PEAK_REPEATS; repeat++) {
    const start = performance.now();
    await loaded.run(inputs);
    fastest = Math.min(fastest, performance.now() - start);
  }
  await loaded.dispose();
  return (2 * PEAK_SIZE ** 3) / (fastest * 1e6);
}

/**
 * Profiles one arm of a network.
 * @param peakEngine what the machine's peak is measured on; undefined where it is not here
 * @throws UnsupportedOp where the engine refuses a node by design
 */
export async function profileArm(
  engine: Engine,
  peakEngine: Engine | undefined,
  { forms, input }: PreparedArms,
  { arm }: ProfileSpec,
): Promise<ProfileResult | ProfileSkip> {
  if (engine.profile === undefined) {
    return { kind: 'unsupported', reason: 'it cannot say what each of its steps takes' };
  }
  const { network, weights } = forms.get(arm)!;
  const inputs = new Map([[INPUT, input]]);
  const loaded = await engine.load(network, weights);
  let once = Number.POSITIVE_INFINITY;
  for (let run = 0; run < 2; run++) {
    const start = performance.now();
    await loaded.run(inputs);
    once = Math.min(once, performance.now() - start);
  }
  await loaded.dispose();
  const inferences = Math.min(INFERENCES.most, Math.max(INFERENCES.least, Math.floor(BUDGET_MS / once)));
  const times = await engine.profile(network, weights, inputs, inferences);
  const { precision: _, ...info } = engine.info;
  const peakGflops = peakEngine && (await measurePeak(peakEngine));
  return { kind: 'profiled', info, inferences, steps: stepsOf(times, network), peakGflops };
}
