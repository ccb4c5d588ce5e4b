import { InputError } from '../network/errors.ts';
import { weightShapesByKey } from '../network/graph.ts';
import type { Network } from '../network/ops.ts';

/** What a graph's input and output are called; by default as the network's nodes. */
export interface ValueNames {
  readonly inputName?: string;
  readonly outputName?: string;
}

/**
 * The name of each of a network's values in a graph that is written.
 * @throws InputError where a name is empty or taken
 */
export function valueNames(network: Network, { inputName, outputName }: ValueNames): (name: string) => string {
  const renamed = new Map<string, string>();
  if (inputName !== undefined) renamed.set(network.inputs[0] ?? '', inputName);
  if (outputName !== undefined) renamed.set(network.output, outputName);
  const taken = new Set([...network.nodes.map(({ name }) => name), ...weightShapesByKey(network).keys()]);
  for (const [from, to] of renamed) {
    const isTaken = (from !== to && taken.has(to)) || (inputName === outputName && from === network.output);
    if (to !== '' && !isTaken) continue;
    throw new InputError(
      `${JSON.stringify(to)} cannot be the name of ${network.name}'s ${from}: ${to === '' ? 'it is empty' : 'another value has it'}; choose another`,
    );
  }
  return (name) => renamed.get(name) ?? name;
}
