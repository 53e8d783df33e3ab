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

  it('says how much time is left, in words that fit the size', () => {
    const texts = [0.4, 40, 720, 12_600].map((seconds) => {
      const out = { ...stream(true), columns: 100 };
      progressBar(out).update(0.5, 'training', seconds);
      return out.written.join('').split('%  ')[1];
    });
    expect(texts).toEqual(['training', 'training, 40 s left', 'training, 12 min left', 'training, 3.5 h left']);
  });

  it('gives its own width to a long message: loss, metric, speed and time stand on a line of 80 characters', () => {
    const out = { ...stream(true), columns: 80 };
    progressBar(out).update(0.42, 'epoch 1 of 3: loss 0.1234, accuracy 93.1 %, 312 steps/s', 3);
    expect(out.written.join('')).toContain('  42 %  epoch 1 of 3: loss 0.1234, accuracy 93.1 %, 312 steps/s, 3 s left');
  });
});
