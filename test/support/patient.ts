/** For vi.waitFor, which gives up after a second by itself: a busy machine may take longer, and nobody waits longer for what has happened. */
export const patient = { timeout: 20_000 } as const;
