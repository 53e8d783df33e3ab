/** Small schemas that many resources share. */
import Type, { type TSchema } from 'typebox';
import { type Resource, resourcePrefixes } from '#contracts';

export const Timestamp = Type.String({ format: 'date-time' });
export const nullable = <Schema extends TSchema>(schema: Schema) => Type.Union([schema, Type.Null()]);
export const strict = { additionalProperties: false } as const;

/** An id in a request; the pattern is loose, so that a wrong id is a 404 and not a lesson in our alphabet. */
export const idOf = (resource: Resource, meaning?: string) => {
  const form = `Begins with ${resourcePrefixes[resource]}_.`;
  return Type.String({ minLength: 1, maxLength: 64, description: meaning === undefined ? form : `${meaning} ${form}` });
};

export const idParams = (resource: Resource) => Type.Object({ id: idOf(resource) });

export const iso = (date: Date): string => date.toISOString();
export const isoOrNull = (date: Date | null): string | null => date?.toISOString() ?? null;
