/** Slots are the indices of an axis; those that can only go together are one class. Union-find with path halving. */

/** The slot of an index that never goes. */
export const FIXED = 0;

export class SlotClasses {
  private readonly parents: number[] = [FIXED];
  /** How often two classes became one. */
  unions = 0;

  /** `count` new slots, each a class of its own. */
  make(count: number): Int32Array {
    const first = this.parents.length;
    return Int32Array.from({ length: count }, (_, at) => {
      this.parents.push(first + at);
      return first + at;
    });
  }

  /** The slot that stands for the class. */
  find(slot: number): number {
    let at = slot;
    for (let parent = this.parents[at] ?? FIXED; parent !== at; parent = this.parents[at] ?? FIXED) {
      this.parents[at] = this.parents[parent] ?? FIXED;
      at = this.parents[at] ?? FIXED;
    }
    return at;
  }

  /** Makes one class of two. FIXED is no class: whoever meets it must be frozen instead. */
  union(left: number, right: number): void {
    const [a, b] = [this.find(left), this.find(right)];
    if (a === FIXED || b === FIXED) throw new RangeError('SlotClasses: an index that never goes has no class');
    // The lower one leads, so that the outcome does not depend on the order of unions.
    if (a === b) return;
    this.parents[Math.max(a, b)] = Math.min(a, b);
    this.unions += 1;
  }
}
