import type { Family } from './family.ts';
import { repMlpNet } from './repmlpnet.ts';
import { repVit } from './repvit.ts';

/** Every family, under the name that a config's `family` gives: a new one is a file and a line here. */
export const families = { repvit: repVit, repmlpnet: repMlpNet };

type ConfigOf<F> = F extends Family<infer Config> ? Config : never;

/** Any family's config. */
export type ModelConfig = ConfigOf<(typeof families)[keyof typeof families]>;

/** The family that a config names, or undefined. */
export function familyNamed(name: string): Family<ModelConfig> | undefined {
  // Whoever holds a family's config got it from that family, so the two always belong together.
  return Object.hasOwn(families, name) ? (families[name as keyof typeof families] as Family<ModelConfig>) : undefined;
}

/** The family of a config. */
export function familyOf(config: ModelConfig): Family<ModelConfig> {
  return families[config.family] as Family<ModelConfig>;
}
