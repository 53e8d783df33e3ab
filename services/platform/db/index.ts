/** The door to Postgres: the database and the repositories over it. */
export * from './database.js';
export { Prisma } from './generated/client.js';
