/** Every known mistake in fusing a network: what it is, who made it, and where it is planted. */
import { fuse } from '../../fused/fuse.ts';
import { InputError } from '../../network/errors.ts';
import { enginePlants } from './engines.ts';
import { graphPlants } from './graphs.ts';
import { averageHeadsFaults } from './heads.ts';
import { convBatchNormFaults, mergingFaults, repVggDwFaults } from './kernels.ts';
import type { FaultyRule } from './mistake.ts';
import {
  batchNormBeforePadding,
  batchNormConvFaults,
  batchNormLinearFaults,
  batchNormPoolFaults,
  batchNormWindowLinearFaults,
  setLinearBatchNormFaults,
} from './norms.ts';
import type { Plant, RequestPlant } from './plant.ts';
import { requestPlants } from './requests.ts';
import { storedPlants } from './stored.ts';
import { localityInjectionFaults, windowLinearFaults } from './windows.ts';

export interface Fault {
  readonly id: string;
  /** What is done wrong. */
  readonly title: string;
  /** Where it was seen: `owner/repository#number` on GitHub, or a project; `plausible` where only the algebra suggests it. */
  readonly source: string;
}

export interface PlantedFault extends Fault {
  /** Every place where it is planted. */
  readonly plants: readonly Plant[];
}

/** A known fault that cannot be planted. */
export interface NotApplicable extends Fault {
  readonly reason: string;
}

const GROUPS: Readonly<Record<string, string>> = {
  bn: 'batch norm',
  geo: 'geometry',
  act: 'activation, residual, head',
  res: 'activation, residual, head',
  head: 'activation, residual, head',
  life: 'lifecycle and data',
  num: 'lifecycle and data',
};

/** The group that a fault's id says. */
export function groupOf(id: string): string {
  return GROUPS[id.slice(0, id.indexOf('-'))]!;
}

const PLAUSIBLE = 'plausible';

function fault(id: string, title: string, source = PLAUSIBLE): Fault {
  return { id, title, source };
}

