/** Widths that keep a budget and save more time than the cheapest ones, for a little more of what they cost. */
import { type Move, Rungs } from './rungs.js';
import type { WidthProblem } from './width-problem.js';

/** `saved` is the share of time that a removal saves. */
export type SpeedProblem = WidthProblem & Required<Pick<WidthProblem, 'saved'>>;

/** Changes of widths, each of which saves at least this share of the time of the source. */
const CHANGES_MAX = 64;
const GAIN_MIN = 0.002;
/** What two moves together save and keep is worked out for so many pairs, the most promising first. */
const PAIRS_TRIED = 48;
/** Two moves together keep a little less or more than their sum tells. */
const KEPT_SLACK = 1.01;

interface Change {
  readonly moves: readonly Move[];
  readonly gain: number;
  readonly added: number;
  readonly kept: number;
}

/** From `steps` on, which keep the limit, as long as moves of one group or of two save time and the cost stays within `costMax`. */
export function fasterWidths(problem: SpeedProblem, steps: readonly number[], costMax: number): readonly number[] {
  const rungs = new Rungs(problem, steps);
  if (rungs.kept() > problem.limit) return steps;
  for (let changes = 0; changes < CHANGES_MAX; changes += 1) {
    const moves = bestChange(rungs, { limit: problem.limit, room: costMax - rungs.totalCost });
    if (!moves) break;
    rungs.make(...moves);
  }
  return rungs.steps();
}

interface Bounds {
  readonly limit: number;
  /** What may be added to the cost. */
  readonly room: number;
}

/** The change that saves most time per cost. */
function bestChange(rungs: Rungs, { limit, room }: Bounds): readonly Move[] | undefined {
  const present = { saved: rungs.saved(), kept: rungs.kept() };
  const weighed = (...moves: readonly Move[]): Change => {
    const at = rungs.with(...moves);
    return { moves, added: rungs.added(...moves), gain: rungs.saved(at) - present.saved, kept: rungs.kept(at) };
  };
  const fits = ({ gain, added, kept }: Change): boolean => gain >= GAIN_MIN && added <= room && kept <= limit;
  const singles = [...rungs.movesAround()].map((move) => weighed(move));
  const [single] = singles.filter(fits).sort(byWorth);
  if (single) return single.moves;
  const pairs = pairsOf(singles).filter(
    ({ gain, added, kept }) => gain >= GAIN_MIN && added <= room && kept - present.kept <= limit * KEPT_SLACK,
  );
  const likely = pairs.sort(byWorth).slice(0, PAIRS_TRIED);
  return likely.map(({ moves }) => weighed(...moves)).find(fits)?.moves;
}

/** Pairs of moves of different groups, as if what they change added up. */
function pairsOf(singles: readonly Change[]): Change[] {
  return singles.flatMap((one, at) =>
    singles.slice(at + 1).flatMap((other): Change[] =>
      one.moves[0]?.order === other.moves[0]?.order
        ? []
        : [
            {
              moves: [...one.moves, ...other.moves],
              gain: one.gain + other.gain,
              added: one.added + other.added,
              kept: one.kept + other.kept,
            },
          ],
    ),
  );
}

/** What costs nothing first, by what it saves; then by what is saved per cost. */
function byWorth(one: Change, other: Change): number {
  const [isFree, isOtherFree] = [one.added <= 0, other.added <= 0];
  if (isFree !== isOtherFree) return isFree ? -1 : 1;
  return isFree ? other.gain - one.gain : other.gain / other.added - one.gain / one.added;
}
