/** The door to Postgres: the database and the repositories over it. */
export * from './cancel-job.js';
export * from './database.js';
export { Prisma } from './generated/client.js';
export * from './notification.js';
export * from './outbox.js';
export * from './record-job-event.js';
export * from './webhook-event-repository.js';
