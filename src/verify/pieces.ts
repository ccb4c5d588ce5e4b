import type { Fusion } from '../fused/fuse.ts';
import { subnetwork } from '../network/graph.ts';
import type { Network } from '../network/ops.ts';

/**
 * What is verified at a time: one node of the deploy form, and the reference nodes that it stands for. Every node of
 * both networks is in exactly one piece.
 */
export interface Piece {
  /** The deploy node's name. */
  readonly name: string;
  /** Rules that made it; empty for a node that is the same in both forms. */
  readonly rules: readonly string[];
  readonly reference: Network;
  readonly deploy: Network;
  /** The reference's name of each of the deploy node's inputs. */
  readonly inputs: ReadonlyMap<string, string>;
}

export function isFused(piece: Piece): boolean {
  return piece.rules.length > 0;
}

/** Names of a piece's nodes of one form, but for its inputs, which are other pieces'. */
export function ownNodes({ nodes }: Network): readonly string[] {
  return nodes.filter(({ op }) => op.kind !== 'input').map(({ name }) => name);
}

/** The pieces in topological order. */
export function pieces(fusion: Fusion): Piece[] {
  const regions = new Map(fusion.regions.map((region) => [region.deploy, region]));
  return fusion.network.nodes
    .filter(({ name, op }) => op.kind !== 'input' && fusion.sameValue.has(name))
    .map(({ name }) => {
      const region = regions.get(name);
      const deploy = subnetwork(fusion.network, new Set([...(region?.inner ?? []), name]), name);
      return {
        name,
        rules: region?.rules ?? [],
        reference: subnetwork(fusion.reference, new Set(region?.reference ?? [name]), fusion.sameValue.get(name)!),
        deploy,
        inputs: new Map(deploy.inputs.map((input) => [input, fusion.sameValue.get(input)!])),
      };
    });
}
