import { createRequire } from 'node:module';
import { Command, CommanderError } from 'commander';
import { InputError, MismatchError } from '../network/errors.ts';
import { auditCommand } from './audit.ts';
import { benchCommand } from './bench.ts';
import { checkCommand } from './check.ts';
import { doctorCommand } from './doctor.ts';
import { evaluateCommand } from './evaluate.ts';
import { faultsCommand } from './faults.ts';
import { fuseCommand } from './fuse.ts';
import { goldenCommand } from './golden.ts';
import { modelsCommand } from './models.ts';
import { EXIT, note } from './output.ts';
import { reportCommand } from './report.ts';
import { runCommand } from './run.ts';
import { verifyCommand } from './verify.ts';

const COMMANDS = [
  fuseCommand,
  checkCommand,
  verifyCommand,
  evaluateCommand,
  faultsCommand,
  modelsCommand,
  auditCommand,
  benchCommand,
  reportCommand,
  runCommand,
  goldenCommand,
  doctorCommand,
];

const EXIT_CODES = `
Exit codes: 0 pass, 1 mismatch, 2 bad usage or bad input, 3 inconclusive,
4 a planted fault survived, 5 goldens wait for a review, 70 a fault of fuseproof itself.`;

/** Runs the command line and returns its exit code; see {@link EXIT}. */
export async function main(argv: readonly string[]): Promise<number> {
  // A reader that has seen enough (fuseproof ... 2>&1 | head) is no error, and ends no run: its files are still written.
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error;
    });
  }
  const { version } = createRequire(import.meta.url)('../../package.json') as { version: string };
  const program = new Command('fuseproof')
    .description('Proof that the network you deploy is the network you trained.')
    .version(version)
    .addHelpText('after', EXIT_CODES);
  for (const command of COMMANDS) program.addCommand(command());
  const commands = [program, ...program.commands];
  for (const command of [...commands, ...program.commands.flatMap(({ commands: inner }) => inner)]) {
    command.exitOverride().showSuggestionAfterError().showHelpAfterError('Try --help.');
  }
  try {
    await program.parseAsync(argv);
    return Number(process.exitCode ?? EXIT.pass);
  } catch (error) {
    return exitCodeOfError(error);
  }
}

function exitCodeOfError(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.pass : EXIT.usage;
  if (error instanceof InputError) {
    const isMismatch = error instanceof MismatchError;
    note(`${isMismatch ? 'mismatch' : 'error'}: ${error.message}`);
    return isMismatch ? EXIT.mismatch : EXIT.usage;
  }
  note(`fuseproof failed, which is its own fault: ${error instanceof Error ? error.stack : String(error)}`);
  return EXIT.internal;
}