const FAULTS: readonly Fault[] = [
  fault('bn-eps-tf', "eps 1e-3, TensorFlow's default, for PyTorch's 1e-5", 'gzuidhof/nn-transfer#3'),
  fault('bn-eps-zero', 'eps left out'),
  fault('bn-eps-outside', 'eps added after the square root'),
  fault('bn-no-sqrt', 'the variance where its root belongs'),
  fault('bn-mean-dropped', 'running mean ignored'),
  fault('bn-mean-sign', 'running mean added, not subtracted'),
  fault('bn-beta-dropped', 'beta ignored'),
  fault('bn-axis', "factor on the kernel's wrong axis, input for output", 'ultralytics/ultralytics#25364'),
  fault('bn-depthwise-axis', 'the same for a depthwise kernel', 'tensorflow/tensorflow#11370'),
  fault('bn-affine-false', 'missing beta filled with ones', 'huggingface/optimum'),
  fault('bn-conv-bias-unscaled', "the convolution's own bias not scaled"),
  fault('bn-outer-skipped', "RepVGGDW's outer batch norm not folded"),
  fault('bn-outer-bias-unscaled', 'outer batch norm folded into the kernel, not into the summed bias'),
  fault('bn-repeat', 'factors of share-sets repeated, not interleaved, over the rows of fc3'),
  fault('bn-linear-bias-lost', 'weight * shift lost, where a batch norm goes into the layer behind it'),
  fault(
    'bn-orphan-deleted',
    'a batch norm with no convolution before it replaced by the identity',
    'THU-MIG/RepViT#39',
  ),
  fault('bn-wrong-pair', 'paired with the wrong convolution, by order of registration', 'open-mmlab/mmcv'),
  fault('bn-batch-stats', 'statistics of the batch, not the running ones', 'DingXiaoH/RepVGG#9, apple/ml-mobileone#8'),
  fault('bn-var-swapped', "one branch's variance used for another's"),
  fault('bn-fuse-f32', 'fused in float32, not in float64 and rounded once', 'every reference project'),
  fault('bn-var-reversed', 'variances in reverse order of the channels'),
  fault('bn-layer-bias-lost', "the layer's own bias lost"),
  fault('bn-first-group', "the first group's factors in every group"),
  fault('bn-pool-sum', 'the shift before a pool counted once for each pixel'),
  fault('bn-var-of-other-branch', "one local branch's variances used for another's"),
  fault('bn-shift-lost', 'rank-one bias of a batch norm before fc3 lost'),
  fault('bn-row-sum-columns', "sums of fc3's columns, not of its rows"),
  fault('bn-row-sum-one', 'row sums of fc3 taken as 1'),
  fault('bn-scale-slow-axis', 'channel scales with the share-set as the slow axis'),
  fault('bn-shift-slow-axis', 'channel shifts with the share-set as the slow axis'),
  fault('bn-into-shared-weights', "one channel's factor in weights that a share-set has in common"),

  fault('geo-branch-omitted', 'a branch left out', 'YeongHyeon/RepVGG-TF2#1'),
  fault('geo-pad-fixed', 'small kernel padded by 1 whatever the large one', 'timm RepVggDw.fuse'),
  fault('geo-even-centre', 'wrong centre for an even kernel'),
  fault('geo-pad-hw-swapped', 'padding of height and width swapped', 'DingXiaoH/DiverseBranchBlock#26'),
  fault('geo-offset', 'small kernel laid one tap off the centre'),
  fault('geo-flip', 'kernel flipped: true convolution for cross-correlation'),
  fault('geo-transpose', "kernel's height and width transposed"),
  fault('geo-identity-missing', 'identity branch left out'),
  fault('geo-identity-double', 'identity branch counted twice'),
  fault('geo-identity-grouped', 'identity of a grouped convolution in its first C / g rows only', 'WongKinYiu/yolov7'),
  fault('geo-identity-spread', 'identity at every tap, not at the centre alone'),
  fault('geo-dilation', 'branches of different dilation merged', 'DingXiaoH/RepVGG#57, timm byobnet'),
  fault('geo-padding-zero', 'fused convolution without padding', 'DingXiaoH/RepLKNet-pytorch#48'),
  fault('geo-padding-as-stride', 'padding passed as stride', 'AILab-CVC/UniRepLKNet#8'),
  fault('geo-stride-merge', 'branches of different stride merged'),
  fault('geo-bn-before-padding', 'batch norm folded forward into a padded convolution'),
  fault('geo-same-asymmetric', "TensorFlow's 'same' padding at stride 2", 'keras-team/keras#19291'),
  fault('geo-fc-transpose', 'matrix of fc3 transposed'),
  fault('geo-nonsquare-reshape', 'w * w where h * w belongs', 'mmpretrain RepMLP'),
  fault('geo-layout-flatten', 'windows flattened channels last'),
  fault('geo-set-order', 'share-set as the slow axis of the channels'),
  fault('geo-shifted', 'kernel moved by one column'),
  fault('geo-last-tap', 'the very last tap lost'),
  fault('geo-dilation-lost', 'dilation of the fused convolution lost'),
  fault('geo-branch-bias-lost', 'bias of the small branch lost'),
  fault('geo-branch-double', 'a local branch counted twice'),
  fault('geo-bias-repeat', 'biases of share-sets repeated, not interleaved'),
  fault('geo-bias-lost', 'bias of fc3 lost'),
  fault('geo-pixel-order', 'pixels of a window counted column by column'),
  fault('geo-partition-order', 'windows put back where they were cut, not where the original puts them'),
  fault('geo-window-transpose', "window's height and width swapped"),

  fault('act-gelu-tanh', 'tanh GELU for erf GELU', 'goodfire-ai/spd#624'),
  fault('act-dropped', "activation's result discarded", 'apple/ml-fastvit#2'),
  fault('act-se-order', 'squeeze-and-excite before, not after, the convolution'),
  fault('head-sum', 'two heads summed, not averaged'),
  fault('head-one', 'one of two heads dropped'),
  fault('head-softmax', 'heads averaged after the softmax'),
  fault('head-bias-not-averaged', 'biases of the heads summed'),
  fault('head-transposed', "heads' matrix transposed"),
  fault('res-missing', "FFN's residual lost"),

  fault('life-fused-twice', 'fused twice: scaled again in place', 'WongKinYiu/yolov7 IDetect.fuse'),
  fault('life-aliased', 'fusing changed the model, which is compared with itself', 'open-mmlab/mmcv test'),
  fault('life-noop', 'nothing was fused', 'timm GhostNet convert_to_deploy'),
  fault('life-shared-conv', 'a convolution of two readers folded for one of them', 'pytorch/pytorch#104593'),
  fault('life-train-mode', 'fused in training mode: statistics moved by a batch', 'timm fuse(), THU-MIG/RepViT#39'),
  fault('life-dtype', 'a float64 model fused into float32 layers', 'timm fuse() after .double()'),
  fault('life-partial-keys', 'a missing key left random (strict=False)', 'WongKinYiu/yolov7#491'),
  fault('num-bf16', 'weights stored in bfloat16'),
  fault('num-one-weight-10', 'one weight wrong by 2^-10'),
  fault('num-one-weight-16', 'one weight wrong by 2^-16'),
  fault('num-channel-swap', "two channels' biases swapped"),
];

