import { cost } from '../interpreters/cost.ts';
import { nodesByName } from '../network/graph.ts';
import type { OpKind } from '../network/ops.ts';
import type { Shape } from '../network/tensor.ts';
import type { Model } from '../reference/config.ts';
import { familyOf } from '../reference/families.ts';
import { type Convention, type ConventionName, countLayersBy } from './conventions.ts';
import { buildForms } from './forms.ts';
import type { Form } from './published.ts';

/** One node of a network. */
export interface LayerRow {
  /** Module path, as PyTorch's `named_modules`. */
  readonly name: string;
  readonly kind: OpKind;
  /** Of the output, for one image. */
  readonly shape: Shape;
  /** Of its kernel, where it is a convolution. */
  readonly kernel?: readonly [height: number, width: number];
  readonly parameters: number;
  readonly macs: number;
  readonly activations: number;
  /** What the tools asked for count; null where one cannot be asked. */
  readonly counts: Readonly<Partial<Record<ConventionName, number | null>>>;
}

/** One form of one network, node by node. */
export interface LayerReport extends Form {
  readonly model: string;
  /** Height and width of the input, in pixels. */
  readonly resolution: number;
  /** In the network's order, without its input. */
  readonly layers: readonly LayerRow[];
}

/**
 * Counts every node of every form, or of the forms of one name, for one image.
 * @throws InputError where a model's resolution does not fit it
 */
export function auditLayers(
  models: readonly Model[],
  only: Form['form'] | undefined,
  conventions: readonly Convention[],
): readonly LayerReport[] {
  return models.flatMap((model) => {
    const { callOf } = familyOf(model.config);
    return buildForms(model)
      .filter(({ form }) => only === undefined || form === only)
      .map(({ form, heads, network }): LayerReport => {
        const nodes = nodesByName(network);
        const byTool = conventions.map((one) => [one.name, countLayersBy(one, network, callOf)] as const);
        const layers = cost(network).layers.map(({ name, kind, cost: { parameters, macs, activations } }): LayerRow => {
          const { op, shape } = nodes.get(name)!;
          const kernel = op.kind === 'conv2d' ? { kernel: op.kernel } : {};
          const counts = Object.fromEntries(byTool.map(([tool, counted]) => [tool, counted.get(name) ?? null]));
          return { name, kind, shape, ...kernel, parameters, macs, activations, counts };
        });
        return { model: model.name, form, heads, resolution: model.resolution, layers };
      });
  });
}
