/**
 * The exact tier: is the algebra right? Both forms are evaluated in exact fractions, on weights whose every root is
 * rational, and must be equal as fractions: no rounding, so no bound.
 */
import type { Field } from '../fused/field.ts';
import { openFractionField } from '../fused/fractions.ts';
import { type Fusion, fuseIn, onlyFor } from '../fused/fuse.ts';
import type { Values } from '../fused/rule.ts';
import { evaluateRational, type RationalTensor, toNumber } from '../interpreters/rational.ts';
import { weightShapesByKey, withInputShapes } from '../network/graph.ts';
import { isKind, type Network, type Node, type OpKind, type OpOf } from '../network/ops.ts';
import { elements, formatShape, type Shape, sameShape } from '../network/tensor.ts';
import { rationalInput, rationalWeights } from '../weights/rational.ts';
import { type Comparison, type Difference, unitInLastPlace, WORST_SHOWN } from './compare.ts';
import type { Finding } from './findings.ts';
import { ownNodes, type Piece, pieces } from './pieces.ts';

/**
 * Compares every piece on an input of its own, and the whole network from its input to its output, through its activations
 * (see {@link evaluateRational}). Whatever a corrupted fusion does is a finding that fails.
 * @param fusion of a small network: every multiplication is one of whole numbers without limit
 * @param seed of the weights and inputs: a whole number from 0 to 2^32 - 1
 * @returns one finding for each piece, then one for the network
 * @throws InputError where the seed is out of range
 */
export async function checkExact(fusion: Fusion, seed: number): Promise<readonly Finding[]> {
  const field = await openFractionField();
  const weights = rationalWeights(fusion.reference, seed, field.of);
  const inputOf = ({ name, shape }: Node) => [name, rationalInput(shape, seed, name, field.of)] as const;
  const inputsOf = ({ nodes }: Network) => new Map(nodes.filter(({ op }) => op.kind === 'input').map(inputOf));
  const given = (key: string) => weights.get(key)!.data;
  const deployWeights = new Map<string, RationalTensor>();

  const comparePiece = (piece: Piece): Compared => {
    const fused = fusePiece(fusion, piece, field, given);
    for (const [key, tensor] of fused) deployWeights.set(key, tensor);
    const { reference, deploy, inputs } = usingEveryTap(piece);
    const read = inputsOf(reference);
    // A corrupted deploy node may read what its region does not: then each form has its own values.
    const renamed = [...inputsOf(deploy)].map(
      ([name, own]) => [name, read.get(inputs.get(name) ?? '') ?? own] as const,
    );
    return compareFractions(
      evaluateRational(deploy, fused, new Map(renamed), field),
      evaluateRational(reference, weights, read, field),
    );
  };
  const compareNetworks = (): Compared => {
    const inputs = inputsOf(fusion.reference);
    return compareFractions(
      evaluateRational(fusion.network, deployWeights, inputs, field),
      evaluateRational(fusion.reference, weights, inputs, field),
    );
  };
  const whole = { tier: 'exact', piece: fusion.reference.name, rules: [], reference: [] } as const;
  try {
    const findings = pieces(fusion).map(
      (piece): Finding => ({
        tier: 'exact',
        piece: piece.name,
        rules: piece.rules,
        reference: piece.reference.nodes.filter(({ op }) => op.kind !== 'input').map(({ name }) => name),
        ...orRefused(() => comparePiece(piece)),
      }),
    );
    return [...findings, { ...whole, ...orRefused(compareNetworks) }];
  } catch (error) {
    return [{ ...whole, ...refused(error) }];
  }
}

type Compared = Pick<Finding, 'shape' | 'comparison'>;

/** What cannot even be computed is not equal: a rule that makes other shapes, a variance left without its eps. */
function orRefused(compare: () => Compared): Compared {
  try {
    return compare();
  } catch (error) {
    return refused(error);
  }
}

function refused(error: unknown): Compared {
  const reason = `cannot be computed: ${error instanceof Error ? error.message : String(error)}`;
  return { shape: [], comparison: failed(reason) };
}

