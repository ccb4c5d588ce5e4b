import type { Node } from '../../network/ops.ts';
import { arrayOperations, type Field } from '../field.ts';
import { keyOf, type OwnValues, type Source, type Values } from '../rule.ts';

/**
 * An eval-mode batch norm as factor * x + shift per channel: factor = gamma / sqrt(var + eps),
 * shift = beta - mean * factor. PyTorch, `torch.nn.BatchNorm2d`.
 */
export function batchNormAffine<T>(
  field: Field<T>,
  node: Node<'batchNorm'>,
  { read }: Source<T>,
): { readonly factor: OwnValues<T>; readonly shift: OwnValues<T> } {
  const gamma = read(keyOf(node, 'weight'));
  const beta = read(keyOf(node, 'bias'));
  const mean = read(keyOf(node, 'running_mean'));
  const variance = read(keyOf(node, 'running_var'));
  const eps = field.of(node.op.eps);
  const factor = field.array(gamma.length);
  const shift = field.array(gamma.length);
  for (let c = 0; c < gamma.length; c++) {
    factor[c] = field.div(gamma[c]!, field.sqrt(field.add(variance[c]!, eps)));
    shift[c] = field.sub(beta[c]!, field.mul(mean[c]!, factor[c]!));
  }
  return { factor, shift };
}

/** A layer that is linear in its input: weight [O, I/groups, ...taps], bias [O] or none. */
export interface LinearLayer<T> {
  readonly weight: OwnValues<T>;
  readonly bias: Values<T> | undefined;
  readonly outputs: number;
  readonly groups: number;
  /** Taps of one input channel. */
  readonly taps: number;
}

/**
 * layer(factor * x + shift): the weights of input channel i times factor i; bias' = bias + weight * shift. Writes to the
 * layer's weight.
 */
export function foldInputAffine<T>(
  field: Field<T>,
  { weight, bias, outputs, groups, taps }: LinearLayer<T>,
  { factor, shift }: { readonly factor: Values<T>; readonly shift: Values<T> },
): { readonly weight: OwnValues<T>; readonly bias: OwnValues<T> } {
  const { dot, multiply } = arrayOperations(field);
  const row = weight.length / outputs;
  const sums = field.array(outputs);
  const factors = perTap(field, factor, taps);
  const shifts = perTap(field, shift, taps);
  for (let o = 0; o < outputs; o++) {
    const from = Math.floor(o / (outputs / groups)) * row;
    const start = o * row;
    const end = start + row;
    sums[o] = dot(bias === undefined ? field.of(0) : bias[o]!, weight, start, end, shifts, from);
    multiply(weight, weight, start, end, factors, from);
  }
  return { weight, bias: sums };
}

/** Each channel's value, once for each of its taps. */
function perTap<T>(field: Field<T>, values: Values<T>, taps: number): Values<T> {
  if (taps === 1) return values;
  const repeated = field.array(values.length * taps);
  for (let i = 0; i < repeated.length; i++) repeated[i] = values[Math.floor(i / taps)]!;
  return repeated;
}
