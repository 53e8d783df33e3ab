/** How a model learned, in a few lines: what was trained, then the loss on the way. */
import type { CompressionReport } from '#engine';
import { formatCount, formatShare, significant, textTable } from './text-table.js';

type Training = CompressionReport['training'][number];
type Point = Training['curve'][number];

/** Points of a curve that are printed; report.json has all. */
const POINTS = 6;

export function learningCurves({ training }: CompressionReport): string[] {
  return training.flatMap((each) => [headline(each), indented(curveTable(pointsOf(each.curve)))]);
}

function headline({ method, losses, steps, seconds, steps_per_second, parameters, resumed_at, regularizer }: Training): string {
  const again = resumed_at > 0 ? `, resumed at step ${formatCount(resumed_at)}` : '';
  const pulled = regularizer
    ? `; ${regularizer.kind} ${regularizer.strength}: ${formatCount(regularizer.near_zero)} of ${formatCount(regularizer.units)} channels near zero`
    : '';
  return `${method}: ${losses.join(' + ')}, ${formatCount(parameters)} parameters, ${formatCount(steps)} steps in ${significant(seconds)} s (${significant(steps_per_second)} steps/s)${again}${pulled}`;
}

/** Evenly over the run; the last one is always among them. */
function pointsOf(curve: readonly Point[]): readonly Point[] {
  const count = Math.min(POINTS, curve.length);
  return Array.from({ length: count }, (_, at) => curve[Math.ceil(((at + 1) * curve.length) / count) - 1]).filter(
    (point) => point !== undefined,
  );
}

function curveTable(points: readonly Point[]): string {
  const hasAccuracy = points.some(({ accuracy }) => accuracy !== undefined);
  const rows = points.map(({ epoch, loss, accuracy, learning_rate }) => [
    epoch.toFixed(1),
    significant(loss),
    ...(hasAccuracy ? [formatShare(accuracy ?? null)] : []),
    learning_rate.toExponential(1),
  ]);
  return textTable([['epoch', 'loss', ...(hasAccuracy ? ['accuracy'] : []), 'learning rate'], ...rows]);
}

const indented = (text: string): string => text.replaceAll(/^/gm, '  ');
