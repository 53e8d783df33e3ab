/** Layers a few at a time, so that what they hold together stays within a bound. */

/** Neighbours in their order; one that alone is above `limit` comes alone. */
export function* portions<T>(items: readonly T[], limit: number, sizeOf: (item: T) => number): Generator<T[]> {
  let portion: T[] = [];
  let held = 0;
  for (const item of items) {
    const own = sizeOf(item);
    if (portion.length > 0 && held + own > limit) {
      yield portion;
      portion = [];
      held = 0;
    }
    portion.push(item);
    held += own;
  }
  if (portion.length > 0) yield portion;
}
