/** Why the database could not be made ready: sentences for the person who starts the service. */

export class DatabaseServerError extends Error {
  override readonly name = 'DatabaseServerError';
}

/** The two ways on that exist wherever the embedded server cannot run. */
export const waysOut =
  'Either set DATABASE_URL to a Postgres server (13 or newer), or run on a platform with binaries (Linux glibc x64 or arm64, macOS, Windows x64).';
