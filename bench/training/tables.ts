/** The result as Markdown for docs/benchmarks.md. */
import { digits, type Line, markdownTable, verdictTable } from '../quantization/tables.js';
import type { Verdict } from '../quantization/thresholds.js';

const text = (value: unknown): string => (typeof value === 'string' || typeof value === 'number' ? String(value) : '');

function gradientsTable(lines: readonly Line[]): string {
  const rows = lines
    .filter((line) => line.section === 'gradients' && line.failed === undefined)
    .map((line) => [
      text(line.subject),
      text(line.parameters),
      ...[line.difference, line.single_difference, line.torch_difference].map((value) => digits(value)),
    ]);
  const head = ['Model', 'Parameters', 'to float64', 'to float32', 'float32 of PyTorch to float64'];
  return rows.length === 0 ? '' : `### Largest relative difference to the gradients of PyTorch\n\n${markdownTable(head, rows)}`;
}

function speedTable(lines: readonly Line[]): string {
  const rows = lines
    .filter((line) => line.section === 'speed' && line.failed === undefined)
    .map((line) => [
      text(line.subject),
      ...[line.steps_per_s, line.torch_steps_per_s, line.ratio, line.rss_mb, line.torch_rss_mb].map((value) => digits(value)),
    ]);
  const head = ['Network', 'Steps per second', 'PyTorch', 'Ratio', 'Peak, MB', 'PyTorch'];
  return rows.length === 0 ? '' : `### Steps of training\n\n${markdownTable(head, rows)}`;
}

function learningTable(lines: readonly Line[]): string {
  const rows = lines
    .filter(
      (line) =>
        ['scratch', 'distillation', 'recovery', 'reconstruction', 'low-bit'].includes(text(line.section)) && line.failed === undefined,
    )
    .map((line) => [
      text(line.section),
      text(line.subject),
      text(line.seed),
      text(line.epochs),
      ...[line.top1, line.speedup, line.seconds].map((value) => digits(value)),
    ]);
  const head = ['Section', 'What', 'Seed', 'Epochs', 'Top-1', 'Speed', 'Seconds'];
  return rows.length === 0 ? '' : `### Learned on Fashion-MNIST\n\n${markdownTable(head, rows)}`;
}

function forecastingTable(lines: readonly Line[]): string {
  const rows = lines
    .filter((line) => line.section === 'forecasting' && line.failed === undefined)
    .map((line) => [text(line.subject), text(line.loss), text(line.epochs), text(line.windows), digits(line.mse), digits(line.seconds)]);
  const head = ['Network', 'Loss', 'Epochs', 'Windows', 'MSE', 'Seconds'];
  return rows.length === 0 ? '' : `### Forecasters of ETTh1, 96 hours to 24\n\n${markdownTable(head, rows)}`;
}

export function report(lines: readonly Line[], verdicts: readonly Verdict[]): string {
  return [gradientsTable(lines), speedTable(lines), learningTable(lines), forecastingTable(lines), verdictTable(verdicts)]
    .filter((each) => each !== '')
    .join('\n\n');
}
