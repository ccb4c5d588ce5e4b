import { roundingsField } from '../fused/field.ts';
import { type Fusion, fuseIn, onlyFor, type Region } from '../fused/fuse.ts';
import { nodesByName, weightShapesByKey } from '../network/graph.ts';
import { elements } from '../network/tensor.ts';

/**
 * Per deploy node: the most roundings on the way to one of its fused weights. They are counted by carrying counts
 * through the fusion as if they were weights; of regions of one structure, through one.
 */
export function roundingsOf(fusion: Fusion): ReadonlyMap<string, number> {
  const structure = structures(fusion);
  const examples = new Map(fusion.regions.map(({ deploy }) => [structure.get(deploy)!, deploy]));
  const counts = countRoundings(fusion, new Set(examples.values()));
  return new Map(
    fusion.network.nodes.map(({ name }) => {
      const example = examples.get(structure.get(name) ?? '');
      return [name, example === undefined ? 0 : counts.get(example)!];
    }),
  );
}

/** For each region's deploy node its rules, and its reference nodes with what they read of each other. */
function structures({ reference, regions }: Fusion): ReadonlyMap<string, string> {
  const nodes = nodesByName(reference);
  const describe = (region: Region): string => {
    const parts = region.reference.map((name) => {
      const { op, shape, inputs } = nodes.get(name)!;
      return [op, shape, inputs.map((input) => region.reference.indexOf(input))];
    });
    return JSON.stringify([region.rules, parts]);
  };
  return new Map(regions.map((region) => [region.deploy, describe(region)]));
}

/** Only for these deploy nodes, and only by the steps that they need. */
function countRoundings(fusion: Fusion, deployNodes: ReadonlySet<string>): ReadonlyMap<string, number> {
  const owners = new Map<string, string>();
  for (const { name, weights } of fusion.network.nodes) {
    if (deployNodes.has(name)) for (const key of Object.values(weights)) owners.set(key, name);
  }
  const shapes = weightShapesByKey(fusion.reference);
  const sizes = new Map([...shapes].map(([key, shape]) => [key, elements(shape)]));
  // Given weights have no roundings, and are never written to.
  const zeros = new Float64Array([...sizes.values()].reduce((most, size) => Math.max(most, size), 0));
  const most = new Map([...deployNodes].map((name) => [name, 0]));
  fuseIn(
    onlyFor(fusion, deployNodes),
    roundingsField,
    (key) => zeros.subarray(0, sizes.get(key)!),
    (key, _shape, counts) => {
      const owner = owners.get(key);
      if (owner === undefined) return;
      let largest = most.get(owner)!;
      for (let i = 0; i < counts.length; i++) largest = Math.max(largest, counts[i]!);
      most.set(owner, largest);
    },
  );
  return most;
}
