import { families, type ModelConfig } from './families.ts';
import type { Variant } from './family.ts';

/** Every published network, family by family. */
export const variants: readonly Variant<ModelConfig>[] = Object.values(families).flatMap(
  (family): readonly Variant<ModelConfig>[] => family.variants,
);
