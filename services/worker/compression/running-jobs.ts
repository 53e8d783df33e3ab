/** The jobs at work in this process: whom a cancellation reaches at once, and who is told to stop at shutdown. */
import type { LeaseKeeper } from './lease-keeper.js';

export class RunningJobs {
  private readonly keepers = new Map<string, LeaseKeeper>();
  private stopping = false;

  /** Returns how to take it off again. */
  add(jobId: string, keeper: LeaseKeeper): () => void {
    this.keepers.set(jobId, keeper);
    if (this.stopping) keeper.stop('shutdown');
    return () => {
      if (this.keepers.get(jobId) === keeper) this.keepers.delete(jobId);
    };
  }

  /** A notification said that this job is to be canceled; the row says whether it is true. */
  check(jobId: string): void {
    this.keepers.get(jobId)?.check();
  }

  /** Notifications may have been lost: look at every row. */
  checkAll(): void {
    for (const keeper of this.keepers.values()) keeper.check();
  }

  stopAll(): void {
    this.stopping = true;
    for (const keeper of this.keepers.values()) keeper.stop('shutdown');
  }
}
