import { Command, InvalidArgumentError } from 'commander';
import { collect, parseSize } from './options.ts';

interface AuditOptions {
  readonly model?: readonly string[];
  readonly size?: number;
  readonly json?: boolean;
}

function parseSquare(text: string): number {
  const { height, width } = parseSize(text);
  if (height !== width) throw new InvalidArgumentError('The audit counts square inputs; give one number.');
  return height;
}

const EXAMPLES = `
Examples:
  fuseproof audit --model repvit_m0_9 repvit_m1_1
  fuseproof audit --model my-network.json --size 192 --json`;

async function runAudit({ model, size, json }: AuditOptions): Promise<void> {
  const [{ audit }, { resolveModels }, { print, printJson }, { withoutOptimiser }] = await Promise.all([
    import('../audit/audit.ts'),
    import('../reference/config.ts'),
    import('./output.ts'),
    import('./without-optimiser.ts'),
  ]);
  const resolved = await resolveModels(model);
  const models = size === undefined ? resolved : resolved.map((one) => ({ ...one, resolution: size }));
  const report = withoutOptimiser(() => audit(models));
  if (json) {
    printJson(report);
    return;
  }
  const { auditTable } = await import('../report/audit-table.ts');
  print(auditTable(report));
}

/** `fuseproof audit` */
export function auditCommand(): Command {
  return new Command('audit')
    .description('count parameters, MACs and activations of every form, and hold published figures against them')
    .option('-m, --model <names...>', 'published names, config files (.json), or all (default: all)', collect)
    .option(
      '--size <pixels>',
      'height and width of the input (default: the size it was published at, or one that fits from 224 on)',
      parseSquare,
    )
    .option('--json', 'print rows and figures as JSON')
    .addHelpText('after', EXAMPLES)
    .action(runAudit);
}