export const NOT_APPLICABLE: readonly NotApplicable[] = [
  {
    ...fault('geo-identity-ones', 'dense identity of ones, not a Dirac kernel', 'THU-MIG/RepViT Residual.fuse'),
    reason: 'identities are merged into depthwise kernels alone, which have one input channel',
  },
  {
    ...fault('geo-identity-axes', "grouped identity's axes swapped", 'leondgarse/keras_cv_attention_models'),
    reason: 'identities are merged into depthwise kernels alone, whose input axis has length 1',
  },
  {
    ...fault('geo-groups-in-channels', 'in_channels not multiplied by groups', 'facebookresearch/LeViT#22'),
    reason: 'no rule states input channels: they are those of the map that the node reads',
  },
  {
    ...fault(
      'geo-bias-padding',
      'a border not padded by the first bias, 1x1 then kxk',
      'DingXiaoH/DiverseBranchBlock#9',
    ),
    reason: 'no rule merges two convolutions one behind the other',
  },
  {
    ...fault('geo-partition-ragged', 'windows that do not divide the map', 'RepMLP reshape(-1)'),
    reason: 'such a network cannot be built: the size is refused, with the nearest that fit',
  },
  {
    ...fault('life-layout', 'injected weights not contiguous: right, but slower', 'RepMLP locality_injection()'),
    reason: 'a tensor here is always contiguous and row-major',
  },
];

/** Whether a rule is right is a matter of algebra: in fractions, in float64, and weight by weight. */
const OF_ALGEBRA: RequestPlant['tiers'] = ['exact', 'basis', 'algebra'];

/** Beside a large variance another eps moves a weight by hardly more than its rounding to float32 does. */
const OF_MANY_DIGITS: RequestPlant['tiers'] = ['exact', 'algebra'];

function inRule({ name, rule }: FaultyRule): RequestPlant {
  return {
    fault: name,
    place: rule.name,
    kind: 'request',
    tiers: name.startsWith('bn-eps-') ? OF_MANY_DIGITS : OF_ALGEBRA,
    corrupt: (right, { rules, keeps }) => {
      if (!rules.some((own) => own.name === rule.name)) return undefined;
      const faulty = rules.map((own) => (own.name === rule.name ? rule : own));
      return { ...right, fusion: fuse(right.fusion.reference, faulty, keeps) };
    },
  };
}

const faultyRules: readonly FaultyRule[] = [
  ...convBatchNormFaults,
  ...repVggDwFaults,
  ...mergingFaults,
  ...batchNormConvFaults,
  batchNormBeforePadding,
  ...batchNormPoolFaults,
  ...batchNormLinearFaults,
  ...averageHeadsFaults,
  ...setLinearBatchNormFaults,
  ...localityInjectionFaults,
  ...windowLinearFaults,
  ...batchNormWindowLinearFaults,
];

const plants: readonly Plant[] = [
  ...faultyRules.map(inRule),
  ...graphPlants,
  ...storedPlants,
  ...enginePlants,
  ...requestPlants,
];

/** Every fault that can be planted, and where. */
export function plantedFaults(): readonly PlantedFault[] {
  return FAULTS.map((each) => ({ ...each, plants: plants.filter((plant) => plant.fault === each.id) }));
}

/**
 * The faults of these ids, each once.
 * @throws InputError where one is unknown, with the nearest, or known and cannot be planted, with the reason
 */
export async function faultsNamed(ids: readonly string[]): Promise<readonly PlantedFault[]> {
  const all = plantedFaults();
  const { closest } = await import('fastest-levenshtein');
  return [...new Set(ids)].map((id) => {
    const found = all.find((each) => each.id === id);
    if (found !== undefined) return found;
    const barred = NOT_APPLICABLE.find((each) => each.id === id);
    if (barred !== undefined) throw new InputError(`fault ${id} cannot be planted: ${barred.reason}`);
    const nearest = closest(
      id,
      all.map((each) => each.id),
    );
    throw new InputError(`unknown fault ${id}; did you mean ${nearest}? Without --fault all are planted and listed`);
  });
}
