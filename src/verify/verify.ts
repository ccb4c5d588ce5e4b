import { type Engine, type LoadedNetwork, UnsupportedOp } from '../engines/engine.ts';
import { roundingsField } from '../fused/field.ts';
import { type Fusion, fuseIn, fuseWeights, roundWeights } from '../fused/fuse.ts';
import { checkStructure } from '../fused/structure.ts';
import { evaluateFloat64 } from '../interpreters/float64.ts';
import { type Magnitude, magnitude } from '../interpreters/magnitude.ts';
import { InputError } from '../network/errors.ts';
import { weightShapesByKey, withInputShapes } from '../network/graph.ts';
import { isKind, type Network } from '../network/ops.ts';
import { FLOAT64, type Precision } from '../network/precision.ts';
import { elements, type Shape, type Tensor, toFloat32, type Weights } from '../network/tensor.ts';
import { errorBound, magnitudeOptions } from './bounds.ts';
import { runCanaries } from './canaries.ts';
import { type Comparison, compare, compareBits, type Verdict } from './compare.ts';
import { compareLogits, type LogitsReport } from './logits.ts';
import { isFused, type Piece, pieces } from './pieces.ts';

/** Which form a network or a piece of it belongs to; `both` for a node that fusing leaves as it is. */
export type Form = 'reference' | 'deploy' | 'both';
export type Tier = 'canaries' | 'structure' | 'weights' | 'algebra' | 'runtime' | 'network';

/** One comparison of one piece, in one tier. */
export interface Finding {
  readonly tier: Tier;
  /** The deploy node; for the network tier, the network. */
  readonly piece: string;
  readonly rules: readonly string[];
  /** The reference nodes that it replaces, or itself. */
  readonly reference: readonly string[];
  readonly engine?: string;
  readonly form?: Form;
  /** `own` activations, or a `probe` map large enough to exercise every tap. */
  readonly input?: 'own' | 'probe';
  /** Of the compared tensor. */
  readonly shape: Shape;
  /** The state_dict key, in the weights tier. */
  readonly key?: string;
  /** K of the bound. */
  readonly operations?: number;
  readonly comparison: Comparison;
}

/** A tier's findings summed up, per engine and form where it has them. */
export interface TierSummary {
  readonly tier: Tier;
  readonly engine?: string;
  readonly form?: Form;
  readonly verdict: Verdict;
  /** Elements compared; for structure, nodes and keys looked at. */
  readonly compared: number;
  /** Pieces compared. */
  readonly pieces: number;
  /** Largest error over its bound, and where. */
  readonly worstRatio: number;
  readonly worstPiece?: string;
}

/** End-to-end logits of one form on one engine against the float64 reference. */
export interface NetworkRow {
  readonly engine: string;
  readonly form: Form;
  readonly logits: LogitsReport;
}

export interface Verification {
  readonly model: string;
  readonly verdict: Verdict;
  readonly tiers: readonly TierSummary[];
  readonly network: readonly NetworkRow[];
  /** Everything that did not pass, in topological order: the first is where to look. */
  readonly failures: readonly Finding[];
  /** Sentences about what no finding shows: structure, canaries, an engine that refused. */
  readonly problems: readonly string[];
  /** Float32 logits of each form as each engine computed them, verified here: `ENGINE/FORM`. */
  readonly logits: ReadonlyMap<string, Tensor<Float32Array>>;
}

export interface VerifyRequest {
  readonly fusion: Fusion;
  /** Of the reference network, checked against it. */
  readonly weights: Weights;
  /** The deploy weights as stored, checked against the deploy network; our own fused ones, rounded once, by default. */
  readonly deployWeights?: Weights<Float32Array>;
  /** For the network's input node. */
  readonly input: Tensor<Float32Array>;
  readonly engines: readonly Engine[];
  /** Makes a random tensor of unit variance for a probe of this shape. */
  readonly probe: (shape: Shape, name: string) => Tensor<Float32Array>;
  /** Only this deploy node, for a replay; the network tier is left out. */
  readonly only?: string;
  /** Told before each piece and each whole network. */
  readonly onProgress?: (done: number, total: number, what: string) => void;
}

type Values = ReadonlyMap<string, Tensor<Float32Array>>;

