/** The database: one pool, Prisma over it, transactions. Repositories are functions of a tenant and a Db. */
import { PrismaPg } from '@prisma/adapter-pg';
import { type Prisma, PrismaClient } from './generated/client.js';

/** What a repository needs: a client or an open transaction. */
export type Db = Prisma.TransactionClient;

export interface Database {
  /** For single statements. */
  readonly db: Db;
  /** Runs `work` in one transaction (read committed); rolled back when it throws. */
  transaction<T>(work: (tx: Db) => Promise<T>): Promise<T>;
  ping(): Promise<void>;
  close(): Promise<void>;
}

export interface DatabaseOptions {
  readonly url: string;
  readonly poolSize?: number;
}

export function openDatabase({ url, poolSize = 10 }: DatabaseOptions): Database {
  const adapter = new PrismaPg({
    connectionString: url,
    max: poolSize,
    connectionTimeoutMillis: 5_000,
    idleTimeoutMillis: 30_000,
    // A process that freezes inside a transaction would hold its row locks for as long as it sleeps.
    idle_in_transaction_session_timeout: 16_000,
  });
  const prisma = new PrismaClient({ adapter });
  return {
    db: prisma,
    transaction: (work) => prisma.$transaction(work, { maxWait: 5_000, timeout: 15_000 }),
    ping: async () => {
      await prisma.$queryRaw`SELECT 1`;
    },
    close: () => prisma.$disconnect(),
  };
}
