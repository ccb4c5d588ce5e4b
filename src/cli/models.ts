import { Command } from 'commander';

const EXAMPLES = `
Examples:
  fuseproof models
  fuseproof models --json`;

async function runModels({ json }: { readonly json?: boolean }): Promise<void> {
  const [{ listModels }, { print, printJson }, { withoutOptimiser }] = await Promise.all([
    import('../audit/models.ts'),
    import('./output.ts'),
    import('./without-optimiser.ts'),
  ]);
  const models = withoutOptimiser(listModels);
  if (json) {
    printJson(models);
    return;
  }
  const { modelsTable } = await import('../report/audit-table.ts');
  print(modelsTable(models));
}

/** `fuseproof models` */
export function modelsCommand(): Command {
  return new Command('models')
    .description('list the published networks, with the parameters of their deploy forms')
    .option('--json', 'print the list as JSON, with each config in full')
    .addHelpText('after', EXAMPLES)
    .action(runModels);
}
