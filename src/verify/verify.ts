import { type Engine, type LoadedNetwork, UnsupportedOp } from '../engines/engine.ts';
import { magnitudeField, roundingsField } from '../fused/field.ts';
import { type Fusion, fuseIn, fuseWeights, roundWeights } from '../fused/fuse.ts';
import { checkStructure } from '../fused/structure.ts';
import { InputError } from '../network/errors.ts';
import { weightShapesByKey, withInputShapes } from '../network/graph.ts';
import { isKind, type Network } from '../network/ops.ts';
import { FLOAT32, FLOAT64, gamma } from '../network/precision.ts';
import { elements, type Shape, type Tensor, toFloat32, type Weights } from '../network/tensor.ts';
import { errorBound, magnitudeOptions } from './bounds.ts';
import { runCanaries } from './canaries.ts';
import { type Comparison, compare, compareBits, type Verdict } from './compare.ts';
import { Evaluated, outputOf, type Values } from './evaluated.ts';
import {
  type Finding,
  type Form,
  Ledger,
  type NetworkRow,
  type Tier,
  type Verification,
  worstVerdict,
} from './findings.ts';
import { compareLogits } from './logits.ts';
import { isFused, type Piece, pieces } from './pieces.ts';

export { type Finding, type Tier, type TierSummary, type Verification, worstVerdict } from './findings.ts';

export interface VerifyRequest {
  readonly fusion: Fusion;
  /** Name of the deploy form, for the report. */
  readonly form?: string;
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
  /** Only these tiers; all by default. */
  readonly tiers?: readonly Tier[];
  /** A small network of the same make, for the exact tier; the fusion itself by default, where it is small enough. */
  readonly miniature?: Fusion;
  /** Of the values that the exact and the dyadic tier make up; 1 by default. */
  readonly seed?: number;
  /** Told before each piece and each whole network. */
  readonly onProgress?: (done: number, total: number, what: string) => void;
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
      `${only} is no region of ${fusion.reference.name}'s deploy form; a report names them, such as ${all.at(-1)?.name}`,
    );
  }
  const session: Session = {
    ...request,
    ledger,
    unrounded,
    stored: request.deployWeights ?? roundWeights(unrounded),
    roundings: roundingsOf(fusion),
    rounded: roundWeights(weights),
    floor: Math.max(...[FLOAT64, ...engines.map(({ info }) => info.precision)].map((p) => magnitudeOptions(p).floor)),
  };
  await checkPieces(session, all, new Set(chosen));
  const network = only === undefined ? await checkNetworks(session, all.length) : { rows: [], logits: new Map() };
  expectEveryTier(session, chosen);
  const tiers = ledger.summaries();
  return {
    model: fusion.reference.name,
    form: request.form ?? 'deploy',
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
  /** The reference weights as an engine takes them. */
  readonly rounded: Weights<Float32Array>;
  magnitudes?: ReadonlyMap<string, ArrayLike<number>>;
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

/** Per deploy node: the most roundings on the way to one of its fused weights. */
function roundingsOf(fusion: Fusion): ReadonlyMap<string, number> {
  const shapes = weightShapesByKey(fusion.reference);
  const most = new Map<string, number>();
  fuseIn(
    fusion,
    roundingsField,
    (key) => new Float64Array(elements(shapes.get(key)!)),
    (key, _shape, values) => {
      let largest = 0;
      for (let i = 0; i < values.length; i++) largest = Math.max(largest, values[i]!);
      most.set(key, largest);
    },
  );
  return new Map(
    fusion.network.nodes.map(({ name, weights }) => [
      name,
      Math.max(0, ...Object.values(weights).map((key) => most.get(key) ?? 0)),
    ]),
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

/** Are the stored deploy weights, bit for bit, the ones that our fuser makes? */
function checkWeights(session: Session, piece: Piece): void {
  const { ledger, stored, unrounded } = session;
  for (const key of weightShapesByKey(piece.deploy).keys()) {
    const actual = stored.get(key)!;
    const comparison = compareBits(actual.data, toFloat32(unrounded.get(key)!).data);
    const cause =
      comparison.failures > 0 && isFused(piece) ? { roundedInFloat32: isRoundedInFloat32(session, piece, key) } : {};
    ledger.add({ ...describe(piece), tier: 'weights', key, shape: actual.shape, comparison, ...cause });
  }
}

/** Whether fusing in float32, as most tools do, can have made the stored weight. */
function isRoundedInFloat32(session: Session, piece: Piece, key: string): boolean {
  const exact = session.unrounded.get(key)!.data;
  // The magnitudes of the weights, made on the first failure only.
  session.magnitudes ??= magnitudesOf(session);
  const sums = session.magnitudes.get(key)!;
  const factor = gamma(session.roundings.get(piece.name)! + 1, FLOAT32.unitRoundoff);
  const actual = session.stored.get(key)!.data;
  return actual.every((value, i) => Math.abs(value - exact[i]!) <= factor * sums[i]!);
}

function magnitudesOf({ fusion, weights }: Session): ReadonlyMap<string, ArrayLike<number>> {
  const magnitudes = new Map<string, ArrayLike<number>>();
  const absolute = (key: string) => weights.get(key)!.data.map(Math.abs);
  fuseIn(fusion, magnitudeField, absolute, (key, _shape, values) => magnitudes.set(key, values));
  return magnitudes;
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
    if (isFused(piece)) ledger.add({ ...common, tier: 'algebra', comparison });
    for (const { info } of engines) {
      ledger.add({
        ...common,
        tier: 'runtime',
        engine: info.name,
        form: isFused(piece) ? 'deploy' : 'both',
        comparison,
      });
    }
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
        ['reference', await asEngineTakes(session, piece, reference)],
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

/** The reference on float32 weights: the same, unless the state dict holds float64 ones. */
async function asEngineTakes({ weights, rounded }: Session, piece: Piece, reference: Evaluated): Promise<Evaluated> {
  const isRounded = [...weightShapesByKey(piece.reference).keys()].some((key) => weights.get(key) !== rounded.get(key));
  return isRounded ? Evaluated.of(piece.reference, rounded, reference.inputs) : reference;
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
