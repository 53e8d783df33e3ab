/** The body of an upload -> one staged file with known digest: raw bytes (curl -T, --data-binary) or multipart/form-data. */
import { rename } from 'node:fs/promises';
import path from 'node:path';
import type { Readable } from 'node:stream';
import multipart from '@fastify/multipart';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { AppError } from '#contracts';
import type { UploadStaging } from '../deps.js';
import { plainFileName } from '../http/content-disposition.js';
import { declaredSha256 } from '../http/declared-digest.js';
import type { Api } from '../http/typed-app.js';
import { requireMinimumRate } from './minimum-rate.js';

export interface ReceivedFile {
  /** Inside the folder that was given. */
  readonly path: string;
  readonly sha256: string;
  readonly bytes: number;
  /** `?name=`, else the form's field `name`, else the file name; null when there is none of them. */
  readonly name: string | null;
}

export interface UploadTarget {
  readonly staging: UploadStaging;
  readonly folder: string;
  readonly maxBytes: number;
}

const fieldBytesMax = 65_536;
/** After a refusal up to this much is read and dropped, so that the client sees the answer instead of a broken connection. */
const drainBytesMax = 64 * 1024 * 1024;

/** Makes a scope whose routes take bodies as streams. */
export async function acceptStreams(scope: Api, maxBytes: number): Promise<void> {
  scope.removeAllContentTypeParsers();
  scope.addContentTypeParser('*', (_request, payload, done) => done(null, payload));
  const limits = { fileSize: maxBytes + 1, files: 1, fields: 20, fieldSize: fieldBytesMax, parts: 64, headerPairs: 100 };
  await scope.register(multipart, { limits });
}

export async function receiveUpload(request: FastifyRequest, reply: FastifyReply, target: UploadTarget): Promise<ReceivedFile> {
  const stopWatch = requireMinimumRate(request.raw, () => request.raw.socket.bytesRead);
  try {
    return request.isMultipart() ? await receiveForm(request, target) : await receiveRaw(request, target);
  } catch (error) {
    abandon(request, reply);
    throw error;
  } finally {
    stopWatch();
  }
}

async function receiveRaw(request: FastifyRequest, target: UploadTarget): Promise<ReceivedFile> {
  const type = request.headers['content-type'] ?? '';
  if (/^(application\/([\w.+-]*\+)?json|text\/)/i.test(type)) {
    throw new AppError('unsupported_media_type', 'Send the file itself: application/octet-stream, or multipart/form-data.');
  }
  const length = Number(request.headers['content-length'] ?? Number.NaN);
  if (length === 0) throw new AppError('request_invalid', 'The body is empty; send the file as the body.');
  const expectedBytes = Number.isSafeInteger(length) ? { expectedBytes: length } : {};
  return stage(request.raw, request, { ...target, ...expectedBytes, formName: null, fileName: null });
}

async function receiveForm(request: FastifyRequest, target: UploadTarget): Promise<ReceivedFile> {
  let received: ReceivedFile | null = null;
  let formName: string | null = null;
  for await (const part of request.parts()) {
    if (part.type === 'file') {
      received = await stage(part.file, request, { ...target, formName, fileName: part.filename });
    } else if (part.fieldname === 'name') {
      formName = String(part.value);
    } else {
      throw fieldError(part.fieldname, 'unknown_field', 'The form has the fields "name" and "file".');
    }
  }
  if (received === null) throw fieldError('file', 'required', 'The form has no file.');
  // A name that comes after the file still counts, unless the address has one.
  return { ...received, name: queryName(request) ?? plainFileName(formName ?? undefined) ?? received.name };
}

function fieldError(field: string, code: string, detail: string): AppError {
  return new AppError('request_invalid', 'The form is not valid.', { errors: [{ pointer: `/${field}`, code, detail }] });
}

interface Stage extends UploadTarget {
  readonly formName: string | null;
  readonly fileName: string | null;
  readonly expectedBytes?: number;
}

async function stage(source: Readable, request: FastifyRequest, options: Stage): Promise<ReceivedFile> {
  const expectedSha256 = declaredSha256(request.headers);
  const file = path.join(options.folder, 'received');
  const limits = {
    maxBytes: options.maxBytes,
    ...(expectedSha256 === null ? {} : { expectedSha256 }),
    ...(options.expectedBytes === undefined ? {} : { expectedBytes: options.expectedBytes }),
  };
  const { sha256, bytes } = await options.staging.receive(source, limits, (staged) => rename(staged.path, file));
  if (bytes === 0) throw new AppError('request_invalid', 'The file is empty.');
  request.facts.upload_bytes = bytes;
  const name = queryName(request) ?? plainFileName(options.formName ?? undefined) ?? plainFileName(options.fileName ?? undefined);
  return { path: file, sha256, bytes, name };
}

function queryName(request: FastifyRequest): string | null {
  return plainFileName((request.query as { name?: string }).name);
}

/** Lets go of what is still on its way. */
function abandon({ raw, headers }: FastifyRequest, reply: FastifyReply): void {
  raw.unpipe();
  raw.resume();
  const length = Number(headers['content-length'] ?? Number.POSITIVE_INFINITY);
  if (length > drainBytesMax) reply.header('Connection', 'close');
}
