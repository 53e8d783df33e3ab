/** A small S3-compatible server in memory: path style, objects, ranges, multipart, listing of open multiparts. Signatures are not checked. */
import { createHash, randomBytes } from 'node:crypto';
import http from 'node:http';
import type { AddressInfo } from 'node:net';

interface MultipartUpload {
  readonly key: string;
  readonly initiated: Date;
  readonly parts: Map<number, Buffer>;
}

export class S3Server {
  readonly objects = new Map<string, Buffer>();
  /** When an object was written, where that is not now. */
  readonly modified = new Map<string, Date>();
  readonly uploads = new Map<string, MultipartUpload>();
  /** Answers the next `count` requests whose method is in `methods` with 500. */
  failNext = { methods: [] as string[], count: 0 };

  private constructor(
    private readonly server: http.Server,
    readonly bucket: string,
  ) {}

  static async start(): Promise<S3Server> {
    const server = http.createServer();
    const store = new S3Server(server, `bucket-${randomBytes(4).toString('hex')}`);
    server.on('request', (request, response) => void store.answer(request, response));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return store;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private async answer(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', this.endpoint);
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = decodeAwsChunks(Buffer.concat(chunks), request.headers);
    const [, bucket = '', ...rest] = url.pathname.split('/');
    const method = request.method ?? '';
    if (this.failNext.count > 0 && this.failNext.methods.includes(method)) {
      this.failNext.count -= 1;
      return sendXml(response, 500, '<Error><Code>InternalError</Code></Error>');
    }
    if (bucket !== this.bucket) {
      sendXml(response, 404, '<Error><Code>NoSuchBucket</Code></Error>');
      return;
    }
    const key = decodeURIComponent(rest.join('/'));
    if (key === '') return this.answerBucket(url, response);
    if (url.searchParams.has('uploads') || url.searchParams.has('uploadId'))
      return this.answerMultipart({ method, url, key, body }, response);
    return this.answerObject({ method, url, key, body, range: request.headers.range }, response);
  }

  /** Two to a page, so that every reader has to turn pages. */
  private answerList(url: URL, response: http.ServerResponse): void {
    const after = url.searchParams.get('continuation-token') ?? '';
    const prefix = url.searchParams.get('prefix') ?? '';
    const keys = [...this.objects.keys()].filter((key) => key.startsWith(prefix) && key > after).sort();
    const page = keys.slice(0, 2);
    const contents = page.map(
      (key) => `<Contents><Key>${key}</Key><LastModified>${(this.modified.get(key) ?? new Date()).toISOString()}</LastModified></Contents>`,
    );
    const next = keys.length > page.length ? `<NextContinuationToken>${page.at(-1)}</NextContinuationToken>` : '';
    sendXml(response, 200, `<ListBucketResult>${contents.join('')}<IsTruncated>${next !== ''}</IsTruncated>${next}</ListBucketResult>`);
  }

  private answerBucket(url: URL, response: http.ServerResponse): void {
    if (url.searchParams.has('list-type')) {
      this.answerList(url, response);
      return;
    }
    if (!url.searchParams.has('uploads')) {
      sendXml(response, 200, '');
      return;
    }
    const prefix = url.searchParams.get('prefix') ?? '';
    const entries = [...this.uploads].filter(([, upload]) => upload.key.startsWith(prefix));
    const list = entries.map(
      ([id, { key, initiated }]) =>
        `<Upload><Key>${key}</Key><UploadId>${id}</UploadId><Initiated>${initiated.toISOString()}</Initiated></Upload>`,
    );
    sendXml(response, 200, `<ListMultipartUploadsResult>${list.join('')}<IsTruncated>false</IsTruncated></ListMultipartUploadsResult>`);
  }

  private answerMultipart(call: { method: string; url: URL; key: string; body: Buffer }, response: http.ServerResponse): void {
    const { method, url, key, body } = call;
    if (method === 'POST' && url.searchParams.has('uploads')) {
      const id = randomBytes(8).toString('hex');
      this.uploads.set(id, { key, initiated: new Date(), parts: new Map() });
      sendXml(response, 200, `<InitiateMultipartUploadResult><UploadId>${id}</UploadId></InitiateMultipartUploadResult>`);
      return;
    }
    const id = url.searchParams.get('uploadId') ?? '';
    const upload = this.uploads.get(id);
    if (!upload) {
      sendXml(response, 404, '<Error><Code>NoSuchUpload</Code></Error>');
      return;
    }
    if (method === 'PUT') {
      upload.parts.set(Number(url.searchParams.get('partNumber')), body);
      response.writeHead(200, { etag: etag(body) }).end();
    } else if (method === 'POST') {
      const parts = [...upload.parts].sort(([a], [b]) => a - b).map(([, part]) => part);
      this.objects.set(key, Buffer.concat(parts));
      this.uploads.delete(id);
      sendXml(response, 200, `<CompleteMultipartUploadResult><Key>${key}</Key><ETag>x</ETag></CompleteMultipartUploadResult>`);
    } else {
      this.uploads.delete(id);
      response.writeHead(204).end();
    }
  }

  private answerObject(
    call: { method: string; url: URL; key: string; body: Buffer; range: string | undefined },
    response: http.ServerResponse,
  ): void {
    const { method, key, body } = call;
    if (method === 'PUT') {
      this.objects.set(key, body);
      response.writeHead(200, { etag: etag(body) }).end();
      return;
    }
    if (method === 'DELETE') {
      this.objects.delete(key);
      response.writeHead(204).end();
      return;
    }
    const object = this.objects.get(key);
    if (!object) {
      sendXml(response, 404, method === 'HEAD' ? '' : '<Error><Code>NoSuchKey</Code></Error>');
      return;
    }
    const range = /^bytes=(\d+)-(\d+)$/.exec(call.range ?? '');
    const part = range ? object.subarray(Number(range[1]), Number(range[2]) + 1) : object;
    const disposition = call.url.searchParams.get('response-content-disposition');
    response.writeHead(range ? 206 : 200, {
      'content-length': part.length,
      etag: etag(object),
      ...(disposition ? { 'content-disposition': disposition } : {}),
    });
    response.end(method === 'HEAD' ? undefined : part);
  }
}

function etag(body: Buffer): string {
  return `"${createHash('md5').update(body).digest('hex')}"`;
}

function sendXml(response: http.ServerResponse, status: number, body: string): void {
  response.writeHead(status, { 'content-type': 'application/xml' }).end(body);
}

/** Streams are sent as aws-chunked: `<hex size>[;signature]\r\n<bytes>\r\n` ... `0`, then trailers. */
function decodeAwsChunks(body: Buffer, headers: http.IncomingHttpHeaders): Buffer {
  if (!headers['content-encoding']?.includes('aws-chunked')) return body;
  const parts: Buffer[] = [];
  for (let at = 0; at < body.length; ) {
    const lineEnd = body.indexOf('\r\n', at);
    const size = Number.parseInt(body.subarray(at, lineEnd).toString('latin1'), 16);
    if (!(size > 0)) break;
    parts.push(body.subarray(lineEnd + 2, lineEnd + 2 + size));
    at = lineEnd + 2 + size + 2;
  }
  return Buffer.concat(parts);
}
