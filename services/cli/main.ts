/** Process entry of `lathe`: the commands, and what a failure looks like from outside. */
import { Command, CommanderError } from 'commander';
import { packageVersion } from '#platform/programs';
import { benchmarkCommand } from './benchmark.js';
import { compressCommand } from './compress.js';
import { demoCommand } from './demo.js';
import { doctorCommand } from './doctor.js';
import { evaluateCommand } from './evaluate.js';
import { describeFailure, exitCodes, type Failure } from './exit-codes.js';
import { inspectCommand } from './inspect.js';
import { methodsCommand } from './methods.js';
import { sampleCommand } from './sample.js';
import { serveCommand } from './serve.js';
import { trainCommand } from './train.js';

const program = new Command('lathe')
  .description('Makes trained ONNX models smaller and faster, and measures what that costs.')
  .version(`lathe ${packageVersion()}`, '--version', 'tell the version')
  .exitOverride()
  .showHelpAfterError('(lathe <command> --help lists the options)');

for (const create of [
  compressCommand,
  trainCommand,
  inspectCommand,
  evaluateCommand,
  benchmarkCommand,
  doctorCommand,
  methodsCommand,
  sampleCommand,
  serveCommand,
  demoCommand,
]) {
  program.addCommand(create().copyInheritedSettings(program));
}

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = fail(error);
}

function fail(error: unknown): number {
  const { code, message, exitCode } = error instanceof CommanderError ? callFailure(error) : describeFailure(error);
  if (exitCode === exitCodes.done) return exitCode;
  if (!(error instanceof CommanderError)) process.stderr.write(`lathe: ${message}\n`);
  if (process.argv.includes('--json')) process.stdout.write(`${JSON.stringify({ error: { code, message } })}\n`);
  return exitCode;
}

/** Commander has already written its message; help and version end with code 0. */
function callFailure({ message, exitCode }: CommanderError): Failure {
  return { code: 'usage', message, exitCode: exitCode === 0 ? exitCodes.done : exitCodes.usage };
}
