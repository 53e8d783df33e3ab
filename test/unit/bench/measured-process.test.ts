/** The meter of processes sees what their children take, too. */
import { expect, test } from 'vitest';
import { runMeasured } from '../../../bench/quantization/measured-process.js';

const holding = (megabytes: number) => `const held = Buffer.alloc(${megabytes} * 2 ** 20, 1); setTimeout(() => held.length, 400);`;

test('the peak is of the whole tree, and the exit code and the output are handed on', async () => {
  const child = `require('child_process').spawn(process.execPath, ['-e', ${JSON.stringify(holding(150))}]);`;
  const tree = await runMeasured(process.execPath, ['-e', `${child} ${holding(120)} console.log('out'); process.exitCode = 3;`]);
  expect(tree).toMatchObject({ code: 3, stdout: 'out\n', stderr: '' });
  expect(tree.peak_mb).toBeGreaterThan(270);
  expect(tree.wall_s).toBeGreaterThan(0.3);
  expect(tree.cpu_s).toBeGreaterThan(0);
});

test('a program that does not exist is an error', async () => {
  await expect(runMeasured('/no/such/program', [])).rejects.toMatchObject({ code: 'ENOENT' });
});
