import { describe, expect, test } from 'vitest';
import { InputError } from '../../network/errors.ts';
import { faultsNamed, groupOf, NOT_APPLICABLE, plantedFaults } from './catalogue.ts';

/** The published catalogue of fusion faults. */
const KNOWN = `
  bn-eps-tf bn-eps-zero bn-eps-outside bn-no-sqrt bn-mean-dropped bn-mean-sign bn-beta-dropped bn-axis
  bn-depthwise-axis bn-affine-false bn-conv-bias-unscaled bn-outer-skipped bn-outer-bias-unscaled bn-repeat
  bn-linear-bias-lost bn-orphan-deleted bn-wrong-pair bn-batch-stats bn-var-swapped bn-fuse-f32
  geo-branch-omitted geo-pad-fixed geo-even-centre geo-pad-hw-swapped geo-offset geo-flip geo-transpose
  geo-identity-missing geo-identity-double geo-identity-grouped geo-identity-axes geo-identity-ones
  geo-groups-in-channels geo-dilation geo-padding-zero geo-padding-as-stride geo-stride-merge geo-bias-padding
  geo-bn-before-padding geo-same-asymmetric geo-fc-transpose geo-nonsquare-reshape geo-partition-ragged
  geo-layout-flatten geo-set-order
  act-gelu-tanh act-dropped act-se-order head-sum head-one head-softmax res-missing
  life-fused-twice life-aliased life-noop life-shared-conv life-train-mode life-dtype life-layout life-partial-keys
  num-bf16 num-one-weight-10 num-one-weight-16 num-channel-swap`
  .trim()
  .split(/\s+/);

describe('the catalogue', () => {
  const planted = plantedFaults();

  test('plants every known fault, or says why it cannot', () => {
    const ids = new Set([...planted, ...NOT_APPLICABLE].map(({ id }) => id));
    expect(KNOWN.filter((id) => !ids.has(id))).toEqual([]);
  });

  test('has each fault once, in at least one place', () => {
    const ids = [...planted, ...NOT_APPLICABLE].map(({ id }) => id);
    expect(ids.length).toBe(new Set(ids).size);
    expect(planted.filter(({ plants }) => plants.length === 0)).toEqual([]);
  });

  test('leaves out no mistake that is written down', async () => {
    const [{ convBatchNormFaults, repVggDwFaults, mergingFaults }, norms, windows, { averageHeadsFaults }] =
      await Promise.all([import('./kernels.ts'), import('./norms.ts'), import('./windows.ts'), import('./heads.ts')]);
    const [{ graphPlants }, { storedPlants }, { enginePlants }, { requestPlants }] = await Promise.all([
      import('./graphs.ts'),
      import('./stored.ts'),
      import('./engines.ts'),
      import('./requests.ts'),
    ]);
    const rules = [
      ...convBatchNormFaults,
      ...repVggDwFaults,
      ...mergingFaults,
      ...norms.batchNormConvFaults,
      norms.batchNormBeforePadding,
      ...norms.batchNormPoolFaults,
      ...norms.batchNormLinearFaults,
      ...norms.setLinearBatchNormFaults,
      ...norms.batchNormWindowLinearFaults,
      ...windows.localityInjectionFaults,
      ...windows.windowLinearFaults,
      ...averageHeadsFaults,
    ];
    const plants = [...graphPlants, ...storedPlants, ...enginePlants, ...requestPlants];
    const written = [...rules.map(({ name }) => name), ...plants.map(({ fault }) => fault)].sort();
    expect(planted.flatMap(({ id, plants: own }) => own.map(() => id)).sort()).toEqual(written);
  });

  test('knows the group of each', () => {
    const groups = new Set(planted.map(({ id }) => groupOf(id)));
    expect([...groups]).toEqual(['batch norm', 'geometry', 'activation, residual, head', 'lifecycle and data']);
  });
});

describe('faultsNamed', () => {
  test('gives each fault once, in the order asked', async () => {
    const found = await faultsNamed(['geo-flip', 'bn-eps-tf', 'geo-flip']);
    expect(found.map(({ id }) => id)).toEqual(['geo-flip', 'bn-eps-tf']);
  });

  test('names the nearest to one that is unknown', async () => {
    await expect(faultsNamed(['bn-esp-tf'])).rejects.toThrow(InputError);
    await expect(faultsNamed(['bn-esp-tf'])).rejects.toThrow(/unknown fault bn-esp-tf; did you mean bn-eps-tf\?/);
  });

  test('says why one cannot be planted', async () => {
    await expect(faultsNamed(['life-layout'])).rejects.toThrow(InputError);
    await expect(faultsNamed(['life-layout'])).rejects.toThrow(/cannot be planted: a tensor here is always contiguous/);
  });
});
