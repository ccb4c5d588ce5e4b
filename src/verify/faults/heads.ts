/** Mistakes in averaging the classifier's heads. */
import type { Match, Values } from '../../fused/rule.ts';
import { averageHeads } from '../../fused/rules/average-heads.ts';
import { type FaultyRule, faulty, mapped, matched } from './mistake.ts';

function headKeys(match: Match): readonly string[] {
  return match.replaced.filter(({ op }) => op.kind === 'linear').flatMap(({ weights }) => Object.values(weights));
}

export const averageHeadsFaults: readonly FaultyRule[] = [
  // The sum, not the mean.
  faulty('head-sum', averageHeads, {
    fused: (field, match, right) => {
      const factor = field.of(matched(match, 'scale').op.factor);
      const unscaled = (values: Values<ReturnType<typeof field.of>>) =>
        mapped(field, values, (value) => field.div(value, factor));
      return {
        weight: unscaled(right.weight!),
        ...(right.bias === undefined ? {} : { bias: unscaled(right.bias) }),
      };
    },
  }),
  faulty('head-one', averageHeads, {
    read: (field, match, key, { read }) => {
      const first = match.replaced.find(({ op }) => op.kind === 'linear')!;
      const other = headKeys(match).includes(key) && !Object.values(first.weights).includes(key);
      return other ? mapped(field, read(key), () => field.of(0)) : read(key);
    },
  }),
  faulty('head-bias-not-averaged', averageHeads, {
    fused: (field, match, right) => {
      if (right.bias === undefined) return right;
      const factor = field.of(matched(match, 'scale').op.factor);
      return { ...right, bias: mapped(field, right.bias, (value) => field.div(value, factor)) };
    },
  }),
  faulty('head-transposed', averageHeads, {
    fused: (field, match, right) => {
      const { outFeatures } = matched(match, 'linear').op;
      const { weight } = right;
      const features = weight!.length / outFeatures;
      return {
        ...right,
        weight: mapped(field, weight!, (_, i) => weight![(i % features) * outFeatures + Math.floor(i / features)]!),
      };
    },
  }),
];