/** Collects findings into summaries and failures. */
class Ledger {
  readonly #tiers = new Map<string, TierSummary>();
  readonly failures: Finding[] = [];
  readonly problems: string[] = [];

  add(finding: Finding): void {
    const { tier, engine, form, comparison } = finding;
    const key = [tier, engine, form].join('/');
    const before = this.#tiers.get(key);
    const worse = before === undefined || comparison.worstRatio > before.worstRatio;
    const worstPiece = worse ? finding.piece : before.worstPiece;
    this.#tiers.set(key, {
      tier,
      ...(engine === undefined ? {} : { engine }),
      ...(form === undefined ? {} : { form }),
      verdict: worstVerdict([...(before === undefined ? [] : [before.verdict]), comparison.verdict]),
      compared: (before?.compared ?? 0) + comparison.compared,
      pieces: (before?.pieces ?? 0) + 1,
      worstRatio: Math.max(before?.worstRatio ?? 0, comparison.worstRatio),
      ...(worstPiece === undefined ? {} : { worstPiece }),
    });
    if (comparison.verdict !== 'pass') this.failures.push(finding);
  }

  /** A tier's verdict that does not come from elements' differences. */
  note(
    tier: Tier,
    verdict: Verdict,
    compared: number,
    problems: readonly string[],
    of: Pick<TierSummary, 'engine' | 'form'> = {},
  ): void {
    this.#tiers.set([tier, of.engine, of.form].join('/'), { tier, ...of, verdict, compared, pieces: 0, worstRatio: 0 });
    this.problems.push(...problems);
  }

  summaries(): TierSummary[] {
    return [...this.#tiers.values()];
  }
}

const BY_SEVERITY: readonly Verdict[] = ['fail', 'nothing compared', 'inconclusive', 'pass'];

/** The worst of several verdicts; of none, that nothing was compared. */
export function worstVerdict(verdicts: readonly Verdict[]): Verdict {
  return BY_SEVERITY.find((verdict) => verdicts.includes(verdict)) ?? 'nothing compared';
}

/**
 * Proves a deploy form equal to its reference, tier by tier, region by region (docs/verdict.md). Every piece is fed the
 * oracle's own input rounded to float32, so that a bound never grows with depth and a failure names its region.
 * @throws InputError where `only` names no deploy node
 */
export async function verify(request: VerifyRequest): Promise<Verification> {
  const { fusion, weights, only, engines } = request;
  const ledger = new Ledger();
  checkTheCheck(ledger);
  checkFusion(fusion, ledger);
  const unrounded = fuseWeights(fusion, weights);
  const all = pieces(fusion);
  const chosen = only === undefined ? all : all.filter(({ name }) => name === only);
  if (chosen.length === 0) {
    throw new InputError(
      `${only} is not a node of ${fusion.reference.name}'s deploy form; its names are those that a report shows`,
    );
  }
  const session: Session = {
    ...request,
    ledger,
    unrounded,
    stored: request.deployWeights ?? roundWeights(unrounded),
    roundings: roundingsOf(fusion),
    floor: Math.max(...[FLOAT64, ...engines.map(({ info }) => info.precision)].map((p) => magnitudeOptions(p).floor)),
  };
  await checkPieces(session, all, new Set(chosen));
  const network = only === undefined ? await checkNetworks(session, all.length) : { rows: [], logits: new Map() };
  expectEveryTier(session, chosen);
  const tiers = ledger.summaries();
  return {
    model: fusion.reference.name,
    verdict: worstVerdict(tiers.map(({ verdict }) => verdict)),
    tiers,
    network: network.rows,
    failures: ledger.failures,
    problems: ledger.problems,
    logits: network.logits,
  };
}

interface Session extends VerifyRequest {
  readonly ledger: Ledger;
  readonly unrounded: Weights;
  readonly stored: Weights<Float32Array>;
  /** Per deploy node: the most roundings on the way to one of its fused weights. */
  readonly roundings: ReadonlyMap<string, number>;
  /** What underflow adds to S: the largest of all arithmetics here, so that they share it. */
  readonly floor: number;
}

