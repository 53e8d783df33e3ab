/** The messages between the supervisor and its processes. A process is told by this argument that it has a supervisor. */
import Type, { type Static } from 'typebox';
import Value from 'typebox/value';

export const SUPERVISED_FLAG = '--supervised';

const ready = Type.Object({
  type: Type.Literal('ready'),
  url: Type.Optional(Type.String()),
  apiKey: Type.Optional(Type.String()),
});
const stop = Type.Object({ type: Type.Literal('stop') });

/** From a process: it accepts work. The API says where, and with which key when that is to be shown. */
export type ReadyMessage = Static<typeof ready>;
/** To a process: finish what you have begun and exit. A message, because Windows has no SIGTERM and Ctrl-C reaches everybody. */
export type StopMessage = Static<typeof stop>;

export function isReadyMessage(message: unknown): message is ReadyMessage {
  return Value.Check(ready, message);
}

export function isStopMessage(message: unknown): message is StopMessage {
  return Value.Check(stop, message);
}
