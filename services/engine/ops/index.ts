/** What the engine knows about operators. */
export * from './operator-set.js';
