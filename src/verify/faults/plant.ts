/** Where a fault is planted: one seam in front of `verify`, which is never changed itself. */
import type { Engine } from '../../engines/engine.ts';
import type { DeployForm } from '../../fused/forms.ts';
import type { Node } from '../../network/ops.ts';
import type { Tier } from '../findings.ts';
import type { VerifyRequest } from '../verify.ts';

interface Named {
  /** The fault's id. */
  readonly fault: string;
  /** What is corrupted: a rule by its name, `graph`, `weight keys`, `stored weights`, `engine` or `request`. */
  readonly place: string;
  /** Every one of these tiers must see it: what its nature calls for. */
  readonly tiers: readonly [Tier, ...Tier[]];
}

/** Corrupts what is verified. */
export interface RequestPlant extends Named {
  readonly kind: 'request';
  /** The request with the fault in it; undefined where it finds nothing to corrupt. Its seed chooses between several places. */
  readonly corrupt: (
    right: VerifyRequest,
    form: DeployForm,
  ) => VerifyRequest | undefined | Promise<VerifyRequest | undefined>;
}

/** Corrupts the engine that it runs on. */
export interface EnginePlant extends Named {
  readonly kind: 'engine';
  /** Whether it may compute the node wrongly. */
  readonly isSuspect: (node: Node) => boolean;
  /** @param onDifference told whenever a node's value is not, bit for bit, the right engine's */
  readonly corrupt: (engine: Engine, onDifference: () => void) => Engine;
}

export type Plant = RequestPlant | EnginePlant;