function checkTheCheck(ledger: Ledger): void {
  const { checked, survivors } = runCanaries();
  const problems = survivors.map((name) => `the comparison let the canary "${name}" pass`);
  ledger.note('canaries', problems.length === 0 ? 'pass' : 'fail', checked, problems);
}

function checkFusion(fusion: Fusion, ledger: Ledger): void {
  const { checked, problems } = checkStructure(fusion);
  ledger.note('structure', problems.length === 0 ? 'pass' : 'fail', checked, problems);
}

function roundingsOf(fusion: Fusion): ReadonlyMap<string, number> {
  const shapes = weightShapesByKey(fusion.reference);
  const counts = fuseIn(fusion, roundingsField, (key) => new Float64Array(elements(shapes.get(key)!)));
  const most = (key: string): number => {
    const { values = [] as ArrayLike<number> } = counts.get(key) ?? {};
    let result = 0;
    for (let i = 0; i < values.length; i++) result = Math.max(result, values[i]!);
    return result;
  };
  return new Map(
    fusion.network.nodes.map(({ name, weights }) => [name, Math.max(0, ...Object.values(weights).map(most))]),
  );
}

/** Walks the oracle from the input to the logits, and checks the chosen pieces on the way. */
async function checkPieces(session: Session, all: readonly Piece[], chosen: ReadonlySet<Piece>): Promise<void> {
  const { fusion, weights, input } = session;
  const lastUse = new Map(all.flatMap((piece) => piece.reference.inputs.map((name) => [name, piece] as const)));
  const values = new Map(fusion.reference.inputs.map((name) => [name, input]));
  for (const [done, piece] of all.entries()) {
    session.onProgress?.(done, all.length, piece.name);
    const inputs = new Map(piece.reference.inputs.map((name) => [name, values.get(name)!]));
    let output: Tensor;
    if (chosen.has(piece)) {
      checkWeights(session, piece);
      output = await checkPiece(session, piece, inputs, 'own');
      const probe = probeOf(session, piece, inputs);
      if (probe !== undefined) await checkPiece(session, probe.piece, probe.inputs, 'probe');
    } else {
      output = await outputOf(piece.reference, weights, inputs);
    }
    values.set(piece.reference.output, toFloat32(output));
    for (const name of piece.reference.inputs) if (lastUse.get(name) === piece) values.delete(name);
  }
}

async function outputOf(network: Network, weights: Weights, inputs: Values): Promise<Tensor<Float64Array>> {
  return (await evaluateFloat64(network, weights, inputs)).get(network.output)!;
}

/** Are the stored deploy weights, bit for bit, the ones that our fuser makes? */
function checkWeights({ ledger, stored, unrounded }: Session, piece: Piece): void {
  for (const key of weightShapesByKey(piece.deploy).keys()) {
    const actual = stored.get(key)!;
    const comparison = compareBits(actual.data, toFloat32(unrounded.get(key)!).data);
    ledger.add({ ...describe(piece), tier: 'weights', key, shape: actual.shape, comparison });
  }
}

function describe(piece: Piece): Pick<Finding, 'piece' | 'rules' | 'reference'> {
  const reference = piece.reference.nodes.filter(({ op }) => op.kind !== 'input').map(({ name }) => name);
  return { piece: piece.name, rules: piece.rules, reference };
}

/** A map just large enough to tell corner, edge and interior apart, for a kernel that the piece's own map cannot fill. */
function probeOf(session: Session, piece: Piece, own: Values): { piece: Piece; inputs: Values } | undefined {
  const convolutions = [...piece.reference.nodes, ...piece.deploy.nodes].filter((node) => isKind(node, 'conv2d'));
  const [input] = piece.deploy.inputs;
  const isConv = isKind(piece.deploy.nodes.at(-1), 'conv2d');
  if (!isFused(piece) || !isConv || input === undefined) return undefined;
  const [, channels = 1, height = 1, width = 1] = piece.deploy.nodes[0]!.shape;
  const extents = ([0, 1] as const).map((axis) =>
    convolutions.map(({ op }) => (op.kernel[axis] - 1) * op.dilation[axis] + 1),
  );
  const enough = extents.map((lengths) => 2 * Math.max(...lengths) - 1) as [number, number];
  if (height >= enough[0] && width >= enough[1]) return undefined;
  const shape = [1, channels, ...enough];
  const source = piece.inputs.get(input)!;
  return {
    piece: {
      ...piece,
      reference: withInputShapes(piece.reference, new Map([[source, shape]])),
      deploy: withInputShapes(piece.deploy, new Map([[input, shape]])),
    },
    inputs: new Map([[source, scaledTo(own.get(source)!, session.probe(shape, `${piece.name}.probe`))]]),
  };
}

