import { isKind, type Network } from '../network/ops.ts';
import { type Fusion, fuse, type Keeps, rules } from './fuse.ts';
import type { Rule } from './rule.ts';
import { localityInjection } from './rules/locality-injection.ts';
import { setLinearBatchNorm } from './rules/set-linear-batch-norm.ts';

/** A deploy form: what is folded, and which batch norms stay on purpose. */
export interface DeployForm {
  readonly name: 'deploy' | 'deploy-official';
  readonly rules: readonly Rule[];
  readonly keeps: Keeps;
}

/** Everything that folds, folded: no batch norm is left. */
const complete: DeployForm = { name: 'deploy', rules, keeps: () => false };

/** What RepMLPNet's `locality_injection()` does: only the perceptrons over windows are merged. */
const official: DeployForm = {
  name: 'deploy-official',
  rules: [setLinearBatchNorm, localityInjection],
  keeps: ({ name }) => !/\.(fc3_bn|repconv\d+\.bn)$/.test(name),
};

/** The deploy forms that a train-form network has; the complete one is the last. */
export function deployForms(network: Network): readonly [...DeployForm[], DeployForm] {
  return network.nodes.some((node) => isKind(node, 'setLinear')) ? [official, complete] : [complete];
}

/** Rewrites a train-form network into one of its deploy forms. */
export function fuseTo(form: DeployForm, reference: Network): Fusion {
  return fuse(reference, form.rules, form.keeps);
}
