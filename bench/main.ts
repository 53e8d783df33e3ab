/** `npm run bench -- NAME [ARGUMENTS]`: runs one benchmark; each prints JSON with the CPU that it ran on. */
import process, { argv, stderr } from 'node:process';

const benchmarks = {
  'clean-up': () => import('./clean-up.js'),
  'dynamic-int8': () => import('./dynamic-int8.js'),
  quantization: () => import('./quantization.js'),
  sparsity: () => import('./sparsity.js'),
  'low-rank': () => import('./low-rank.js'),
  pruning: () => import('./pruning.js'),
  training: () => import('./training.js'),
  embedded: () => import('./embedded.js'),
  forecasting: () => import('./forecasting.js'),
  'large-models': () => import('./large-models.js'),
  'api-latency': () => import('./api-latency.js'),
} as const satisfies Record<string, () => Promise<unknown>>;

const name = argv[2] ?? '';
if (Object.hasOwn(benchmarks, name)) {
  // The benchmark reads its own arguments from where it would find them if it were started by itself.
  argv.splice(2, 1);
  await benchmarks[name as keyof typeof benchmarks]();
} else {
  stderr.write(`There is no benchmark '${name}'. Choose one of: ${Object.keys(benchmarks).join(', ')}\n`);
  process.exitCode = 2;
}
