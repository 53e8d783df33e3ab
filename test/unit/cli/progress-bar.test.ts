/** The progress bar draws on a terminal and is silent elsewhere. */
import { describe, expect, it } from 'vitest';
import { progressBar } from '../../../services/cli/progress-bar.js';

function stream(isTTY: boolean): { isTTY: boolean; columns: number; written: string[]; write(text: string): boolean } {
  const written: string[] = [];
  return { isTTY, columns: 60, written, write: (text) => written.push(text) > 0 };
}

describe('progressBar', () => {
  it('writes nothing where no terminal is, so that logs stay readable', () => {
    const out = stream(false);
    const bar = progressBar(out);
    bar.update(0.5, 'half');
    bar.end();
    expect(out.written).toEqual([]);
  });

  it('never writes more than the terminal is wide', () => {
    const out = stream(true);
    progressBar(out).update(0.5, 'a message '.repeat(20));
    expect(out.written.join('').replace('\r\x1b[2K', '').length).toBeLessThan(60);
  });

  it('shows the end even when it comes right after another update', () => {
    const out = stream(true);
    const bar = progressBar(out);
    bar.update(0.5, 'half');
    bar.update(0.51, 'skipped');
    bar.update(1, 'done');
    expect(out.written.join('')).toContain('100 %  done');
    expect(out.written.join('')).not.toContain('skipped');
  });
});
