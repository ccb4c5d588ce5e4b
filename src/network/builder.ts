import { InputError } from './errors.ts';
import type { Network, Node, Op, Role } from './ops.ts';
import { inferShape, inferWeightShapes } from './shapes.ts';
import type { Shape } from './tensor.ts';

/** Collects nodes in topological order and infers their shapes. */
export class NetworkBuilder {
  readonly #name: string;
  readonly #nodes = new Map<string, Node>();
  readonly #inputs: string[] = [];

  constructor(name: string) {
    this.#name = name;
  }

  /** An input of the network; returns its name. */
  input(name: string, shape: Shape): string {
    this.#inputs.push(name);
    return this.#append({ name, op: { kind: 'input' }, inputs: [], weights: {}, shape });
  }

  /**
   * Appends a node and returns its name. Its weights get the keys `NAME.ROLE`, as in a PyTorch state_dict.
   * @throws InputError where the shapes of the inputs do not fit the op
   */
  add(name: string, op: Op, inputs: readonly string[]): string {
    const shapes = inputs.map((input) => this.shape(input));
    const draft = { name, op, inputs, weights: {}, shape: [] } as Node;
    const roles = inferWeightShapes(draft, shapes).map(([role]): [Role, string] => [role, `${name}.${role}`]);
    return this.#append({ ...draft, weights: Object.fromEntries(roles), shape: inferShape(draft, shapes) });
  }

  /** Shape of a node that was added before. */
  shape(name: string): Shape {
    const node = this.#nodes.get(name);
    if (node === undefined) throw new Error(`${name} is used before it is added`);
    return node.shape;
  }

  build(output: string): Network {
    this.shape(output);
    return { name: this.#name, nodes: [...this.#nodes.values()], inputs: this.#inputs, output };
  }

  #append(node: Node): string {
    if (this.#nodes.has(node.name)) throw new Error(`${node.name} is added twice`);
    if (node.shape.some((dimension) => !Number.isSafeInteger(dimension) || dimension < 1)) {
      throw new InputError(
        `${node.name}: shape [${node.shape.join(', ')}]; every dimension must be a whole number of at least 1`,
      );
    }
    this.#nodes.set(node.name, node);
    return node.name;
  }
}
