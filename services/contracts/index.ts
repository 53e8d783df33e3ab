/** The words that all processes share. Imports nothing of ours. */
export * from './accelerator-profile.js';
export * from './api-key.js';
export * from './compression-job.js';
export * from './compression-recipe.js';
export * from './errors.js';
export * from './job-catalog.js';
export * from './resource-id.js';
export * from './union-branches.js';
export * from './webhook-events.js';