function failed(reason: string): Comparison {
  return { verdict: 'fail', compared: 0, failures: 0, worstRatio: Number.POSITIVE_INFINITY, worst: [], reason };
}

/** Values of one tensor, in any field. */
export interface FieldTensor<T> {
  readonly shape: Shape;
  readonly data: Values<T>;
}

/**
 * The weights of a piece's deploy form, in any field. Only the piece's own rules run, so that what another's do wrong stays
 * there.
 * @param given values of the reference network's keys
 */
export function fusePiece<T>(
  fusion: Fusion,
  { deploy }: Piece,
  field: Field<T>,
  given: (key: string) => Values<T>,
): ReadonlyMap<string, FieldTensor<T>> {
  const shapes = weightShapesByKey(deploy);
  const made = new Map<string, Values<T>>();
  fuseIn(onlyFor(fusion, ownNodes(deploy)), field, given, (key, _shape, values) => made.set(key, values));
  return new Map([...shapes].map(([key, shape]) => [key, { shape, data: made.get(key) ?? given(key) }]));
}

const CONVOLUTIONAL: ReadonlySet<OpKind> = new Set(['input', 'conv2d', 'batchNorm', 'add']);

/** Products of a channel up to which maps are enlarged: 15x15 kernels on maps of 15x15. More would take too long. */
const MOST_PRODUCTS = 15 ** 4;

/** The same piece on a map that the largest of its kernels fits into, so that no tap has padding alone to read. */
function usingEveryTap(piece: Piece): Piece {
  const nodes = [...piece.reference.nodes, ...piece.deploy.nodes];
  if (!nodes.every(({ op }) => CONVOLUTIONAL.has(op.kind))) return piece;
  const convolutions = nodes.filter((node) => isKind(node, 'conv2d'));
  const largest = (length: (op: OpOf<'conv2d'>, axis: 0 | 1) => number) =>
    ([0, 1] as const).map((axis) => Math.max(1, ...convolutions.map(({ op }) => length(op, axis)))) as [number, number];
  const reach = largest(({ kernel, dilation, stride }, axis) => (kernel[axis] - 1) * dilation[axis] + stride[axis]);
  const taps = largest(({ kernel }, axis) => kernel[axis]);
  if (elements(reach) * elements(taps) > MOST_PRODUCTS) return piece;
  const resized = (network: Network): Network => {
    const inputs = network.nodes.filter((node) => isKind(node, 'input'));
    const enlarged = ({ name, shape: [n = 1, c = 1, ...lengths] }: Node) =>
      [name, [n, c, ...lengths.map((length, axis) => Math.max(length, reach[axis]!))]] as const;
    return withInputShapes(network, new Map(inputs.map(enlarged)));
  };
  return { ...piece, reference: resized(piece.reference), deploy: resized(piece.deploy) };
}

/** Equal element by element, as fractions in lowest terms. Ratios are in float32's units in the last place. */
function compareFractions(actual: RationalTensor, expected: RationalTensor): Compared {
  const { shape } = expected;
  if (!sameShape(actual.shape, shape)) {
    return { shape, comparison: failed(`shape ${formatShape(actual.shape)} against ${formatShape(shape)} expected`) };
  }
  const differences: Difference[] = [];
  for (let index = 0; index < expected.data.length; index++) {
    const [a, e] = [actual.data[index]!, expected.data[index]!];
    if (a.equals(e)) continue;
    const value = toNumber(e);
    const ratio = Math.max(1, Math.abs(toNumber(a.sub(e))) / unitInLastPlace(value));
    differences.push({ index, expected: value, actual: toNumber(a), bound: 0, ratio });
  }
  const worst = differences.toSorted((a, b) => b.ratio - a.ratio).slice(0, WORST_SHOWN);
  const compared = expected.data.length;
  const verdict = compared === 0 ? 'nothing compared' : differences.length > 0 ? 'fail' : 'pass';
  const worstRatio = worst[0]?.ratio ?? 0;
  return { shape, comparison: { verdict, compared, failures: differences.length, worstRatio, worst } };
}
