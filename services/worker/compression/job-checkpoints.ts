/** Between the attempts of a job: the folder in which a training keeps where it stands, so that the next attempt goes on there. */
import { rm } from 'node:fs/promises';
import { isTerminal, type JobState } from '#contracts';

/** `state`: what an attempt wrote; null when another worker has the job, and perhaps the folder. It goes when the job has ended. */
export async function removeCheckpoints(folder: string, state: JobState | null): Promise<void> {
  if (state !== null && isTerminal(state)) await rm(folder, { recursive: true, force: true });
}
