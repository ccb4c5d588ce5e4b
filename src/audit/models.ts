import { fuse } from '../fused/fuse.ts';
import { cost } from '../interpreters/cost.ts';
import { buildNetwork } from '../reference/config.ts';
import { type Variant, variants } from '../reference/variants.ts';

/** A published network and the size of its deploy form. */
export interface ListedModel extends Variant {
  readonly deployParameters: number;
}

/** Every published network. */
export function listModels(): readonly ListedModel[] {
  return variants.map((variant) => {
    const size = { batch: 1, height: variant.resolution, width: variant.resolution };
    const { network } = fuse(buildNetwork(variant.config, size, variant.name));
    return { ...variant, deployParameters: cost(network).total.parameters };
  });
}
