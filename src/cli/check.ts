import { Command } from 'commander';
import { parseThreads } from './options.ts';
import { exitCodeOf, note, print, printJson, setExitCode } from './output.ts';

const EXAMPLES = `
Input and output are looked for where the certificate says, as seen from its own
folder. Both are hashed, the output is made again from the input and compared
byte by byte, and every tier is tried again.

Example:
  fuseproof check fused.safetensors.certificate.json`;

interface Options {
  readonly threads?: number;
  readonly json?: boolean;
}

async function runCheck(certificate: string, options: Options): Promise<void> {
  const [{ checkFile }, { progressLine }, { openDefaultEngines }] = await Promise.all([
    import('../certify/check-file.ts'),
    import('./progress-line.ts'),
    import('./subject.ts'),
  ]);
  const line = await progressLine();
  const threads = options.threads === undefined ? {} : { threads: options.threads };
  const task = `check ${certificate}`;
  const check = await checkFile({
    certificate,
    openEngines: (names) => openDefaultEngines(undefined, names, threads, note),
    onProgress: (done, total, what) => line.show({ task, done, total, what }),
  }).finally(() => line.clear());
  setExitCode(exitCodeOf(check.verdict));
  if (options.json) {
    const { proof: _, ...rest } = check;
    printJson(rest);
    return;
  }
  const { wrap } = await import('../report/text.ts');
  print(`${certificate}: ${check.verdict}`);
  for (const { what, verdict, problem } of check.items) {
    print(wrap(`${what}${problem === undefined ? '' : `: ${problem}`}`, `  ${verdict}: `, '    '));
  }
}

/** `fuseproof check` */
export function checkCommand(): Command {
  return new Command('check')
    .description('try a certificate again: hash its files, make the output again, repeat the proof')
    .argument('<certificate>', 'OUT.certificate.json, as "fuseproof fuse" wrote it')
    .option('--threads <n>', 'threads of an engine that can use several', parseThreads)
    .option('--json', 'print what was checked as JSON')
    .addHelpText('after', EXAMPLES)
    .action(runCheck);
}
