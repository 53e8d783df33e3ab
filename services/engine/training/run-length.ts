/** How many steps one run of the runtime takes. */

/** A run cannot be cancelled and tells nothing until it is over. */
const RUN_MS = 50;
const RUN_BYTES = 8 * 2 ** 20;
/** What a run costs beside its steps is then a few hundredths of theirs, also where a step takes less than a millisecond. */
const RUN_STEPS = 16;

/** As many steps as fit in a short time and a little memory, by what the run before took. */
export class RunLength {
  private msPerStep = RUN_MS;
  private bytesPerStep = RUN_BYTES;

  get steps(): number {
    const most = Math.min(RUN_STEPS, RUN_MS / this.msPerStep, RUN_BYTES / Math.max(1, this.bytesPerStep));
    return Math.max(1, Math.floor(most));
  }

  took(ms: number, steps: number): void {
    this.msPerStep = ms / steps;
  }

  /** `bytes`: what one batch takes. */
  weighed(bytes: number): void {
    this.bytesPerStep = bytes;
  }
}
