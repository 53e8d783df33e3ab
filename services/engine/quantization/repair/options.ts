/** Options of repair-qdq, as the recipe writes them. */

export interface RepairQdqOptions {
  /** Kinds of findings to repair; default all that can be repaired exactly. */
  readonly only?: readonly string[];
}
