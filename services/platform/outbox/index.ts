/** The outbox relay: from committed rows to queue messages. */
export * from './relay-outbox.js';
