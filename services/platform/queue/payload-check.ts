/** Payloads are checked against the catalogue when they are sent and when they arrive. */

import Value from 'typebox/value';
import { type QueueName, type QueuePayload, queueCatalog } from '#contracts';

/** Throws TypeError that names the first fault. */
export function checkPayload<Name extends QueueName>(name: Name, payload: unknown): QueuePayload<Name> {
  const schema = queueCatalog[name].payload;
  const [fault] = Value.Errors(schema, payload);
  if (fault) throw new TypeError(`Payload of ${name} breaks the catalogue at ${fault.instancePath || '/'}: ${fault.message}`);
  return payload as QueuePayload<Name>;
}
