import { fuse } from '../fused/fuse.ts';
import { cost } from '../interpreters/cost.ts';
import { familyOf, type ModelConfig } from '../reference/families.ts';
import type { Variant } from '../reference/family.ts';
import { variants } from '../reference/variants.ts';

/** A published network and the size of its deploy form. */
export interface ListedModel extends Variant<ModelConfig> {
  /** What tells it from the others of its family: title and value. */
  readonly traits: Readonly<Record<string, string>>;
  readonly deployParameters: number;
}

/** Every published network. */
export function listModels(): readonly ListedModel[] {
  return variants.map((variant) => {
    const { config, resolution, name } = variant;
    const { build, traits } = familyOf(config);
    const { network } = fuse(build(config, { batch: 1, height: resolution, width: resolution }, name));
    return { ...variant, traits: traits(config), deployParameters: cost(network).total.parameters };
  });
}
