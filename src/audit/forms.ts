import { deployForms, fuseTo } from '../fused/forms.ts';
import type { Network } from '../network/ops.ts';
import type { Model } from '../reference/config.ts';
import { familyOf, type ModelConfig } from '../reference/families.ts';
import type { TrainForm } from '../reference/family.ts';
import type { Form } from './published.ts';

/** The family's kind of block, where it has several: RepVGGDW with an outer BN (`current`), or with two ConvNorms (`legacy`). */
export type Flavour = TrainForm<ModelConfig>['flavour'];

/** A form of a model, built for one image. */
export interface BuiltForm extends Form {
  readonly flavour: Flavour;
  /** What a sentence calls the form. */
  readonly title: string;
  readonly network: Network;
}

/**
 * A train form of a model for one image.
 * @throws InputError where the model's resolution does not fit it
 */
export function buildTrain({ name, resolution }: Model, form: TrainForm<ModelConfig>): BuiltForm {
  const { config, heads, flavour, title } = form;
  const size = { batch: 1, height: resolution, width: resolution };
  return { form: 'train', heads, flavour, title, network: familyOf(config).build(config, size, name) };
}

/**
 * Train form with two heads where the model has them, train form with one, the original's deploy form where that leaves
 * batch norms, complete deploy form; each for one image.
 * @throws InputError where the model's resolution does not fit it
 */
export function buildForms(model: Model): readonly [BuiltForm, ...BuiltForm[]] {
  const [first, ...simpler] = familyOf(model.config).ownForms(model.config);
  const reference = buildTrain(model, first);
  // What a train form fuses to has one head, whether it has one or two.
  const deployed = deployForms(reference.network).map((form): BuiltForm => {
    const { network } = fuseTo(form, reference.network);
    return { form: form.name, heads: 1, flavour: first.flavour, title: form.name, network };
  });
  return [reference, ...simpler.map((form) => buildTrain(model, form)), ...deployed];
}
