/** What issue 7 asks for under 'Must show' 4 to 6, as data. */
import type { Bound } from '../quantization/thresholds.js';

const most = (limit: number): Bound => ({ limit, kind: 'most' });

export interface AskedFigure {
  readonly figure: 'mse' | 'mape' | 'mase';
  readonly bound: Bound;
}

/** By row of the table of few bits. */
export const asked: Readonly<Record<string, readonly AskedFigure[]>> = {
  'etth 4 bit': [{ figure: 'mse', bound: most(0.378) }],
  'etth 3 bit': [{ figure: 'mse', bound: most(0.45) }],
  'pjm 4 bit': [
    { figure: 'mape', bound: most(0.078) },
    { figure: 'mase', bound: most(1.19) },
  ],
  'pjm 4 bit, cell 8': [
    { figure: 'mape', bound: most(0.049) },
    { figure: 'mase', bound: most(0.71) },
  ],
  'etth 4 bit, trained': [{ figure: 'mse', bound: most(0.365) }],
  'pjm 4 bit, trained': [
    { figure: 'mape', bound: most(0.045) },
    { figure: 'mase', bound: most(0.66) },
  ],
};

export const artifactBytes = most(66_000);
export const artifactError = most(0.001);
/** Time of the artifact over that of the float model; 3 % is noise. */
export const artifactTime = most(1.03);
