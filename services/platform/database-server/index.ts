/** The Postgres server itself: the embedded one, and the schema on whichever is used. Queries go through platform/db. */
export { DatabaseServerError } from './database-server-errors.js';
export { type EmbeddedPostgres, type EmbeddedPostgresOptions, useEmbeddedPostgres } from './embedded-postgres.js';
export { type MigrateOptions, migrate } from './migrations.js';
export { findPostgresBinaries, type PostgresBinaries } from './postgres-binaries.js';