/** The probe times a power of two, as large as the piece's own input: else the region's means and biases drown it. */
function scaledTo(own: Tensor, probe: Tensor<Float32Array>): Tensor<Float32Array> {
  let largest = 0;
  for (const value of own.data) largest = Math.max(largest, Math.abs(value));
  const factor = largest > 0 ? 2 ** Math.floor(Math.log2(largest)) : 1;
  return { shape: probe.shape, data: probe.data.map((value) => value * factor) };
}

/** The algebra and runtime tiers of one piece. Returns the reference's float64 output. */
async function checkPiece(session: Session, piece: Piece, inputs: Values, input: 'own' | 'probe'): Promise<Tensor> {
  const { ledger, weights, unrounded, stored, engines, floor } = session;
  const reference = await Evaluated.of(piece.reference, weights, inputs);
  const deployInputs = new Map([...piece.inputs].map(([name, source]) => [name, inputs.get(source)!]));
  const common = { ...describe(piece), input, shape: reference.output.shape };
  if (!reference.output.data.every(Number.isFinite)) {
    const comparison = undecided('inconclusive', "the oracle's own value is not finite");
    ledger.add({ ...common, tier: isFused(piece) ? 'algebra' : 'runtime', comparison });
    return reference.output;
  }
  const deploy = await Evaluated.of(piece.deploy, stored, deployInputs);
  if (isFused(piece)) {
    const extra = (await deploy.magnitude(floor, FLOAT64)).operations + session.roundings.get(piece.name)!;
    const { bound, operations } = errorBound(await reference.magnitude(floor, FLOAT64), FLOAT64, extra);
    const actual = await outputOf(piece.deploy, unrounded, deployInputs);
    const comparison = compareWithin(actual, reference.output, bound);
    ledger.add({ ...common, tier: 'algebra', operations, comparison });
  }
  const forms: (readonly [Form, Evaluated])[] = isFused(piece)
    ? [
        ['reference', reference],
        ['deploy', deploy],
      ]
    : [['both', deploy]];
  for (const [form, evaluated] of forms) {
    for (const engine of engines) {
      const { precision, name } = engine.info;
      const { bound, operations } = errorBound(await evaluated.magnitude(floor, precision), precision);
      const comparison = await compareRun(engine, evaluated, bound);
      ledger.add({ ...common, tier: 'runtime', engine: name, form, operations, comparison });
    }
  }
  return reference.output;
}

/** Where S may overflow there is no bound to compare with. */
function compareWithin(actual: Tensor, expected: Tensor, bound: Float64Array): Comparison {
  if (!bound.every(Number.isFinite)) return undecided('inconclusive', 'the values may overflow, so there is no bound');
  return compare(actual.data, expected.data, bound);
}

/** A comparison that compared nothing, and why. */
function undecided(verdict: Verdict, reason: string): Comparison {
  return { verdict, compared: 0, failures: 0, worstRatio: 0, worst: [], reason };
}

async function compareRun(engine: Engine, evaluated: Evaluated, bound: Float64Array): Promise<Comparison> {
  const { network, weights, inputs, output } = evaluated;
  let loaded: LoadedNetwork | undefined;
  try {
    loaded = await engine.load(network, weights);
    return compareWithin(await loaded.run(inputs), output, bound);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return undecided(error instanceof UnsupportedOp ? 'inconclusive' : 'fail', reason);
  } finally {
    await loaded?.dispose();
  }
}

/** A small network on its inputs: its float64 values, and its magnitudes, each computed once. */
class Evaluated {
  readonly network: Network;
  readonly weights: Weights;
  readonly inputs: Values;
  readonly #values: ReadonlyMap<string, Tensor<Float64Array>>;
  readonly #magnitudes = new Map<number, Promise<Magnitude>>();

