/** The routes of /v1/jobs. */

import type { ApiDeps } from '../deps.js';
import type { Api } from '../http/typed-app.js';
import { cancelJob } from './cancel-job.js';
import { type CreateJobDeps, createJob } from './create-job.js';
import { getJob } from './get-job.js';
import { listJobArtifacts } from './list-job-artifacts.js';
import { listJobEvents } from './list-job-events.js';
import { listJobs } from './list-jobs.js';
import { retryJob } from './retry-job.js';

export function registerJobs(app: Api, deps: CreateJobDeps & Pick<ApiDeps, 'artifacts' | 'cursors'>): void {
  createJob(app, deps);
  listJobs(app, deps);
  getJob(app, deps);
  cancelJob(app, deps);
  retryJob(app, deps);
  listJobEvents(app, deps);
  listJobArtifacts(app, deps);
}
