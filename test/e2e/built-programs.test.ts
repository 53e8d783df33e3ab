/** What `npm run build` puts into each program: the images of the API and of the webhooks carry no native onnxruntime (docker/Dockerfile). */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { builtService } from '../support/built-service.js';

/** Text of a built program and of every part that it may load. */
function textOf(file: string, seen = new Map<string, string>()): string {
  if (!seen.has(file)) {
    const text = readFileSync(file, 'utf8');
    seen.set(file, text);
    for (const [, part] of text.matchAll(/(?:from|import)\s*\(?\s*"(\.[^"]+\.js)"/g))
      textOf(path.join(path.dirname(file), part ?? ''), seen);
  }
  return [...seen.values()].join('\n');
}

describe('built programs', () => {
  test.each(['worker/compression/engine-process.js', 'cli/main.js'])('%s can load onnxruntime', async (program) => {
    expect(textOf(await builtService(program))).toContain('"onnxruntime-node"');
  });

  test.each(['api/main.js', 'api/uploads/inspection-thread.js', 'webhooks/main.js', 'worker/main.js'])(
    '%s loads nothing of onnxruntime',
    async (program) => {
      expect(textOf(await builtService(program))).not.toContain('"onnxruntime-node"');
    },
  );
});
