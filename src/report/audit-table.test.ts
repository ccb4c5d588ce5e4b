import { describe, expect, it } from 'vitest';
import { audit } from '../audit/audit.ts';
import { listModels } from '../audit/models.ts';
import { resolveModels } from '../reference/config.ts';
import { auditTable, modelsTable } from './audit-table.ts';

async function tableOf(...names: string[]): Promise<string> {
  return auditTable(audit(await resolveModels(names)));
}

/** The table without its line breaks. */
function flat(text: string): string {
  return text.replace(/\s+/g, ' ');
}

function longestLine(text: string): number {
  return Math.max(...text.split('\n').map((line) => line.length));
}

describe('auditTable', () => {
  it('fits a terminal of 80 columns', async () => {
    expect(longestLine(await tableOf('all'))).toBeLessThanOrEqual(80);
  });

  it('shows every form with its counts', async () => {
    const table = flat(await tableOf('repvit_m0_9'));
    expect(table).toContain('repvit_m0_9 at 224x224');
    expect(table).toContain('train 2 5,489,328 817,280,832 7,446,072');
    expect(table).toContain('train 1 5,103,560 816,896,832 7,445,072');
    expect(table).toContain('deploy 1 5,067,056 815,617,344 6,165,584');
  });

  it('says what fusing removes', async () => {
    expect(flat(await tableOf('repvit_m0_9'))).toContain(
      'Fusing removes 422,272 parameters: 385,768 of the second head, 36,504 of branches and BN. From one head to deploy: MACs -0.16 %, activations -17.19 %.',
    );
    expect(flat(await tableOf('repvit_m0_9_cifar100'))).toContain(
      'Fusing removes 36,504 parameters of branches and BN.',
    );
  });

  it('explains a figure that fits another form', async () => {
    expect(flat(await tableOf('repvit_m1_1'))).toContain(
      'README.md: 8.2 M parameters: that is deploy (8,244,312); train with two heads has 8,802,912.',
    );
  });

  it('explains a figure that fits the other RepVGGDW only', async () => {
    expect(flat(await tableOf('repvit_m1_1'))).toContain(
      'training logs, 300 epochs: 8,797,984 parameters: that is train with two heads, legacy RepVGGDW (8,797,984);',
    );
  });

  it('says that a figure fits nothing', async () => {
    expect(flat(await tableOf('repvit_m3'))).toContain(
      'training logs, 300 epochs: 10,681,488 parameters fits no form; nearest is train with two heads (10,682,832).',
    );
  });

  it('shows both deploy forms of RepMLPNet, and what each changes', async () => {
    const table = flat(await tableOf('repmlpnet_t224'));
    expect(table).toContain('train 1 38,293,608 2,807,987,200 8,007,752 303');
    expect(table).toContain('deploy-official 1 38,331,720 2,798,453,760 6,101,064 231');
    expect(table).toContain('deploy 1 38,353,032 2,798,453,760 6,101,064 154');
    expect(table).toContain('From train to deploy-official: parameters +38,112, MACs -0.34 %, activations -23.81 %.');
    expect(table).toContain('From train to deploy: parameters +59,424,');
    expect(table).toContain('2 of 2 published figures are what they seem.');
  });

  it("explains figures of RepMLPNet that fit the original's deploy form only, or no form", async () => {
    expect(flat(await tableOf('repmlpnet_t256'))).toContain(
      'DingXiaoH/RepMLP README.md: 4.2 G MACs: that is deploy-official (4,245,626,880); train has 4,258,078,720.',
    );
    expect(flat(await tableOf('repmlpnet_b256'))).toContain(
      'DingXiaoH/RepMLP README.md: 96.5 M parameters fits no form; nearest is train (96,447,512).',
    );
  });

  it('is silent about a figure that is what it seems', async () => {
    expect(await tableOf('repvit_m1_1')).not.toContain('450 epochs');
  });

  it('says where nothing was published', async () => {
    expect(await tableOf('repvit_m0_6')).toContain('No published counts to compare with.');
  });
});

describe('modelsTable', () => {
  it('has a line of at most 80 columns for each network', () => {
    const table = modelsTable(listModels());
    expect(longestLine(table)).toBeLessThanOrEqual(80);
    expect(flat(table)).toContain('repvit_m3 64,128,256,512 4,4,18,2 legacy 2x1000 224 10,115,720');
    expect(table.split('\n').filter((line) => line.startsWith('rep')).length).toBe(17);
    expect(flat(table)).toContain('repmlpnet_l256 96,192,384,768 64,32,16,8 2,2,18,2 1,4,32,256 256 117,951,064');
    expect(flat(table)).toContain('repvit_m2_3_cifar100 80,160,320,640 6,6,34,2 current 1x100 32 22,349,892');
  });
});
