/** A range of real values, both ends included. */
export interface Range {
  readonly low: number;
  readonly high: number;
}
