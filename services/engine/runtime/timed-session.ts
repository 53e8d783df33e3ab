/** How a session that is timed is opened. */

/**
 * Threads spin, as a program with the runtime's default settings sees it, but only between the runs of one turn: those of a session whose turn
 * is over otherwise hold a core for milliseconds while another one is timed. Two files in turns on two cores took twice their
 * time, and the ratio of a model to its faster copy was anything from .8 to 2 (docs/decisions/0014).
 */
export const timedConfig = { 'session.intra_op.allow_spinning': '1', 'session.intra_op.spin_duration_us': '100' } as const;