  private constructor(
    network: Network,
    weights: Weights,
    inputs: Values,
    values: ReadonlyMap<string, Tensor<Float64Array>>,
  ) {
    this.network = network;
    this.weights = weights;
    this.inputs = inputs;
    this.#values = values;
  }

  static async of(network: Network, weights: Weights, inputs: Values): Promise<Evaluated> {
    return new Evaluated(network, weights, inputs, await evaluateFloat64(network, weights, inputs, { keep: 'all' }));
  }

  get output(): Tensor<Float64Array> {
    return this.#values.get(this.network.output)!;
  }

  /** Shared by all precisions that see the same S: of affine pieces, by all. */
  magnitude(floor: number, precision: Precision): Promise<Magnitude> {
    // Only GELU looks at the engine's erf.
    const looksAtErf = this.network.nodes.some(({ op }) => op.kind === 'gelu');
    const { erfError } = magnitudeOptions(precision);
    const options = { floor, erfError: looksAtErf ? erfError : 0 };
    const known = this.#magnitudes.get(options.erfError);
    if (known !== undefined) return known;
    const computed = magnitude(this.network, this.weights, this.#values, options);
    this.#magnitudes.set(options.erfError, computed);
    return computed;
  }
}

/** End to end: what the user sees. Fails only on what is not a number; the other tiers decide. */
async function checkNetworks(
  session: Session,
  done: number,
): Promise<{ rows: NetworkRow[]; logits: Map<string, Tensor<Float32Array>> }> {
  const { fusion, weights, stored, unrounded, input, engines, ledger } = session;
  const forms = [
    { form: 'reference', network: fusion.reference, weights },
    { form: 'deploy', network: fusion.network, weights: stored },
  ] as const;
  const inputsOf = (network: Network) => new Map(network.inputs.map((name) => [name, input]));
  const expected = await outputOf(fusion.reference, weights, inputsOf(fusion.reference));
  const rows: NetworkRow[] = [];
  const logits = new Map<string, Tensor<Float32Array>>();
  const report = (engine: string, form: Form, actual: Tensor) => {
    const row = { engine, form, logits: compareLogits(actual, expected) };
    rows.push(row);
    const decided = expected.data.every(Number.isFinite);
    const verdict = decided ? (row.logits.finite ? 'pass' : 'fail') : 'inconclusive';
    const whose = decided ? `${engine}'s logits of the ${form} form` : "the oracle's own logits";
    const problems = row.logits.finite ? [] : [`${whose} are not all finite`];
    ledger.note('network', verdict, row.logits.elements, problems, { engine, form });
  };
  report('float64, unrounded', 'deploy', await outputOf(fusion.network, unrounded, inputsOf(fusion.network)));
  report('float64', 'deploy', await outputOf(fusion.network, stored, inputsOf(fusion.network)));
  for (const engine of engines) {
    for (const { form, network, weights: formWeights } of forms) {
      session.onProgress?.(done, done, `${engine.info.name}, whole ${form} network`);
      try {
        const loaded = await engine.load(network, formWeights);
        try {
          const output = await loaded.run(inputsOf(network));
          logits.set(`${engine.info.name}/${form}`, output);
          report(engine.info.name, form, output);
        } finally {
          await loaded.dispose();
        }
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        const verdict = error instanceof UnsupportedOp ? 'inconclusive' : 'fail';
        ledger.note('network', verdict, 0, [reason], { engine: engine.info.name, form });
      }
    }
  }
  return { rows, logits };
}

/** A tier that had nothing to compare is not a pass: it is put on the record. */
function expectEveryTier({ ledger, engines, only }: Session, chosen: readonly Piece[]): void {
  const expected: Tier[] = ['runtime'];
  if (chosen.some((piece) => weightShapesByKey(piece.deploy).size > 0)) expected.push('weights');
  if (only === undefined || chosen.some(isFused)) expected.push('algebra');
  const present = new Set(ledger.summaries().map(({ tier }) => tier));
  for (const tier of expected) {
    if (!present.has(tier)) {
      const why = tier === 'runtime' && engines.length === 0 ? 'no engine was given' : 'no piece has any';
      ledger.note(tier, 'nothing compared', 0, [`the ${tier} tier compared nothing: ${why}`]);
    }
  }
}
